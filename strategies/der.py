"""DER: replay of the logits that past examples had when they were stored."""

from dataclasses import dataclass

from torch import Tensor

from retrograde import Net, NonNegative, Params, Rate, State, StepData

from ._buffer_settings import Replay
from ._distillation import empty_logits, logit_distance, store_at


@dataclass(frozen=True, kw_only=True)
class DER(Replay):
    """Dark experience replay (Buzzega et al. 2020, arXiv 2004.07211, algorithm 1).

    The loss on replayed examples is the distance to their stored logits, not that to labels.
    """

    lr: Rate = 0.1
    alpha: NonNegative = 0.5  # the weight of the squared distance to the stored logits

    def init(self, net: Net, params: Params) -> Params:
        return {"logits": empty_logits(net, params, self.buffer_size)}

    def step(self, net: Net, state: State, data: StepData) -> State:
        stored = state.extra["logits"]

        def loss(params: Params) -> tuple[Tensor, Tensor]:
            # One forward pass over both: it also gives the logits to store.
            logits = net.logits(params, data.combined.x)
            incoming_logits = logits[: len(data.incoming.x)]
            replayed_logits = logits[len(data.incoming.x) :]
            distance = logit_distance(
                replayed_logits, stored[data.replayed_slots], data.replayed.weight
            )
            incoming = data.incoming_weight * net.loss_from_logits(incoming_logits, data.incoming)
            replayed = data.replay_weight * self.alpha * distance
            return incoming + replayed, incoming_logits

        gradient, logits = net.grad_and_aux(loss, state.params)
        after = net.update(state, gradient, self.lr)
        updated = store_at(stored, data.incoming_slots, logits)
        return after.replace(extra={"logits": updated})
