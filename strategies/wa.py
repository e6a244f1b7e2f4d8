"""WA: distillation and exemplars, and new classes' head rows scaled to the norm of the old."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from retrograde import (
    HEAD,
    ExemplarReplay,
    ExperienceEnd,
    Net,
    Params,
    Rate,
    Scenario,
    State,
    StepData,
    UserError,
    class_weighted_loss,
    seen_classes,
)

WEIGHT = f"{HEAD}.weight"


@dataclass(frozen=True, kw_only=True)
class WA(ExemplarReplay):
    """Weight aligning (Zhao et al. 2020, arXiv 1911.07053).

    Incoming examples and exemplars form one training set. Labels are learned among the seen
    classes, and earlier classes are distilled from the network at the end of the last experience,
    with weights by the numbers of classes. Then the head's weights of new classes are multiplied by
    the ratio of the mean norms of earlier and of new classes' weights. After every step, weights of
    the head below 0 become 0; the code of PyCIL leaves that out. The head's bias, which the paper
    does not have, stays as it is.
    """

    # Not domain-incremental: there is no new class to align or to weigh.
    scenarios: ClassVar[tuple[Scenario, ...]] = ("task", "class")
    later_classes_in_loss: ClassVar[bool] = False  # they are masked

    lr: Rate = 0.1
    temperature: Rate = 2.0
    clip_head: bool = True  # True: the weights of the head are never below 0

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        weight = params.get(WEIGHT)
        if weight is None or weight.ndim != 2:
            raise UserError(
                "WA scales the rows of a linear head, and the model has no linear layer named "
                f"{HEAD}. Choose another model."
            )
        no_class = next(iter(params.values())).new_zeros(net.outputs)
        return {"teacher": params | net.buffers, "earlier": no_class, "seen": no_class}

    def step(self, net: Net, state: State, data: StepData) -> State:
        batch = data.incoming  # incoming examples and exemplars, by the schedule
        seen = seen_classes(state.extra["seen"], batch)
        classes = state.extra["earlier"], seen
        target = net.in_eval_mode().logits(state.extra["teacher"], batch.x)

        def loss(params: Params) -> Tensor:
            logits = net.logits(params, batch.x)
            return class_weighted_loss(net, logits, target, batch, classes, self.temperature)

        after = net.update(state, net.grad_of_loss(loss, state.params), self.lr)
        params = after.params
        if self.clip_head:
            params = params | {WEIGHT: params[WEIGHT].clamp(min=0)}
        return after.replace(params=params, extra=state.extra | {"seen": seen})

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        earlier = state.extra["earlier"]
        seen = state.extra["seen"]
        params = aligned(state.params, earlier, seen - earlier)
        extra = {"teacher": params | state.buffers, "earlier": seen, "seen": seen}
        return state.replace(params=params, extra=extra)


def aligned(params: Params, earlier: Tensor, new: Tensor) -> Params:
    """The parameters with the head's weights of new classes at the mean norm of earlier ones'.

    Args:
        params: The parameters.
        earlier: 1 for the units of earlier classes, else 0; without any, nothing changes.
        new: 1 for the units of new classes, else 0.
    """
    weight = params[WEIGHT]
    norms = weight.norm(dim=1)
    # Of no class, or of weights that are all 0, the ratio is not defined.
    smallest = torch.finfo(norms.dtype).tiny
    earlier_norm = (norms * earlier).sum() / earlier.sum().clamp(min=1)
    new_norm = (norms * new).sum() / new.sum().clamp(min=1)
    defined = (earlier_norm > 0) & (new_norm > 0)
    ratio = torch.where(defined, earlier_norm / new_norm.clamp(min=smallest), 1.0)
    factors = torch.where(new > 0, ratio, 1.0)
    return params | {WEIGHT: weight * factors[:, None]}
