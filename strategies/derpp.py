"""DER++: replay of the logits of some past examples, and of the labels of others."""

from dataclasses import dataclass

import torch
from torch import Tensor

from retrograde import POLICIES, Memory, Net, NonNegative, Params, Rate, State, StepData

from ._distillation import empty_logits, squared_gap, store_at
from ._replay import Replay


@dataclass(frozen=True, kw_only=True)
class DERpp(Replay):
    """Dark experience replay with labels (Buzzega et al. 2020, arXiv 2004.07211, algorithm 2).

    Each step draws `draw` examples for the stored logits and as many others for the labels.
    """

    lr: Rate = 0.1
    alpha: NonNegative = 0.5  # the weight of the squared gap to the stored logits
    beta: NonNegative = 0.5  # the weight of the loss on the labels of the other examples

    def memory(self) -> Memory:
        return POLICIES[self.policy](self.buffer_size, self.replay_batch, rounds=2)

    def init(self, net: Net, params: Params) -> Params:
        return {"logits": empty_logits(net, params, self.buffer_size)}

    def step(self, net: Net, state: State, data: StepData) -> State:
        new = data.incoming
        kept = state.extra["logits"]
        # The memory draws two rounds: the first for logits, the second for labels.
        first = data.replayed.at(slice(self.replay_batch))
        second = data.replayed.at(slice(self.replay_batch, None))
        wanted = kept[data.replayed_slots[: self.replay_batch]]

        def loss(params: Params) -> tuple[Tensor, Tensor]:
            logits = net.logits(params, data.combined.x)
            sizes = [len(new.x), self.replay_batch, self.replay_batch]
            of_new, of_first, of_second = torch.split(logits, sizes)
            gap = squared_gap(of_first, wanted, first.weight)
            past = self.alpha * gap + self.beta * net.loss_from_logits(of_second, second)
            incoming = data.incoming_weight * net.loss_from_logits(of_new, new)
            replayed = data.replay_weight * past
            return incoming + replayed, of_new

        gradient, logits = net.grad_and_aux(loss, state.params)
        after = net.update(state, gradient, self.lr)
        stored = store_at(kept, data.incoming_slots, logits)
        return after.replace(extra={"logits": stored})
