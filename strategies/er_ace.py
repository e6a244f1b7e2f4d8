"""ER-ACE: replay in which incoming classes do not push earlier classes away."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retrograde import (
    Losses,
    Net,
    Params,
    Rate,
    Replay,
    State,
    StepData,
    cross_entropies,
    seen_classes,
)


@dataclass(frozen=True, kw_only=True)
class ERACE(Replay):
    """Replay with asymmetric cross-entropy (Caccia et al. 2022, arXiv 2104.05025, section 4).

    The softmax of incoming examples runs over the classes of their own batch, that of replayed
    examples over all classes seen so far. In the authors' code, that of replayed examples runs over
    all units, and that of incoming ones also over the units from the highest seen class on.
    Mammoth's code does the same from the second task on, with a cosine classifier.
    """

    classes_only: ClassVar[bool] = True
    later_classes_in_loss: ClassVar[bool] = False  # they are masked

    lr: Rate = 0.1

    def init(self, net: Net, params: Params) -> Params:
        like = next(iter(params.values()))
        return {"seen": like.new_zeros(net.outputs)}

    def step(self, net: Net, state: State, data: StepData) -> State:
        seen = seen_classes(state.extra["seen"], data.incoming)
        incoming_net = replace(net, losses=cross_entropy_in_batch)
        incoming_gradient = incoming_net.grad(state.params, data.incoming)
        replayed_net = replace(net, losses=cross_entropy_among(seen))
        replayed_gradient = replayed_net.grad(state.params, data.replayed)
        gradient = {
            name: data.incoming_weight * value + data.replay_weight * replayed_gradient[name]
            for name, value in incoming_gradient.items()
        }
        after = net.update(state, gradient, self.lr)
        return after.replace(extra={"seen": seen})


def cross_entropy_among(units: Float[Tensor, " unit"]) -> Losses:
    """The cross-entropy of each row among the units above 0."""

    def losses(
        logits: Float[Tensor, "row unit"], y: Int64[Tensor, " row"]
    ) -> Float[Tensor, " row"]:
        return cross_entropies(logits.masked_fill(units == 0, -torch.inf), y)

    return losses


def cross_entropy_in_batch(
    logits: Float[Tensor, "row unit"], y: Int64[Tensor, " row"]
) -> Float[Tensor, " row"]:
    """The cross-entropy of each row among the classes of all rows."""
    # Padding repeats rows, so it adds no class.
    units = torch.arange(logits.shape[1], device=y.device)
    absent = (y[:, None] != units).all(0)
    return cross_entropies(logits.masked_fill(absent, -torch.inf), y)
