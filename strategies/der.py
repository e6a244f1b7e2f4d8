"""DER: replay of the logits that past examples had when they arrived."""

from dataclasses import dataclass

from torch import Tensor

from retrograde import Net, NonNegative, Params, Rate, State, StepData

from ._distillation import empty_logits, squared_gap, store_at
from ._replay import Replay


@dataclass(frozen=True, kw_only=True)
class DER(Replay):
    """Dark experience replay (Buzzega et al. 2020, arXiv 2004.07211, algorithm 1).

    The memory keeps the logits of examples, not their labels.
    """

    lr: Rate = 0.1
    alpha: NonNegative = 0.5  # the weight of the squared gap to the stored logits

    def init(self, net: Net, params: Params) -> Params:
        return {"logits": empty_logits(net, params, self.buffer_size)}

    def step(self, net: Net, state: State, data: StepData) -> State:
        new = data.incoming
        kept = state.extra["logits"]

        def loss(params: Params) -> tuple[Tensor, Tensor]:
            # One pass over both: the logits to store come from it too.
            logits = net.logits(params, data.combined.x)
            of_new = logits[: len(new.x)]
            of_old = logits[len(new.x) :]
            gap = squared_gap(of_old, kept[data.replayed_slots], data.replayed.weight)
            incoming = data.incoming_weight * net.loss_from_logits(of_new, new)
            replayed = data.replay_weight * self.alpha * gap
            return incoming + replayed, of_new

        gradient, logits = net.grad_and_aux(loss, state.params)
        after = net.update(state, gradient, self.lr)
        stored = store_at(kept, data.incoming_slots, logits)
        return after.replace(extra={"logits": stored})
