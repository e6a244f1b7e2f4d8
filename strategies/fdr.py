"""FDR: keep the predictions on past examples as they were at the end of their task."""

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
    """Function distance regularisation (Benjamin et al. 2019, arXiv 1805.08289).

    The penalty is the L2 distance between predictions. It takes a step of its own after that on the
    incoming examples, as in Mammoth's code (which leaves out its strength); with `apart=false` it
    is added to the loss.
    """

    weighing: ClassVar[Weighing | None] = "heeds"

    lr: Rate = 0.1
    strength: NonNegative = 1.0  # the weight of the mean distance
    memory: Count = 200  # examples kept, a random sample of all finished tasks
    draw: Count = 128  # examples drawn per step
    apart: bool = True

    def remember(self) -> Memory:
        return Reservoir(self.memory, self.draw, late=True)

    def init(self, net: Net, params: Params) -> Params:
        return {"logits": blank(net, params, self.memory)}

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        wanted = state.extra["logits"][arrival.drawn].softmax(-1)

        def distance(params: Params) -> Tensor:
            probabilities = net.logits(params, arrival.old.x).softmax(-1)
            lengths = torch.linalg.vector_norm(probabilities - wanted, dim=-1)
            return arrival.past * self.strength * mean(lengths, arrival.old.weight)

        def loss(params: Params) -> Tensor:
            return arrival.now * net.loss(params, arrival.new)

        def both(params: Params) -> Tensor:
            return loss(params) + distance(params)

        if not self.apart:
            gradient = net.grad_by(both, state.params)
            return net.descend(state, gradient, self.lr)
        state = net.descend(state, net.grad_by(loss, state.params), self.lr)
        return net.descend(state, net.grad_by(distance, state.params), self.lr)

    def end_task(self, net: Net, state: State, finished: Finished) -> State:
        logits = net.logits(state.params, finished.examples.x)
        kept = written(state.extra["logits"], finished.slot, logits)
        return state.replace(extra={"logits": kept})
