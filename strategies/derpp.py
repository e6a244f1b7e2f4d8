"""DER++: replay of the logits of some past examples, and of the labels of others."""

from dataclasses import dataclass

import torch
from torch import Tensor

from retrograde import POLICIES, Arrival, Memory, Net, NonNegative, Params, Rate, State

from ._distillation import blank, squared_gap, written
from ._replay import Replay


@dataclass(frozen=True, kw_only=True)
class DERpp(Replay):
    """Dark experience replay with labels (Buzzega et al. 2020, arXiv 2004.07211, algorithm 2).

    Each step draws `draw` examples for the stored logits and as many others for the labels.
    """

    lr: Rate = 0.1
    alpha: NonNegative = 0.5  # the weight of the squared gap to the stored logits
    beta: NonNegative = 0.5  # the weight of the loss on the labels of the other examples

    def remember(self) -> Memory:
        return POLICIES[self.policy](self.memory, self.draw, rounds=2)

    def init(self, net: Net, params: Params) -> Params:
        return {"logits": blank(net, params, self.memory)}

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        new = arrival.new
        kept = state.extra["logits"]
        # The memory draws two rounds: the first for logits, the second for labels.
        first = arrival.old.at(slice(self.draw))
        second = arrival.old.at(slice(self.draw, None))
        wanted = kept[arrival.drawn[: self.draw]]

        def loss(params: Params) -> tuple[Tensor, Tensor]:
            logits = net.logits(params, arrival.with_memory.x)
            sizes = [len(new.x), self.draw, self.draw]
            of_new, of_first, of_second = torch.split(logits, sizes)
            gap = squared_gap(of_first, wanted, first.weight)
            past = self.alpha * gap + self.beta * net.loss_of(of_second, second)
            incoming = arrival.now * net.loss_of(of_new, new)
            replayed = arrival.past * past
            return incoming + replayed, of_new

        gradient, logits = net.grad_with(loss, state.params)
        after = net.descend(state, gradient, self.lr)
        stored = written(kept, arrival.written, logits)
        return after.replace(extra={"logits": stored})
