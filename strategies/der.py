"""DER: replay of the logits that past examples had when they arrived."""

from dataclasses import dataclass

from torch import Tensor

from retrograde import Arrival, Net, NonNegative, Params, Rate, State

from ._distillation import blank, squared_gap, written
from ._replay import Replay


@dataclass(frozen=True, kw_only=True)
class DER(Replay):
    """Dark experience replay (Buzzega et al. 2020, arXiv 2004.07211, algorithm 1).

    The memory keeps the logits of examples, not their labels.
    """

    lr: Rate = 0.1
    alpha: NonNegative = 0.5  # the weight of the squared gap to the stored logits

    def init(self, net: Net, params: Params) -> Params:
        return {"logits": blank(net, params, self.memory)}

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        new = arrival.new
        kept = state.extra["logits"]

        def loss(params: Params) -> tuple[Tensor, Tensor]:
            # One pass over both: the logits to store come from it too.
            logits = net.logits(params, arrival.with_memory.x)
            of_new = logits[: len(new.x)]
            of_old = logits[len(new.x) :]
            gap = squared_gap(of_old, kept[arrival.drawn], arrival.old.weight)
            incoming = arrival.now * net.loss_of(of_new, new)
            replayed = arrival.past * self.alpha * gap
            return incoming + replayed, of_new

        gradient, logits = net.grad_with(loss, state.params)
        after = net.descend(state, gradient, self.lr)
        stored = written(kept, arrival.written, logits)
        return after.replace(extra={"logits": stored})
