"""LwF: distil the last task's network on incoming examples."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from retrograde import (
    ExperienceEnd,
    FutureFact,
    Net,
    NonNegative,
    Params,
    Rate,
    State,
    StepData,
    Strategy,
    TaskWeighting,
    distillation_loss,
    seen_classes,
)


@dataclass(frozen=True, kw_only=True)
class LwF(Strategy):
    """Learning without forgetting (Li and Hoiem 2016, arXiv 1606.09282).

    On incoming examples, the outputs of earlier tasks' classes are distilled from the network at
    the end of the last task; if the task is given, each earlier task's classes separately. The
    authors' first phase, which trains the new outputs alone, is left out.
    """

    classes_only: ClassVar[bool] = True
    task_weighting: ClassVar[TaskWeighting | None] = "applied"

    lr: Rate = 0.1
    alpha: NonNegative = 1.0  # the weight of the distillation loss
    temperature: Rate = 2.0
    # "seen": labels are learned among the seen classes, and those of earlier tasks are distilled;
    # "all": both are among all classes.
    among: Literal["seen", "all"] = "seen"
    decay: NonNegative = 0.0  # the weight of the sum of squared parameters

    def knows_ahead(self) -> tuple[FutureFact, ...]:
        return () if self.among == "seen" else super().knows_ahead()

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        like = next(iter(params.values()))
        no_class = like.new_zeros(net.outputs)
        return {"teacher": params | net.buffers, "earlier": no_class, "seen": no_class}

    def step(self, net: Net, state: State, data: StepData) -> State:
        incoming = data.incoming
        seen = seen_classes(state.extra["seen"], incoming)
        teacher = net.in_eval_mode().logits(state.extra["teacher"], incoming.x)
        target = teacher / self.temperature
        groups = self._groups(net, state.extra["earlier"])

        def loss(params: Params) -> Tensor:
            logits = net.logits(params, incoming.x)
            label_logits = logits
            if self.among == "seen":
                label_logits = logits.masked_fill(seen == 0, -torch.inf)
            student = logits / self.temperature
            distilled = distillation_loss(groups, student, target, incoming.weight)
            squares = sum((value**2).sum() for value in params.values())
            data_loss = net.loss_from_logits(label_logits, incoming)
            return data.weighted(data_loss, self.alpha * distilled) + self.decay * squares

        gradient = net.grad_of_loss(loss, state.params)
        after = net.update(state, gradient, self.lr)
        return after.replace(extra=state.extra | {"seen": seen})

    def _groups(self, net: Net, earlier: Tensor) -> Tensor:
        """The groups of units that are distilled, of shape (group, unit)."""
        if net.units is not None:
            return net.units * earlier
        # Nothing is distilled during the first task, not even with `among=all`.
        distilled = earlier.amax().expand_as(earlier) if self.among == "all" else earlier
        return distilled[None]

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        seen = state.extra["seen"]
        return state.replace(extra={"teacher": state.model, "earlier": seen, "seen": seen})
