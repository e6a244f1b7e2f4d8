"""What both kinds of learner report to the loop: which test examples were right, and what training used."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from retrograde.interface.batch import Batch
from retrograde.interface.benchmark import Benchmark
from retrograde.optim import Params
from retrograde.records.account import Account
from retrograde.records.few_shot import Adaptation
from retrograde.records.gradient_probe import Probe
from retrograde.records.online_accuracy import Course
from retrograde.streams.schedule import Rows, Schedule


class Hits(NamedTuple):
    """Whether each test example was classified right, by the scenario's rule and with its task told."""

    hit: Bool[np.ndarray, "replicate row"]
    told: Bool[np.ndarray, "replicate row"]
    sound: Bool[np.ndarray, " replicate"]  # no score was NaN and no parameter non-finite


@dataclass(frozen=True)
class Outcome:
    """What training left of one replicate: of a stream, counts of right answers, row 0 before training, then one per task."""

    fault: str  # what became non-finite, and when; empty where nothing did
    clocks: dict[str, float]
    counts: dict[str, int]
    memory: dict[str, int]
    how: dict[str, Any]
    tests: list[int] = field(default_factory=list)
    correct: list[list[int]] = field(default_factory=list)
    correct_told: list[list[int]] = field(default_factory=list)
    adaptation: Adaptation | None = None  # of episodes
    gradients: list[Probe] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)
    course: Course | None = None

    @property
    def sound(self) -> bool:
        """Whether it is done and did not diverge."""
        return not self.fault


class Used(NamedTuple):
    """What training one task took: steps, new examples and replayed ones."""

    steps: Int64[np.ndarray, " replicate"]
    new: Int64[np.ndarray, " replicate"]
    replayed: Int64[np.ndarray, " replicate"]


class Backend(Protocol):
    """One or more replicates at work on their streams; the loop drives it task by task."""

    backend: str
    benchmark: Benchmark
    tally: dict[str, int]
    test_rows: Rows
    schedule: Schedule

    @property
    def compiled(self) -> bool:
        """Whether its step is compiled."""
        ...

    @property
    def keeps_statistics(self) -> bool:
        """True if training moves buffers of the model, such as running statistics."""
        ...

    def learn(self, number: int, progress: Callable[[int], None]) -> Used:
        """Learn one task."""
        ...

    def evaluate(self, chunks: Rows) -> Hits:
        """Predict test examples, given in chunks of one size, and leave no trace, within a task as at its end."""
        ...

    def parameters(self) -> Params:
        """The model's parameters, with a leading axis for the replicates; empty where they are out of reach."""
        ...

    def examples(self, rows: Int64[np.ndarray, "replicate part row 4"]) -> Batch:
        """Test examples as the model sees them, in parts of one size."""
        ...

    def gradients(
        self, params: Params, parts: Batch
    ) -> tuple[Float[Tensor, "replicate part"], Params]:
        """At these parameters, the mean loss of the model's outputs on each part, in evaluation mode, and its gradient."""
        ...

    def held_examples(self) -> list[int]:
        """How many past examples each replicate holds."""
        ...

    def state_bytes(self) -> int:
        """The bytes kept beside the parameters and the examples, per replicate."""
        ...


def correct(hit: Bool[np.ndarray, " row"], rows: Rows, tasks: int) -> list[int]:
    """How many test examples of each task were right; padding does not count."""
    flat = rows.reshape(-1, 4)
    right: list[int] = (
        np.bincount(flat[:, 1], weights=hit & (flat[:, 3] > 0), minlength=tasks)
        .astype(int)
        .tolist()
    )
    return right
