"""ANML: a learned gate on the features, so that learning is selective."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from retrograde import Batch, Lesson, Net, Params, Rate, UserError, sgd

from ._prepared import Prepared

GATE = "gated.gate."


@dataclass(frozen=True, kw_only=True)
class ANML(Prepared):
    """Example by example all but the gate learns; the outer loop learns the gate too (Beaulieu et al. 2020, arXiv 2002.09571).

    The model is a gated one, such as model=gated-plainconv-32. What is judged is the trajectory itself and what is rehearsed.
    """

    tried_on: ClassVar[str] = "gated-mlp-16"

    inner_lr: Rate = 0.1  # of the steps in a lesson
    first_order: bool = (
        False  # true: as released, the steps of a lesson are constants to the outer gradient
    )

    def learns(self, name: str) -> bool:
        return super().learns(name) and not name.startswith(GATE)

    def lesson_loss(self, net: Net, params: Params, lesson: Lesson) -> Tensor:
        if not any(name.startswith(GATE) for name in params):
            raise UserError(
                "ANML learns a gate, and the model has none. Give a gated one, such as model=gated-plainconv-32."
            )
        trajectory, fast = lesson.trajectory, params
        for step in range(len(trajectory.y)):
            one = Batch(*(part[step : step + 1] for part in trajectory))
            moved = net.grad_of(
                fast, one, lambda name: not name.startswith(GATE), constant=self.first_order
            )
            fast = fast | sgd({name: fast[name] for name in moved}, moved, self.inner_lr)
        judged = Batch(
            *(torch.cat(pair) for pair in zip(trajectory, lesson.rehearsed, strict=True))
        )
        return net.loss(fast, judged)
