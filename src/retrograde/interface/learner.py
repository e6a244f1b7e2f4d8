"""The interface of a learner: existing PyTorch code, for one replicate."""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from retrograde.interface.strategy import Boundaries, FutureFact, TaskWeighting
from retrograde.parts.part import Part
from retrograde.streams.stream import Scenario


class StreamInfo(NamedTuple):
    """The facts of a stream that are known before it begins; they include none of its examples.

    Args:
        scenario: The scenario.
        units: True for the output units of each task.
        epochs: Passes over the examples of a task.
        batch_size: Examples per step.
        optimizer: The name of the optimiser.
        weighting: The weights of losses on incoming and replayed examples: by their numbers
            ("examples"), or by the number of tasks ("tasks").
        regression: True if values are to be predicted, one for each output unit, and no classes.
    """

    scenario: Scenario
    units: Bool[np.ndarray, "task unit"]
    epochs: int
    batch_size: int
    optimizer: str
    weighting: str = "examples"
    regression: bool = False


class LearnerExperience(NamedTuple):
    """The training examples of one experience.

    Args:
        x: The examples in the order of the stream.
        y: The label (output unit) of each or, in regression, its values.
        task: The number of the experience, which is that of its task if each has one task; 0 if
            the benchmark's `boundaries` are unknown.
        batches: The indices of the examples of each step, epoch after epoch.
    """

    x: Float[Tensor, "row *shape"]
    y: Int64[Tensor, " row"] | Float[Tensor, "row value"]
    task: int
    batches: list[Int64[Tensor, " _"]]


class Learner(Part):
    """Existing code behind a few methods.

    A learner is a dataclass that is not frozen: its fields are settings, and other attributes are
    its own. The engine works on a fresh copy for each replicate, and seeds and restores the global
    generators around it.
    """

    kind: ClassVar[str] = "strategies"
    scenarios: ClassVar[tuple[Scenario, ...]] = ("task", "domain", "class")
    upper_bound: ClassVar[bool] = False
    task_weighting: ClassVar[TaskWeighting] = "refused"
    # None: of experiences if it defines `learn` or `end_experience`, otherwise none.
    boundaries: ClassVar[Boundaries | None] = None
    # False: it learns regression too, as `StreamInfo.regression` says.
    classes_only: ClassVar[bool] = True

    def declares(self) -> dict[str, str]:
        """The scenarios, the answer to `weighting=tasks`, and the facts known ahead, as text."""
        bound = ", an upper bound" if self.upper_bound else ""
        return {
            "kind": "opaque learner" + bound,
            "scenarios": ", ".join(self.scenarios),
            "weighting=tasks": self.handles_weighting(),
            "needs boundaries": self.needs_boundaries(),
            "knows ahead": ", ".join(self.knows_ahead()) or "nothing",
        }

    def handles_weighting(self) -> TaskWeighting:
        """The answer to `weighting=tasks`."""
        return self.task_weighting

    def needs_boundaries(self) -> Boundaries:
        """The boundaries of the stream that the learner needs to know."""
        if self.boundaries is not None:
            return self.boundaries
        hooks = ("learn", "end_experience")
        defined = any(getattr(type(self), hook) is not getattr(Learner, hook) for hook in hooks)
        return "experiences" if defined else "none"

    def needs_classes(self) -> bool:
        """True if the learner is refused on streams of regression."""
        return self.classes_only

    def knows_ahead(self) -> tuple[FutureFact, ...]:
        """The facts of the stream that are used before it has shown them.

        By default `classes`, since `StreamInfo` has the units of all tasks; see
        `Strategy.knows_ahead`.
        """
        return ("classes",)

    def receive(self, info: StreamInfo) -> None:
        """Take the facts that are known of the stream; called before `setup`."""

    @abstractmethod
    def setup(self, model: nn.Module) -> None:
        """Take the model, with the initial weights of every other strategy on this seed.

        Train this very module: gradient probes are taken at its parameters.
        """

    @abstractmethod
    def observe(
        self,
        x: Float[Tensor, "row *shape"],
        y: Int64[Tensor, " row"] | Float[Tensor, "row value"],
        task: int,
    ) -> None:
        """Learn from one mini-batch."""

    def learn(
        self,
        experience: LearnerExperience,
        on_step: Callable[[int], None],
    ) -> None:
        """Learn a whole experience, by default batch by batch.

        Override it for code with a loop of its own.

        Args:
            experience: The examples. Order, batches and epochs are those of every other
                strategy on this seed.
            on_step: To be called after each step, with the number of examples that it took.
        """
        for batch in experience.batches:
            self.observe(experience.x[batch], experience.y[batch], experience.task)
            on_step(len(batch))

    def end_experience(self) -> None:
        """Consolidate after an experience."""

    @abstractmethod
    def predict(
        self,
        x: Float[Tensor, "row *shape"],
        task: int | None,
    ) -> Float[Tensor, "row unit"]:
        """A score for each output unit.

        The scores of an example may not depend on the others in `x`: put a model with batch
        normalisation or dropout into evaluation mode. Changes of the model's modes and buffers and
        of the global generators are undone.

        Args:
            x: Test examples.
            task: The number of their task in task-incremental streams; None in others.
        """
