"""A-GEM: steps that do not go against the gradient on replayed examples."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from retrograde import (
    Boundaries,
    Count,
    Net,
    Params,
    Policy,
    Rate,
    Replay,
    State,
    StepData,
    TaskWeighting,
    dot,
)


@dataclass(frozen=True, kw_only=True)
class AGEM(Replay):
    """Averaged gradient episodic memory (Chaudhry et al. 2019, arXiv 1812.00420, section 4).

    If the gradient on incoming examples goes against the mean gradient on replayed examples of
    earlier tasks, it is projected (equation 11). The paper's memory is a ring, whose shares depend
    on the length of the stream; `policy=reservoir` does without that. With `reference=memory` as
    well, replayed examples of any task count, and no boundary is needed: "A-GEM-R" (Buzzega et al.
    2020, arXiv 2004.07211).
    """

    # The reference gradient constrains the step; its loss is not minimised.
    task_weighting: ClassVar[TaskWeighting | None] = "not needed"

    lr: Rate = 0.1
    replay_batch: Count = 128  # examples drawn per step
    policy: Policy = "ring"
    reference: Literal["earlier", "memory"] = "earlier"  # replayed examples of these count

    def needs_boundaries(self) -> Boundaries:
        return "tasks" if self.reference == "earlier" else super().needs_boundaries()

    def step(self, net: Net, state: State, data: StepData) -> State:
        replayed = data.replayed
        if self.reference == "earlier":
            is_earlier = replayed.task < data.incoming.task.max()
            # Examples of the current task are drawn too, and count as padding here.
            replayed = replayed._replace(weight=replayed.weight * is_earlier)
        # It only constrains the step, so running statistics do not follow it.
        reference = net.without_statistics().grad(state.params, replayed)
        gradient = net.grad(state.params, data.incoming)
        return net.update(state, project(gradient, reference), self.lr)


def project(gradient: Params, reference: Params) -> Params:
    """The nearest gradient with a non-negative inner product with the reference (equation 11)."""
    product = dot(gradient, reference)
    square = dot(reference, reference)
    # Before there are earlier tasks the reference is 0: the bound keeps the quotient finite.
    bounded = square.clamp(min=torch.finfo(square.dtype).tiny)
    share = torch.where(product < 0, product / bounded, 0.0)
    return {name: value - share * reference[name] for name, value in gradient.items()}
