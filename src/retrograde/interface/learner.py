"""The interface of a learner that is not pure: existing PyTorch code, one replicate at a time."""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from retrograde.interface.strategy import Ahead, Weighing
from retrograde.parts.part import Part
from retrograde.streams.stream import Scenario


class Terms(NamedTuple):
    """What is known of a stream before it begins: how it is cut and trained on, and none of its examples."""

    scenario: Scenario
    units: Bool[np.ndarray, "task unit"]
    epochs: int
    batch: int
    optimizer: str
    weighting: str = (
        "examples"  # of losses on arrivals and on past examples: alike, or by the number of tasks
    )


class Experience(NamedTuple):
    """All that arrives during one task, in the order of arrival, and which examples each step takes, epoch after epoch."""

    x: Float[Tensor, "row *shape"]
    y: Int64[Tensor, " row"]
    task: int
    batches: list[Int64[Tensor, " _"]]


class Learner(Part):
    """Existing code behind a few methods. A dataclass, not frozen: its fields are settings, the rest is its own.

    The engine works on a fresh copy for each replicate, and seeds and restores the global generators around it.
    """

    kind: ClassVar[str] = "strategies"
    scenarios: ClassVar[tuple[Scenario, ...]] = ("task", "domain", "class")
    upper_bound: ClassVar[bool] = False
    weighing: ClassVar[Weighing] = "refuses"

    def declares(self) -> dict[str, str]:
        """Its scenarios, its answer to `weighting=tasks`, and what it knows ahead."""
        return {
            "kind": "opaque learner" + (", an upper bound" if self.upper_bound else ""),
            "scenarios": ", ".join(self.scenarios),
            "weighting=tasks": self.weighs(),
            "knows ahead": ", ".join(self.knows()) or "nothing",
        }

    def weighs(self) -> Weighing:
        """Its answer to `weighting=tasks`."""
        return self.weighing

    def knows(self) -> tuple[Ahead, ...]:
        """The facts that it uses before the stream has shown them; see `Strategy.knows`. `Terms` has the units of all tasks."""
        return ("classes",)

    def agree(self, terms: Terms) -> None:
        """Hear what is known of the stream; comes before `begin`."""

    @abstractmethod
    def begin(self, model: nn.Module) -> None:
        """Take the model, whose initial weights are those of every other strategy on this seed.

        Train this very module: gradients of the tasks are compared at its parameters.
        """

    @abstractmethod
    def observe(self, x: Float[Tensor, "row *shape"], y: Int64[Tensor, " row"], task: int) -> None:
        """Learn from one mini-batch."""

    def learn(self, experience: Experience, stepped: Callable[[int], None]) -> None:
        """Learn a whole task, here batch by batch; `stepped` is told after each step how many examples it took.

        For code with a loop of its own. Order, batches and epochs are those of every other strategy on this seed.
        """
        for batch in experience.batches:
            self.observe(experience.x[batch], experience.y[batch], experience.task)
            stepped(len(batch))

    def end_task(self) -> None:
        """Consolidate after a task."""

    @abstractmethod
    def predict(
        self, x: Float[Tensor, "row *shape"], task: int | None
    ) -> Float[Tensor, "row unit"]:
        """A score for each output unit; `task` is told in task-incremental only.

        An example's scores may not depend on the others in `x`: a model with batch normalisation, or dropout, is to be in
        evaluation mode here. What this does to the model's modes and buffers and to the global generators is undone.
        """
