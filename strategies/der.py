"""DER: replay of the outputs that past examples had when they arrived."""

from dataclasses import dataclass

from torch import Tensor

from retrograde import Arrival, Net, NonNegative, Params, Rate, State

from ._distillation import blank, squared_gap, written
from ._replay import Replay


@dataclass(frozen=True, kw_only=True)
class DER(Replay):
    """Dark experience replay (Buzzega et al. 2020, arXiv 2004.07211, algorithm 1): examples keep their outputs, not labels."""

    lr: Rate = 0.1
    alpha: NonNegative = 0.5  # of the squared gap to the outputs kept

    def init(self, net: Net, params: Params) -> Params:
        return {"logits": blank(net, params, self.memory)}

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        new, old, kept = arrival.new, arrival.old, state.extra["logits"]

        def loss(params: Params) -> tuple[Tensor, Tensor]:
            logits = net.logits(params, arrival.with_memory.x)
            of_new, of_old = logits[: len(new.x)], logits[len(new.x) :]
            gap = squared_gap(of_old, kept[arrival.drawn], old.weight)
            return arrival.now * net.loss_of(of_new, new) + arrival.past * self.alpha * gap, of_new

        gradient, logits = net.grad_with(loss, state.params)
        return net.descend(state, gradient, self.lr).replace(
            extra={"logits": written(kept, arrival.written, logits)}
        )
