"""iCaRL: exemplars by herding, distillation, and the class of the nearest mean."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from retrograde import (
    Ahead,
    Arrival,
    Batch,
    Count,
    Exemplars,
    Finished,
    Memory,
    Net,
    Params,
    Rate,
    Scenario,
    Schedule,
    State,
    Strategy,
    Weighing,
)

from ._head import linear
from ._herding import class_means, herded
from ._importance import packed, unpacked


@dataclass(frozen=True)
class ICaRL(Strategy):
    """Incremental classifier and representation learning (Rebuffi et al. 2017, arXiv 1611.07725).

    Arrivals and exemplars are trained on together, each output a classifier of its own: those of earlier tasks' classes learn
    what they gave before the task, those met since learn the labels (algorithm 3; here the mean over the outputs met so far).
    Herding chooses the exemplars (algorithm 4), whose mean features classify (algorithm 1).
    """

    later: ClassVar[tuple[str, ...]] = ("temperature",)
    weighing: ClassVar[Weighing | None] = (
        "has nothing to weigh"  # arrivals and exemplars are one training set (algorithm 3)
    )
    scenarios: ClassVar[tuple[Scenario, ...]] = (
        "task",
        "class",
    )  # an output of an earlier task never learns a label again

    lr: Rate = 0.1
    memory: Count = 200  # exemplars kept, in equal shares of the classes so far
    temperature: Rate = (
        1.0  # divides what the outputs gave before: 2 in van de Ven's code, not in the paper
    )
    normalised: bool = (
        True  # features and their means have length 1: in the paper, not in Mammoth's first release
    )

    def knows(self) -> tuple[Ahead, ...]:
        return ()  # outputs that were not met yet are in no loss

    def schedule(self) -> Schedule:
        return Schedule("arrivals and memory")

    def remember(self) -> Memory:
        return Exemplars(self.memory, 0)

    def init(self, net: Net, params: Params) -> Params:
        weight, bias = linear(params)
        none = torch.zeros_like(bias)
        return packed(old=params) | {
            "means": torch.zeros_like(weight),
            "met": none,
            "earlier": none,
        }

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        labels = memberships(net, arrival.new).to(state.extra["met"].dtype)
        met = torch.maximum(state.extra["met"], labels.amax(0))
        before = (
            net.logits(unpacked(state.extra, "old"), arrival.new.x) / self.temperature
        ).sigmoid()
        target = torch.where(state.extra["earlier"] > 0, before, labels)

        def losses(logits: Tensor, _: Tensor) -> Tensor:
            return (binary_cross_entropy_with_logits(logits, target, reduction="none") * met).sum(
                1
            ) / met.sum()

        gradient = replace(net, units=None, losses=losses).grad(state.params, arrival.new)
        return net.descend(state, gradient, self.lr).replace(extra=state.extra | {"met": met})

    def choose(self, net: Net, state: State, examples: Batch, share: int) -> Float[Tensor, " row"]:
        features = self._features(net.evaluating(), state, examples.x)
        members = memberships(net, examples)
        rounds = min(share, len(examples.x))
        return herded(features, members, self._means(features, members), rounds).to(features.dtype)

    def end_task(self, net: Net, state: State, finished: Finished) -> State:
        if finished.memory is None:
            return state
        features = self._features(net.evaluating(), state, finished.memory.x)  # as in `predict`
        means = self._means(features, memberships(net, finished.memory))
        met = state.extra["met"]
        return state.replace(
            extra=packed(old=state.params) | {"means": means, "met": met, "earlier": met}
        )

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        distance = torch.cdist(self._features(net, state, x), state.extra["means"])
        logits = net.logits(state.params, x)  # for classes without exemplars, which come last
        last = -distance.amax(1, True) - 1 + logits - logits.amax(1, True)
        return torch.where(state.extra["earlier"] > 0, -distance, last)

    def _features(self, net: Net, state: State, x: Tensor) -> Float[Tensor, "row feature"]:
        features = net.features(state.params, x)
        return normalize(features) if self.normalised else features

    def _means(self, features: Tensor, members: Tensor) -> Float[Tensor, "unit feature"]:
        means = class_means(features, members)
        return normalize(means) if self.normalised else means


def memberships(net: Net, batch: Batch) -> Bool[Tensor, "row unit"]:
    """Of which class each row is; padding is of none."""
    return (batch.y[:, None] == torch.arange(net.outputs, device=batch.y.device)) & (
        batch.weight > 0
    )[:, None]
