"""Checkpoints: files in a store from which replicates go on after their run was stopped."""

import pickle
import shutil
import tempfile
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from errno import ENOENT
from itertools import count, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from retrograde.errors import UserError
from retrograde.interface.batch import Batch
from retrograde.interface.state import State
from retrograde.parts.spec import digest
from retrograde.records.account import Account
from retrograde.records.few_shot import MetaEvaluation
from retrograde.records.gradient_probe import GradientProbe
from retrograde.records.plasticity import Plasticity
from retrograde.records.store import Store
from retrograde.running.autotune import TunedMode, keep_choice, kept_choice
from retrograde.running.cell import Job, Start
from retrograde.streams.memory import MemoryState
from retrograde.streams.rows import Rows
from retrograde.training.online_evaluation import Evaluation
from retrograde.training.snapshots import Beginning, Snapshot
from retrograde.training.statistics_log import Window
from retrograde.training.stream_replicas import Carried

_KINDS = (bool, np.uint8, np.int64, np.float32, np.float64)
_ADMITTED: list[Any] = [
    *(Account, Batch, Carried, Counter, Evaluation, GradientProbe, MemoryState, MetaEvaluation),
    *(Plasticity, Rows, State, Window),
    *(bytes, np.ndarray, np.dtype, *(type(np.dtype(kind)) for kind in _KINDS)),
    np.empty(0).__reduce__()[0],  # which NumPy's own pickles call
]
"""What a checkpoint consists of besides tensors and plain values.

PyTorch refuses a file with anything else: reading it could run any code.
"""


WAY = "way.json"
"""The file of the way in which replicates train."""
_DAMAGED = (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
_UNREADABLE = (*_DAMAGED, pickle.UnpicklingError)
_AFTER = "-after-"
"""What stands before the number of experiences in the name of a kept snapshot."""


class Checkpoint(NamedTuple):
    """The latest snapshot of replicates that train together, in a file.

    Attributes:
        path: the file.
        device: the device to train on.
        kept: the folder in which the snapshot after each experience stays; None: none does.
        start: the snapshots of a shorter run to go on from; None: the first experience is trained.
    """

    path: Path
    device: torch.device
    kept: Path | None = None
    start: Start | None = None

    def read(self) -> Snapshot | None:
        """The latest snapshot; None if there is none, with a warning if the file is damaged."""
        try:
            return self._read(self.path)
        except FileNotFoundError:
            return None
        except _UNREADABLE:
            warnings.warn(
                f"{self.path} is damaged or no checkpoint, or the strategy's state has objects of "
                "its own classes, which no checkpoint brings back; its replicates begin anew. Keep "
                "tensors in dictionaries and tuples.",
                stacklevel=2,
            )
            return None

    def _read(self, path: Path) -> Snapshot:
        _check_sums(path)
        with torch.serialization.safe_globals(_ADMITTED):
            snapshot: Snapshot = torch.load(path, map_location=self.device, weights_only=True)
        return snapshot

    def write(self, snapshot: Snapshot) -> None:
        """Replace the latest snapshot; the file is whole at any time."""
        # One that stays comes first: after a stop in between, it is written again.
        if self.kept:
            _save(snapshot, self.kept / self._numbered(snapshot["run"]["begun"] - 1))
        _save(snapshot, self.path)

    def _numbered(self, experiences: int) -> str:
        """The name of the file of the snapshot after so many experiences."""
        return f"{self.path.stem}{_AFTER}{experiences}{self.path.suffix}"

    def beginning(self) -> Beginning | None:
        """The snapshots of a shorter run to go on from."""
        return Beginning(self.start.benchmark, self._earlier(self.start)) if self.start else None

    def _earlier(self, start: Start) -> Iterator[Snapshot]:
        """The snapshots of a shorter run, which are copied to the kept ones of this run.

        Raises:
            UserError: one of them is missing or cannot be read.
        """
        numbered = (start.folder / self._numbered(number) for number in count())
        first = next(numbered)
        for path in [first, *takewhile(Path.exists, numbered)]:
            try:
                yield self._read(path)
            except _UNREADABLE as error:
                raise _useless(start, path, error) from error
            if self.kept:
                shutil.copyfile(path, self.kept / path.name)


def check_kept(start: Start) -> None:
    """Raise `UserError` if a kept snapshot of a shorter run is missing or damaged."""
    names = [path.stem.rpartition(_AFTER) for path in start.folder.glob(f"*{_AFTER}*.pt")]
    if not names:
        raise _useless(start, start.folder, FileNotFoundError(ENOENT, "there is no snapshot"))
    latest: dict[str, int] = {}
    for stem, _, number in names:
        latest[stem] = max(latest.get(stem, 0), int(number))
    for stem, last in latest.items():
        for experiences in range(last + 1):
            path = start.folder / f"{stem}{_AFTER}{experiences}.pt"
            try:
                _check_sums(path)
            except _DAMAGED as error:
                raise _useless(start, path, error) from error


def _check_sums(path: Path) -> None:
    """Raise one of `_DAMAGED` if a file is not as it was written; PyTorch reads other numbers."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of its part {damaged} is another one")


def _useless(start: Start, path: Path, error: Exception) -> UserError:
    """The error that a snapshot of a shorter run is missing or damaged."""
    return UserError(
        "A run goes on from the snapshots before training and after each experience; "
        f"that of {start.benchmark} in {path} {_fault(error)}"
    )


def _fault(error: Exception) -> str:
    """The reason why a snapshot cannot be read, and the remedy."""
    if isinstance(error, pickle.UnpicklingError):
        return (
            "is damaged, or the strategy's state has objects of its own classes, which no snapshot "
            "brings back. Keep tensors in dictionaries and tuples, or run the whole stream anew."
        )
    why = error.strerror if isinstance(error, OSError) else error
    return f"is missing or damaged: {why}. Run the shorter stream again with keep=snapshots."


def _save(snapshot: Snapshot, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder:
        whole = Path(folder) / path.name
        torch.save(snapshot, whole)
        whole.replace(path)


class JobCheckpoints(NamedTuple):
    """The checkpoints of a job: one for each group of replicates that train together.

    Attributes:
        folder: their folder, beside the records of the cell.
        device: the device to train on.
        kept: the folder in which the snapshot after each experience stays; None: none does.
        start: the snapshots of a shorter run to go on from; None: the first experience is trained.
    """

    folder: Path
    device: torch.device
    kept: Path | None = None
    start: Start | None = None

    @classmethod
    def at(cls, store: Path, job: Job, device: torch.device, identity: object) -> "JobCheckpoints":
        """The checkpoints of a job in a store.

        Args:
            store: the folder of the store.
            job: the job.
            device: the device to train on.
            identity: everything that decides the numbers; checkpoints of another one stay unused.
        """
        folder = Path(f"{_stem(Store(store), job)}{digest(identity)}")
        kept = job.snapshots_in(store / job.spec.path) if job.snapshots else None
        return cls(folder, device, kept, job.start)

    def of(self, seeds: Sequence[int]) -> Checkpoint:
        """The checkpoint of some replicates of the job."""
        path = self.folder / f"seeds-{seeds[0]}-{seeds[-1]}.pt"
        return Checkpoint(path, self.device, self.kept, self.start)

    def way(self) -> TunedMode | None:
        """The way in which the job was begun, here or by a shorter run; None: it was not.

        Ways differ in the last bits of results.
        """
        here = kept_choice(self.folder / WAY)
        return here or (kept_choice(self.start.folder / WAY) if self.start else None)

    def keep_way(self, way: TunedMode) -> None:
        """Keep the way in which the job trains, for a run that goes on."""
        for folder in filter(None, [self.folder, self.kept]):
            keep_choice(folder / WAY, way)


def remove_checkpoints(store: Store, job: Job) -> None:
    """Remove the checkpoints of a job that has ended, those of earlier versions too."""
    stem = _stem(store, job)
    for folder in stem.parent.glob(f"{stem.name}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _stem(store: Store, job: Job) -> Path:
    """The path of the checkpoints of a job, up to the digest of what decides their numbers."""
    first, *_, last = *job.seeds, job.seeds[-1]
    return store.path(job.spec, first).with_name(f"checkpoint-{first}-{last}-")
