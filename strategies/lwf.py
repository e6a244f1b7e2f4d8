"""LwF: distil the last task's network on incoming examples."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from retrograde import (
    FutureFact,
    Net,
    NonNegative,
    Params,
    Rate,
    State,
    StepData,
    Strategy,
    TaskEnd,
    TaskWeighting,
)

from ._distillation import distillation_loss, seen_classes
from ._importance import packed, unpacked


@dataclass(frozen=True, kw_only=True)
class LwF(Strategy):
    """Learning without forgetting (Li and Hoiem 2016, arXiv 1606.09282).

    On incoming examples, the last task's network teaches the classes of earlier tasks. If the task
    is given, it teaches each earlier task's classes separately. The authors' first phase, which
    trains the new outputs alone, is left out.
    """

    task_weighting: ClassVar[TaskWeighting | None] = "applied"

    lr: Rate = 0.1
    alpha: NonNegative = 1.0  # the weight of the distillation
    temperature: Rate = 2.0
    # "seen": labels are learned among the classes seen so far, and those of earlier tasks are
    # taught; "all": both are among all classes.
    among: Literal["seen", "all"] = "seen"
    decay: NonNegative = 0.0  # the weight of the sum of squared parameters

    def knows_ahead(self) -> tuple[FutureFact, ...]:
        return () if self.among == "seen" else super().knows_ahead()

    def init(self, net: Net, params: Params) -> Params:
        like = next(iter(params.values()))
        none = like.new_zeros(net.outputs)
        return packed(teacher=params) | {"old": none, "seen": none}

    def step(self, net: Net, state: State, data: StepData) -> State:
        new = data.incoming
        so_far = seen_classes(state.extra["seen"], new)
        teacher = unpacked(state.extra, "teacher")
        wanted = net.logits(teacher, new.x) / self.temperature
        groups = self._groups(net, state.extra["old"])

        def loss(params: Params) -> Tensor:
            logits = net.logits(params, new.x)
            rivals = logits
            if self.among == "seen":
                rivals = logits.masked_fill(so_far == 0, -torch.inf)
            distilled = distillation_loss(groups, logits / self.temperature, wanted, new.weight)
            size = sum((value**2).sum() for value in params.values())
            data_loss = data.incoming_weight * net.loss_from_logits(rivals, new)
            return data_loss + data.replay_weight * self.alpha * distilled + self.decay * size

        gradient = net.grad_of_loss(loss, state.params)
        after = net.update(state, gradient, self.lr)
        return after.replace(extra=state.extra | {"seen": so_far})

    def _groups(self, net: Net, old: Tensor) -> Tensor:
        """The groups of units that the teacher teaches, of shape (group, unit)."""
        if net.units is not None:
            return net.units * old
        # Before the first task has ended, nothing is taught, among all classes either.
        kept = old.amax().expand_as(old) if self.among == "all" else old
        return kept[None]

    def end_task(self, net: Net, state: State, task_end: TaskEnd) -> State:
        met_so_far = state.extra["seen"]
        classes = {"old": met_so_far, "seen": met_so_far}
        return state.replace(extra=packed(teacher=state.params) | classes)
