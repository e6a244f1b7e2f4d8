"""Snapshots: what has changed between two experiences, taken from a run and put back later."""

from collections.abc import Sequence
from typing import Any, Protocol

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


class Checkpoint(Protocol):
    """A place for the latest snapshot of replicates that train together."""

    def read(self) -> Snapshot | None:
        """The latest snapshot; None if there is none that fits."""
        ...

    def write(self, snapshot: Snapshot) -> None:
        """Replace the latest snapshot."""
        ...


class Checkpoints(Protocol):
    """Places for snapshots, one for each group of replicates that train together."""

    def of(self, seeds: Sequence[int]) -> Checkpoint:
        """The place of the replicates with these seeds."""
        ...
