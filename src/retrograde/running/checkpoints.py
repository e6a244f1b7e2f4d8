"""Checkpoints: files in a store from which replicates go on after their run was stopped."""

import pickle
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from retrograde.interface.state import State
from retrograde.parts.spec import digest
from retrograde.records.account import Account
from retrograde.records.few_shot import MetaEvaluation
from retrograde.records.gradient_probe import GradientProbe
from retrograde.records.plasticity import Plasticity
from retrograde.records.store import Store
from retrograde.running.cell import Job
from retrograde.streams.memory import MemoryState
from retrograde.streams.rows import Rows
from retrograde.training.online_evaluation import Evaluation
from retrograde.training.snapshots import Snapshot
from retrograde.training.statistics_log import Window
from retrograde.training.stream_replicas import Carried

_KINDS = (bool, np.uint8, np.int64, np.float32, np.float64)
_ADMITTED: list[Any] = [
    *(Account, Carried, Counter, Evaluation, GradientProbe, MemoryState, MetaEvaluation),
    *(Plasticity, Rows, State, Window),
    *(bytes, np.ndarray, np.dtype, *(type(np.dtype(kind)) for kind in _KINDS)),
    np.empty(0).__reduce__()[0],  # which NumPy's own pickles call
]
"""What a checkpoint consists of besides tensors and plain values.

PyTorch refuses a file with anything else: reading it could run any code.
"""


class Checkpoint(NamedTuple):
    """The latest snapshot of replicates that train together, in a file.

    Attributes:
        path: the file.
        device: the device to train on.
    """

    path: Path
    device: torch.device

    def read(self) -> Snapshot | None:
        """The latest snapshot; None if there is none, with a warning if the file is damaged."""
        try:
            with torch.serialization.safe_globals(_ADMITTED):
                snapshot: Snapshot = torch.load(
                    self.path, map_location=self.device, weights_only=True
                )
            return snapshot
        except FileNotFoundError:
            return None
        except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError):
            warnings.warn(
                f"{self.path} is damaged or no checkpoint, or the strategy's state has objects of "
                "its own classes, which no checkpoint brings back; its replicates begin anew. Keep "
                "tensors in dictionaries and tuples.",
                stacklevel=2,
            )
            return None

    def write(self, snapshot: Snapshot) -> None:
        """Replace the latest snapshot; the file is whole at any time."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=self.path.parent) as folder:
            whole = Path(folder) / self.path.name
            torch.save(snapshot, whole)
            whole.replace(self.path)


class JobCheckpoints(NamedTuple):
    """The checkpoints of a job: one for each group of replicates that train together.

    Attributes:
        folder: their folder, beside the records of the cell.
        device: the device to train on.
    """

    folder: Path
    device: torch.device

    @classmethod
    def at(cls, store: Path, job: Job, device: torch.device, identity: object) -> "JobCheckpoints":
        """The checkpoints of a job in a store.

        Args:
            store: the folder of the store.
            job: the job.
            device: the device to train on.
            identity: everything that decides the numbers; checkpoints of another one stay unused.
        """
        return cls(Path(f"{_stem(Store(store), job)}{digest(identity)}"), device)

    def of(self, seeds: Sequence[int]) -> Checkpoint:
        """The checkpoint of some replicates of the job."""
        return Checkpoint(self.folder / f"seeds-{seeds[0]}-{seeds[-1]}.pt", self.device)

    @property
    def way(self) -> Path:
        """The file of the way in which the job trains: ways differ in the last bits of results."""
        return self.folder / "way.json"


def remove_checkpoints(store: Store, job: Job) -> None:
    """Remove the checkpoints of a job that has ended, those of earlier versions too."""
    stem = _stem(store, job)
    for folder in stem.parent.glob(f"{stem.name}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _stem(store: Store, job: Job) -> Path:
    """The path of the checkpoints of a job, up to the digest of what decides their numbers."""
    first, *_, last = *job.seeds, job.seeds[-1]
    return store.path(job.spec, first).with_name(f"checkpoint-{first}-{last}-")
