"""DER++: replay of past examples' outputs, and of others with their labels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from retrograde import POLICIES, Arrival, Memory, Net, NonNegative, Params, Rate, State

from ._distillation import blank, squared_gap, written
from ._replay import Replay


@dataclass(frozen=True, kw_only=True)
class DERpp(Replay):
    """Dark experience replay with labels (Buzzega et al. 2020, arXiv 2004.07211, algorithm 2): `draw` examples for each."""

    lr: Rate = 0.1
    alpha: NonNegative = 0.5  # of the squared gap to the outputs kept
    beta: NonNegative = 0.5  # of the loss on labels of other examples drawn

    def remember(self) -> Memory:
        return POLICIES[self.policy](self.memory, self.draw, rounds=2)

    def init(self, net: Net, params: Params) -> Params:
        return {"logits": blank(net, params, self.memory)}

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        new, kept = arrival.new, state.extra["logits"]
        first, second = arrival.old.at(slice(self.draw)), arrival.old.at(slice(self.draw, None))
        wanted = kept[arrival.drawn[: self.draw]]

        def loss(params: Params) -> tuple[Tensor, Tensor]:
            logits = net.logits(params, arrival.with_memory.x)
            of_new, of_first, of_second = torch.split(logits, [len(new.x), self.draw, self.draw])
            gap = squared_gap(of_first, wanted, first.weight)
            past = self.alpha * gap + self.beta * net.loss_of(of_second, second)
            return arrival.now * net.loss_of(of_new, new) + arrival.past * past, of_new

        gradient, logits = net.grad_with(loss, state.params)
        return net.descend(state, gradient, self.lr).replace(
            extra={"logits": written(kept, arrival.written, logits)}
        )
