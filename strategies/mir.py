"""MIR: replay of those examples to which the coming step would do most harm."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from retrograde import POLICIES, Arrival, Batch, Count, Memory, Net, Params, Rate, State, sgd

from ._replay import Replay


@dataclass(frozen=True, kw_only=True)
class MIR(Replay):
    """Maximally interfered retrieval (Aljundi et al. 2019, arXiv 1908.04742, section 3.1).

    Of the candidates drawn, those are replayed whose loss a step of plain descent on the arrivals alone would raise most.
    """

    lr: Rate = 0.1
    candidates: Count = 50  # examples drawn per step, of which `draw` are replayed

    def remember(self) -> Memory:
        return POLICIES[self.policy](self.memory, self.candidates)

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        return net.descend(
            state, net.grad(state.params, self.trained_on(net, state, arrival)), self.lr
        )

    def trained_on(self, net: Net, state: State, arrival: Arrival) -> Batch:
        foreseen = sgd(state.params, net.grad(state.params, arrival.new), self.lr)
        harm = self._losses(net, foreseen, arrival.old) - self._losses(
            net, state.params, arrival.old
        )
        harm = torch.where(arrival.old.weight > 0, harm, -torch.inf)
        chosen = harm.topk(min(self.draw, self.candidates)).indices
        return arrival.beside(arrival.old.at(chosen))

    def _losses(self, net: Net, params: Params, batch: Batch) -> Float[Tensor, " row"]:
        return net.losses_of(net.logits(params, batch.x), batch)
