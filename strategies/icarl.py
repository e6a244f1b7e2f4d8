"""iCaRL: exemplars chosen by herding, distillation, and a nearest-mean classifier."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from retrograde import (
    Batch,
    Count,
    ExemplarMemory,
    FutureFact,
    Memory,
    Net,
    Params,
    Rate,
    Scenario,
    Schedule,
    State,
    StepData,
    Strategy,
    TaskEnd,
    TaskWeighting,
)

from ._head import linear
from ._herding import class_means, herded
from ._importance import packed, unpacked


@dataclass(frozen=True)
class ICaRL(Strategy):
    """Incremental classifier and representation learning (Rebuffi et al. 2017, arXiv 1611.07725).

    Incoming examples and exemplars form one training set, and each output is a classifier of its
    own. The outputs of earlier tasks' classes learn their values from before the task; the outputs
    first seen since learn the labels (algorithm 3; here the mean over the outputs seen so far).
    Herding chooses the exemplars (algorithm 4), and their mean features classify (algorithm 1).
    """

    # Incoming examples and exemplars are one training set (algorithm 3).
    task_weighting: ClassVar[TaskWeighting | None] = "not needed"
    # Domain-incremental streams are out: an earlier task's output never learns a label again.
    scenarios: ClassVar[tuple[Scenario, ...]] = ("task", "class")

    lr: Rate = 0.1
    buffer_size: Count = 200  # exemplars kept, in equal shares of the classes so far
    # Divides the outputs from before the task: 2 in van de Ven's code, not in the paper.
    temperature: Rate = 1.0
    # True: features and their means have norm 1: in the paper, not in Mammoth's first release.
    normalised: bool = True

    def knows_ahead(self) -> tuple[FutureFact, ...]:
        return ()  # outputs not seen yet are in no loss

    def schedule(self) -> Schedule:
        return Schedule("incoming and memory")

    def memory(self) -> Memory:
        # Nothing is drawn at a step: the schedule mixes the exemplars in.
        return ExemplarMemory(self.buffer_size, 0)

    def init(self, net: Net, params: Params) -> Params:
        weight, bias = linear(params)
        none = torch.zeros_like(bias)
        means = torch.zeros_like(weight)
        return packed(old=params) | {"means": means, "seen": none, "earlier": none}

    def step(self, net: Net, state: State, data: StepData) -> State:
        new = data.incoming
        labels = memberships(net, new).to(state.extra["seen"].dtype)
        met = torch.maximum(state.extra["seen"], labels.amax(0))
        old_logits = net.logits(unpacked(state.extra, "old"), new.x)
        before = (old_logits / self.temperature).sigmoid()
        target = torch.where(state.extra["earlier"] > 0, before, labels)

        def losses(logits: Tensor, _: Tensor) -> Tensor:
            by_unit = binary_cross_entropy_with_logits(logits, target, reduction="none")
            return (by_unit * met).sum(1) / met.sum()

        # Every output learns on every example, also where the task is given.
        own_net = replace(net, units=None, losses=losses)
        gradient = own_net.grad(state.params, new)
        after = net.update(state, gradient, self.lr)
        return after.replace(extra=state.extra | {"seen": met})

    def rank_exemplars(
        self, net: Net, state: State, examples: Batch, share: int
    ) -> Float[Tensor, " row"]:
        features = self._features(net.in_eval_mode(), state, examples.x)
        members = memberships(net, examples)
        means = self._means(features, members)
        rounds = min(share, len(examples.x))
        return herded(features, members, means, rounds).to(features.dtype)

    def end_task(self, net: Net, state: State, task_end: TaskEnd) -> State:
        if task_end.memory is None:
            return state
        # In evaluation mode, as in `predict`.
        features = self._features(net.in_eval_mode(), state, task_end.memory.x)
        means = self._means(features, memberships(net, task_end.memory))
        met = state.extra["seen"]
        classes = {"means": means, "seen": met, "earlier": met}
        return state.replace(extra=packed(old=state.params) | classes)

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
        last = -distance.amax(1, True) - 1 + logits - logits.amax(1, True)
        return torch.where(state.extra["earlier"] > 0, -distance, last)

    def _features(self, net: Net, state: State, x: Tensor) -> Float[Tensor, "row feature"]:
        features = net.features(state.params, x)
        return normalize(features) if self.normalised else features

    def _means(self, features: Tensor, members: Tensor) -> Float[Tensor, "unit feature"]:
        means = class_means(features, members)
        return normalize(means) if self.normalised else means


def memberships(net: Net, batch: Batch) -> Bool[Tensor, "row unit"]:
    """The class of each row, one-hot; padding has none."""
    units = torch.arange(net.outputs, device=batch.y.device)
    real = batch.weight > 0
    return (batch.y[:, None] == units) & real[:, None]
