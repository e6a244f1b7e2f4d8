"""FDR: outputs on past examples stay what they were when their task ended."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from retrograde import (
    Arrival,
    Count,
    Finished,
    Memory,
    Net,
    NonNegative,
    Params,
    Rate,
    Reservoir,
    State,
    Strategy,
    Weighing,
    mean,
)

from ._distillation import blank, written


@dataclass(frozen=True, kw_only=True)
class FDR(Strategy):
    """Function distance regularisation (Benjamin et al. 2019, arXiv 1805.08289): the L2 distance between predictions.

    The penalty takes a step of its own after that on the arrivals, as in Mammoth's code (which leaves its strength out), or
    with `apart=false` is added to the loss.
    """

    weighing: ClassVar[Weighing | None] = "heeds"

    lr: Rate = 0.1
    strength: NonNegative = 1.0  # of the mean distance
    memory: Count = 200  # examples kept, a random sample of all finished tasks'
    draw: Count = 128  # examples drawn per step
    apart: bool = True

    def remember(self) -> Memory:
        return Reservoir(self.memory, self.draw, late=True)

    def init(self, net: Net, params: Params) -> Params:
        return {"logits": blank(net, params, self.memory)}

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        wanted = state.extra["logits"][arrival.drawn].softmax(-1)

        def distance(params: Params) -> Tensor:
            apart = net.logits(params, arrival.old.x).softmax(-1) - wanted
            length = mean(torch.linalg.vector_norm(apart, dim=-1), arrival.old.weight)
            return arrival.past * self.strength * length

        def loss(params: Params) -> Tensor:
            return arrival.now * net.loss(params, arrival.new)

        if not self.apart:
            both = net.grad_by(lambda params: loss(params) + distance(params), state.params)
            return net.descend(state, both, self.lr)
        state = net.descend(state, net.grad_by(loss, state.params), self.lr)
        return net.descend(state, net.grad_by(distance, state.params), self.lr)

    def end_task(self, net: Net, state: State, finished: Finished) -> State:
        logits = net.logits(state.params, finished.examples.x)
        return state.replace(
            extra={"logits": written(state.extra["logits"], finished.slot, logits)}
        )
