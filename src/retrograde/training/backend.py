"""The interface between the stream loop and its backends: costs and outcomes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from retrograde.interface.batch import Batch
from retrograde.interface.benchmark import Benchmark
from retrograde.optim import Params
from retrograde.records.account import Account
from retrograde.records.class_counts import ClassCounts
from retrograde.records.experiences import Experiences
from retrograde.records.few_shot import Adaptation
from retrograde.records.gradient_probe import GradientProbe
from retrograde.records.online_accuracy import OnlineAccuracy
from retrograde.records.plasticity import Plasticity
from retrograde.records.prequential import Prequential
from retrograde.records.sidecars import Kept
from retrograde.records.statistics import Statistics
from retrograde.records.validation import Validation
from retrograde.streams.rows import Rows
from retrograde.streams.schedule import Schedule
from retrograde.training.compiled_step import Compile
from retrograde.training.evaluation import Errors, Predictions
from retrograde.training.snapshots import Snapshot


@dataclass(frozen=True)
class Outcome:
    """Results of training one replicate.

    Attributes:
        divergence: The kind of number that became non-finite, and when; empty if none did.
        clocks: Seconds by the name of the clock.
        counts: Steps, examples and passes through the model.
        memory: Examples stored at the end, and the bytes of these and of other state.
        how: How the replicate was trained: backend, compilation, replicates at once.
        test_examples: Number of test examples of each task of a stream.
        correct: Correct predictions on each task of a stream: row 0 before training, then a row
            after each experience.
        correct_given_task: The same counts with the task given.
        experiences: The experiences of a stream; None if each trains one task, in order.
        squared_errors: In regression, the sum of the squared errors on each task of a stream, in
            place of correct predictions.
        classes: Correct predictions by class.
        adaptation: Few-shot adaptation to test tasks, for meta-strategies.
        gradients: Gradient probes at the end of each task.
        accounts: Accounts of forgetting, one for each task that has earlier ones.
        prequential: Predictions of incoming examples before the steps on them.
        plasticity: Hidden units and weights at the end of each experience, if the benchmark asks
            for it.
        online_accuracy: Accuracy while the stream was learned, if the benchmark asks for it.
        validation: Correct predictions on validation examples, if the benchmark has some.
        statistics: What the strategy logs of its own steps, if anything.
        kept: The files to keep beside the record, if any.
    """

    divergence: str
    clocks: dict[str, float]
    counts: dict[str, int]
    memory: dict[str, int]
    how: dict[str, Any]
    test_examples: list[int] = field(default_factory=list)
    correct: list[list[int]] = field(default_factory=list)
    correct_given_task: list[list[int]] = field(default_factory=list)
    squared_errors: list[list[float]] = field(default_factory=list)
    experiences: Experiences | None = None
    classes: ClassCounts | None = None
    adaptation: Adaptation | None = None
    gradients: list[GradientProbe] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)
    prequential: Prequential | None = None
    plasticity: Plasticity | None = None
    online_accuracy: OnlineAccuracy | None = None
    validation: Validation | None = None
    statistics: Statistics | None = None
    kept: Kept | None = None

    @property
    def finite(self) -> bool:
        """True if training finished without diverging."""
        return not self.divergence


PREDICTED_FIRST = "predicted first"
"""The name, among statistics, of incoming examples that are predicted before the step on them."""


class TaskCost(NamedTuple):
    """Cost of training one task: steps, incoming examples and replayed examples."""

    steps: Int64[np.ndarray, " replicate"]
    incoming: Int64[np.ndarray, " replicate"]
    replayed: Int64[np.ndarray, " replicate"]


class Backend(Protocol):
    """One or more replicates that learn their streams; the stream loop drives it task by task."""

    backend: str
    benchmark: Benchmark
    tally: dict[str, int]
    test_rows: Int64[Rows, "chunk replicate row"]
    schedule: Schedule

    @property
    def compiled(self) -> bool:
        """True if the step is compiled."""
        ...

    @property
    def keeps_statistics(self) -> bool:
        """True if training changes buffers of the model, such as running statistics."""
        ...

    def begin(self, number: int) -> bool:
        """Begin an experience.

        Args:
            number: The number of the experience, from 0.

        Returns:
            True if the step has to be made ready by `warm_up`: at first, and if the state has
            another form than before.
        """
        ...

    def warm_up(self, mode: Compile) -> str | None:
        """Try the step, and compile it unless that is off.

        Returns:
            Why compiling failed; None if it did not.
        """
        ...

    def take_statistics(self) -> dict[str, Float[np.ndarray, "replicate 2"]]:
        """The sum of each statistic that steps have logged since the last call, and their number.

        A number that is not finite spoils this sum and no later one.
        """
        ...

    def learn(
        self,
        number: int,
        progress: Callable[[int], None],
    ) -> TaskCost:
        """Learn one experience.

        Args:
            number: The number of the experience, from 0.
            progress: Called with the number of steps that were just taken.
        """
        ...

    def evaluate(
        self,
        chunks: Int64[Rows, "chunk replicate row"],
        during: bool = False,
        validation: bool = False,
    ) -> Predictions:
        """Predict examples without changing the learner.

        Args:
            chunks: Rows of test examples, in chunks of one size.
            during: True in the middle of an experience.
            validation: True if they are validation examples, rows of the training examples.
        """
        ...

    def errors(self, chunks: Int64[Rows, "chunk replicate row"]) -> Errors:
        """Predict the values of test examples, in regression; see `evaluate`."""
        ...

    def tensors(self, replicate: int) -> Params:
        """The tensors of the model of one replicate, those of the strategy, and the optimiser's.

        The model's have the names that they have in the module; in others, parts are divided by
        `/`, as in `optimizer/momentum/0.weight`.
        """
        ...

    def parameters(self) -> Params:
        """The parameters of the models, stacked over replicates; empty if they are unreachable."""
        ...

    def examples(self, rows: Int64[Rows, "replicate part row"]) -> Batch:
        """Test examples as the model receives them, in parts of one size."""
        ...

    def gradients(
        self,
        params: Params,
        parts: Batch,
    ) -> tuple[Float[Tensor, "replicate part"], Params]:
        """Mean losses of the model's outputs on each part, and their gradients.

        Args:
            params: The parameters at which the gradients are taken, stacked over replicates.
            parts: Examples as `examples` gives them. The model is in evaluation mode.
        """
        ...

    def snapshot(self) -> Snapshot:
        """Everything of the replicates that has changed since the start."""
        ...

    def restore(self, snapshot: Snapshot) -> None:
        """Put back a snapshot, between two experiences."""
        ...

    def held_examples(self) -> list[int]:
        """Number of past examples that each replicate stores."""
        ...

    def state_bytes(self) -> int:
        """Bytes of state besides the parameters and the examples, per replicate."""
        ...
