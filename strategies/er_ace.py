"""ER-ACE: replay in which new classes do not push old ones away."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retrograde.net import Net, State, cross_entropies
from retrograde.settings import Rate
from retrograde.strategy import Arrival

from ._replay import Replay


@dataclass(frozen=True, kw_only=True)
class ERACE(Replay):
    """Replay with asymmetric cross-entropy (Caccia et al. 2022, arXiv 2104.05025, section 4).

    Arrivals are told apart from the classes of their own batch alone, replayed examples from all classes.
    """

    lr: Rate = 0.1

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        of_new = replace(net, losses=among_own).grad(state.params, arrival.new)
        of_old = net.grad(state.params, arrival.old)
        both = {name: arrival.now * value + arrival.past * of_old[name] for name, value in of_new.items()}
        return net.descend(state, both, self.lr)


def among_own(logits: Float[Tensor, "row unit"], y: Int64[Tensor, " row"]) -> Float[Tensor, " row"]:
    """The cross-entropy of each row among the classes of all rows; padding repeats rows, and adds none."""
    absent = (y[:, None] != torch.arange(logits.shape[1], device=y.device)).all(0)
    return cross_entropies(logits.masked_fill(absent, -torch.inf), y)
