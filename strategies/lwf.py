"""LwF: what the last task's net gives on new examples is kept."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from retrograde import (
    Ahead,
    Arrival,
    Finished,
    Net,
    NonNegative,
    Params,
    Rate,
    State,
    Strategy,
    Weighing,
)

from ._distillation import met, taught_among
from ._importance import packed, unpacked


@dataclass(frozen=True, kw_only=True)
class LwF(Strategy):
    """Learning without forgetting (Li and Hoiem 2016, arXiv 1606.09282): on arrivals, the last task's net teaches old classes.

    Where the task is told, it teaches each earlier task's classes on their own. The authors' first training of the new outputs
    alone is left out.
    """

    weighing: ClassVar[Weighing | None] = "heeds"

    lr: Rate = 0.1
    alpha: NonNegative = 1.0  # of the distillation
    temperature: Rate = 2.0
    among: Literal["met", "all"] = (
        "met"  # the classes among which labels are learned, and those taught: old ones, or all
    )
    decay: NonNegative = 0.0  # of the sum of squared parameters

    def knows(self) -> tuple[Ahead, ...]:
        return () if self.among == "met" else super().knows()

    def init(self, net: Net, params: Params) -> Params:
        none = next(iter(params.values())).new_zeros(net.outputs)
        return packed(teacher=params) | {"old": none, "met": none}

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        new, old = arrival.new, state.extra["old"]
        so_far = met(state.extra["met"], new)
        wanted = net.logits(unpacked(state.extra, "teacher"), new.x) / self.temperature
        kept = (
            old.amax().expand_as(old) if self.among == "all" else old
        )  # nothing before the first task has ended
        groups = kept[None] if net.units is None else net.units * old

        def loss(params: Params) -> Tensor:
            logits = net.logits(params, new.x)
            rivals = logits if self.among == "all" else logits.masked_fill(so_far == 0, -torch.inf)
            distilled = taught_among(groups, logits / self.temperature, wanted, new.weight)
            size = sum((value**2).sum() for value in params.values())
            return (
                arrival.now * net.loss_of(rivals, new)
                + arrival.past * self.alpha * distilled
                + self.decay * size
            )

        return net.descend(state, net.grad_by(loss, state.params), self.lr).replace(
            extra=state.extra | {"met": so_far}
        )

    def end_task(self, net: Net, state: State, finished: Finished) -> State:
        return state.replace(
            extra=packed(teacher=state.params)
            | {"old": state.extra["met"], "met": state.extra["met"]}
        )
