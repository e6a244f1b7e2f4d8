"""ER-ACE: replay in which incoming classes do not push earlier classes away."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retrograde import Ahead, Arrival, Losses, Net, Params, Rate, State, cross_entropies

from ._distillation import met
from ._replay import Replay


@dataclass(frozen=True, kw_only=True)
class ERACE(Replay):
    """Replay with asymmetric cross-entropy (Caccia et al. 2022, arXiv 2104.05025, section 4).

    Incoming examples compete with the classes of their own batch alone, replayed examples with all
    classes seen so far. In the authors' code, replayed examples compete with all units, and
    incoming ones also with the units from the highest class seen so far on. Mammoth does as the
    authors' code, but masks and replays from the second task on, and has a cosine classifier.
    """

    lr: Rate = 0.1

    def knows(self) -> tuple[Ahead, ...]:
        # The units of classes to come are masked.
        return tuple(fact for fact in super().knows() if fact != "classes")

    def init(self, net: Net, params: Params) -> Params:
        like = next(iter(params.values()))
        return {"met": like.new_zeros(net.outputs)}

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        so_far = met(state.extra["met"], arrival.new)
        new_net = replace(net, losses=among_own)
        of_new = new_net.grad(state.params, arrival.new)
        old_net = replace(net, losses=among(so_far))
        of_old = old_net.grad(state.params, arrival.old)
        both = {
            name: arrival.now * value + arrival.past * of_old[name]
            for name, value in of_new.items()
        }
        after = net.descend(state, both, self.lr)
        return after.replace(extra={"met": so_far})


def among(units: Float[Tensor, " unit"]) -> Losses:
    """The cross-entropy of each row among the units above 0."""

    def losses(
        logits: Float[Tensor, "row unit"], y: Int64[Tensor, " row"]
    ) -> Float[Tensor, " row"]:
        return cross_entropies(logits.masked_fill(units == 0, -torch.inf), y)

    return losses


def among_own(logits: Float[Tensor, "row unit"], y: Int64[Tensor, " row"]) -> Float[Tensor, " row"]:
    """The cross-entropy of each row among the classes of all rows."""
    # Padding repeats rows, so it adds no class.
    units = torch.arange(logits.shape[1], device=y.device)
    absent = (y[:, None] != units).all(0)
    return cross_entropies(logits.masked_fill(absent, -torch.inf), y)
