"""Snapshots: what has changed between two experiences, taken from a run and put back later."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

Snapshot = dict[str, Any]
"""Values by name: tensors, arrays, numbers, and records of measurements."""


class Carrier(Protocol):
    """A part of a run."""

    @property
    def carries(self) -> tuple[str, ...]:
        """The names of the attributes that change from experience to experience."""
        ...


def taken(part: Carrier) -> Snapshot:
    """The values of a part that change, by name."""
    return {name: getattr(part, name) for name in part.carries}


def restore(part: Carrier, snapshot: Snapshot) -> None:
    """Put back the values of a part."""
    for name in part.carries:
        setattr(part, name, snapshot[name])


class Beginning(NamedTuple):
    """A run of the first experiences of a stream.

    Attributes:
        benchmark: The benchmark of the shorter stream.
        snapshots: The snapshots before training and after each experience, in order. They are read
            one by one, since all of them may be large.
    """

    benchmark: str
    snapshots: Iterator[Snapshot]


class Checkpoint(Protocol):
    """A place for the latest snapshot of replicates that train together."""

    def read(self) -> Snapshot | None:
        """The latest snapshot; None if there is none that fits."""
        ...

    def write(self, snapshot: Snapshot) -> None:
        """Replace the latest snapshot."""
        ...

    def beginning(self) -> "Beginning | None":
        """A run of a shorter stream to go on from; None: training begins anew."""
        ...


class Checkpoints(Protocol):
    """Places for snapshots, one for each group of replicates that train together."""

    def of(self, seeds: Sequence[int]) -> Checkpoint:
        """The place of the replicates with these seeds."""
        ...
