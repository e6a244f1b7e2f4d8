"""BiC: distillation and exemplars, and a bias of new classes corrected on held-out examples."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retrograde import (
    Decay,
    ExemplarReplay,
    ExperienceEnd,
    Net,
    NonNegative,
    Params,
    Rate,
    Scenario,
    Schedule,
    State,
    StepData,
    class_weighted_loss,
    seen_classes,
)

from ._bias_correction import fitted_correction


@dataclass(frozen=True, kw_only=True)
class BiC(ExemplarReplay):
    """Bias correction (Wu et al. 2019, arXiv 1905.13260).

    Incoming examples and exemplars form one training set. Labels are learned among the seen
    classes, and earlier classes are distilled from the corrected network at the end of the last
    experience, with weights by the numbers of classes. A part of the training set is held out; on
    it, a scale and a shift of the new classes' logits are fitted, with the same weight for each
    class. The authors hold out equally many examples of each class, and fit by gradient steps;
    here, classes have equal shares, and Newton's method goes to the minimum, which `decay` keeps
    finite. An exemplar that is held out may have been trained on in an earlier experience.
    """

    # Not domain-incremental: there is no new class to correct.
    scenarios: ClassVar[tuple[Scenario, ...]] = ("task", "class")
    probes: ClassVar[bool] = False  # predictions are the corrected outputs of the model
    later_classes_in_loss: ClassVar[bool] = False  # they are masked

    lr: Rate = 0.1
    temperature: Rate = 2.0
    held_out: Decay = 0.1  # the share of examples that are held out of training
    decay: NonNegative = 1e-3  # half of it times (scale - 1)² + shift² is added to the fitted loss

    def schedule(self) -> Schedule:
        return super().schedule()._replace(held_out=self.held_out)

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        no_class = next(iter(params.values())).new_zeros(net.outputs)
        return {
            "teacher": params | net.buffers,
            "earlier": no_class,
            "seen": no_class,
            # Of the logits of the network at the end of the last experience.
            "scale": no_class + 1,
            "shift": no_class,
        }

    def step(self, net: Net, state: State, data: StepData) -> State:
        batch = data.incoming  # incoming examples and exemplars, by the schedule
        extra = state.extra
        seen = seen_classes(extra["seen"], batch)
        logits = net.in_eval_mode().logits(extra["teacher"], batch.x)
        target = logits * extra["scale"] + extra["shift"]

        def loss(params: Params) -> Tensor:
            classes = extra["earlier"], seen
            logits = net.logits(params, batch.x)
            return class_weighted_loss(net, logits, target, batch, classes, self.temperature)

        after = net.update(state, net.grad_of_loss(loss, state.params), self.lr)
        return after.replace(extra=extra | {"seen": seen})

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        earlier, seen = state.extra["earlier"], state.extra["seen"]
        new = seen - earlier
        if end.held_out is None:
            return state
        logits = net.in_eval_mode().logits(state.params, end.held_out.x)
        # Finite, since it is multiplied by gradients of 0.
        lowest = torch.finfo(logits.dtype).min / 4
        logits = logits.masked_fill(seen == 0, lowest)
        fitted = fitted_correction(net, logits, end.held_out, new, self.decay)
        # The bias is between new classes and earlier ones.
        correctable = earlier.any() & new.any()
        scale, shift = torch.where(correctable, fitted, torch.tensor([1.0, 0.0]).to(fitted))
        return state.replace(
            extra={
                "teacher": state.model,
                "earlier": seen,
                "seen": seen,
                "scale": 1 + (scale - 1) * new,
                "shift": shift * new,
            }
        )

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        extra = state.extra
        # During an experience with new classes, the last correction is not that of this network.
        current = (extra["seen"] == extra["earlier"]).all()
        scale = torch.where(current, extra["scale"], 1.0)
        shift = torch.where(current, extra["shift"], 0.0)
        logits = net.logits(state.params, x) * scale + shift
        # The head of the paper has no units of later classes.
        return net.mask_tasks(logits.masked_fill(extra["seen"] == 0, -torch.inf), task)
