"""A training budget: the settings that decide how long a stream trains."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class TrainingBudget(Protocol):
    """Settings of a benchmark that decide the number of steps on each task."""

    @property
    def epochs(self) -> int:
        """Passes over the examples of a task."""
        ...

    @property
    def steps(self) -> int:
        """Steps on a task, in as many epochs as they take; 0: as many as the epochs take."""
        ...

    @property
    def batch_size(self) -> int:
        """Examples per step."""
        ...

    @property
    def updates_per_batch(self) -> int:
        """Consecutive steps on each mini-batch."""
        ...
