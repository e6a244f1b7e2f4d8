"""iCaRL: exemplars chosen by herding, distillation, and a nearest-mean classifier."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from retrograde import (
    Batch,
    Count,
    ExemplarMemory,
    ExperienceEnd,
    Memory,
    Net,
    Params,
    Rate,
    Scenario,
    Schedule,
    State,
    StepData,
    Strategy,
    TaskWeighting,
    class_means,
    class_members,
    herding_rounds,
)


@dataclass(frozen=True)
class ICaRL(Strategy):
    """Incremental classifier and representation learning (Rebuffi et al. 2017, arXiv 1611.07725).

    Incoming examples and exemplars form one training set, and each output is a binary classifier.
    Outputs of earlier tasks' classes are distilled from the network at the end of the last task;
    other seen outputs learn the labels (algorithm 3; here the mean over the seen outputs). Herding
    chooses the exemplars (algorithm 4), and their mean features classify (algorithm 1).
    """

    # Incoming examples and exemplars are one training set (algorithm 3).
    task_weighting: ClassVar[TaskWeighting | None] = "not needed"
    # Not domain-incremental: the output of an earlier task's class never learns a label again.
    scenarios: ClassVar[tuple[Scenario, ...]] = ("task", "class")
    later_classes_in_loss: ClassVar[bool] = False  # they are masked

    lr: Rate = 0.1
    buffer_size: Count = 200  # exemplars kept, in equal shares of the classes so far
    # Divides the distilled logits: 2 in van de Ven's code, not in the paper.
    temperature: Rate = 1.0
    # True: features and their means have norm 1: in the paper, not in Mammoth's first release.
    normalised: bool = True

    def schedule(self) -> Schedule:
        return Schedule("incoming and memory")

    def memory(self) -> Memory:
        # Nothing is drawn at a step: the schedule mixes the exemplars in.
        return ExemplarMemory(self.buffer_size, 0)

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        no_class = next(iter(params.values())).new_zeros(net.outputs)
        return {"teacher": params | net.buffers, "seen": no_class, "earlier": no_class}

    def step(self, net: Net, state: State, data: StepData) -> State:
        batch = data.incoming  # incoming examples and exemplars, by the schedule
        labels = class_members(batch, net.outputs).to(state.extra["seen"].dtype)
        seen = torch.maximum(state.extra["seen"], labels.amax(0))
        teacher_logits = net.in_eval_mode().logits(state.extra["teacher"], batch.x)
        taught = (teacher_logits / self.temperature).sigmoid()
        target = torch.where(state.extra["earlier"] > 0, taught, labels)

        def losses(logits: Tensor, _: Tensor) -> Tensor:
            by_unit = binary_cross_entropy_with_logits(logits, target, reduction="none")
            return (by_unit * seen).sum(1) / seen.sum()

        # Every output learns from every example, even if the task is given.
        unmasked_net = replace(net, units=None, losses=losses)
        gradient = unmasked_net.grad(state.params, batch)
        after = net.update(state, gradient, self.lr)
        return after.replace(extra=state.extra | {"seen": seen})

    def rank_exemplars(
        self, net: Net, state: State, examples: Batch, share: int
    ) -> Float[Tensor, " row"]:
        features = self._features(net.in_eval_mode(), state, examples.x)
        members = class_members(examples, net.outputs)
        means = self._means(features, members)
        rounds = min(share, len(examples.x))
        return herding_rounds(features, members, means, rounds).to(features.dtype)

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        seen = state.extra["seen"]
        return state.replace(extra={"teacher": state.model, "seen": seen, "earlier": seen})

    def before_evaluation(self, net: Net, state: State, memory: Batch | None) -> State:
        if memory is None:
            return state
        features = self._features(net, state, memory.x)
        means = self._means(features, class_members(memory, net.outputs))
        return state.replace(extra=state.extra | {"means": means})

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        features = self._features(net, state, x)
        distance = torch.cdist(features, state.extra["means"])
        # Classes without exemplars rank by their logits, below every class that has some.
        logits = net.logits(state.params, x)
        fallback = -distance.amax(1, True) - 1 + logits - logits.amax(1, True)
        return torch.where(state.extra["earlier"] > 0, -distance, fallback)

    def _features(self, net: Net, state: State, x: Tensor) -> Float[Tensor, "row feature"]:
        features = net.features(state.params, x)
        return normalize(features) if self.normalised else features

    def _means(self, features: Tensor, members: Tensor) -> Float[Tensor, "unit feature"]:
        means = class_means(features, members)
        return normalize(means) if self.normalised else means
