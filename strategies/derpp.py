"""DER++: replay of the logits of some past examples, and of the labels of others."""

from dataclasses import dataclass

import torch
from torch import Tensor

from retrograde import POLICIES, Memory, Net, NonNegative, Params, Rate, State, StepData

from ._buffer_settings import Replay
from ._distillation import empty_logits, logit_distance, store_at


@dataclass(frozen=True, kw_only=True)
class DERpp(Replay):
    """Dark experience replay with labels (Buzzega et al. 2020, arXiv 2004.07211, algorithm 2).

    Each step draws `replay_batch` examples for the stored logits and as many others for the labels.
    """

    lr: Rate = 0.1
    alpha: NonNegative = 0.5  # the weight of the squared distance to the stored logits
    beta: NonNegative = 0.5  # the weight of the loss on the labels of the other examples

    def memory(self) -> Memory:
        return POLICIES[self.policy](self.buffer_size, self.replay_batch, rounds=2)

    def init(self, net: Net, params: Params) -> Params:
        return {"logits": empty_logits(net, params, self.buffer_size)}

    def step(self, net: Net, state: State, data: StepData) -> State:
        stored = state.extra["logits"]
        # The memory draws two rounds: the first for logits, the second for labels.
        for_logits = data.replayed.at(slice(self.replay_batch))
        for_labels = data.replayed.at(slice(self.replay_batch, None))
        target = stored[data.replayed_slots[: self.replay_batch]]

        def loss(params: Params) -> tuple[Tensor, Tensor]:
            logits = net.logits(params, data.combined.x)
            sizes = [len(data.incoming.x), self.replay_batch, self.replay_batch]
            incoming_logits, first_logits, second_logits = torch.split(logits, sizes)
            distance = logit_distance(first_logits, target, for_logits.weight)
            past = self.alpha * distance + self.beta * net.loss_from_logits(
                second_logits, for_labels
            )
            incoming = data.incoming_weight * net.loss_from_logits(incoming_logits, data.incoming)
            replayed = data.replay_weight * past
            return incoming + replayed, incoming_logits

        gradient, logits = net.grad_and_aux(loss, state.params)
        after = net.update(state, gradient, self.lr)
        updated = store_at(stored, data.incoming_slots, logits)
        return after.replace(extra={"logits": updated})
