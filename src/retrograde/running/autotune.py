"""The choice of the fastest way to train the replicates of a cell, by a short trial."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import TypeAdapter, ValidationError

from retrograde.data.cache import cache_folder, keep
from retrograde.parts.spec import digest
from retrograde.training.clocks import Throughput
from retrograde.training.compiled_step import Compile

WORTH_TIMING = 10.0, 100
"""Seconds and steps of training above which more ways than the plain one are tried.

To try one takes a second or some steps.
"""
COMPILING = 10.0, 500
"""Rough cost of compiling, in seconds and in steps, if no library is kept.

Measured: 13 to 15 s with a step of 2 ms (replay), 55 s with a step of 38 ms (La-MAML).
"""
SLOWDOWN_LASTS = 3600.0
"""Seconds for which a slow compilation is expected to be slow again.

On a busy machine, compiling a step of 4 ms took 41 s: eight times what was expected.
"""
SINGLY = 10
"""Least ratio of training time to compile time for a trial of compiled replicates one by one."""


class ExecutionMode(NamedTuple):
    """A way to train replicates.

    Args:
        replicates: replicates that train together.
        threads: threads of PyTorch.
        compiled: True if the step is compiled.
    """

    replicates: int
    threads: int
    compiled: bool


class Timing(NamedTuple):
    """The times of one way in a trial, in seconds.

    Args:
        way: the way.
        warm_up: time until the first step.
        training: time that all steps of all replicates would take.
    """

    way: ExecutionMode
    warm_up: float
    training: float


@dataclass(frozen=True)
class TunedMode:
    """The chosen way.

    Args:
        way: the way.
        note: the reason why compiling failed; None if it did not.
        tried: the times of all ways that were tried.
    """

    way: ExecutionMode
    note: str | None = None
    tried: list[Timing] = field(default_factory=list)

    @property
    def mode(self) -> Compile:
        """The compilation mode to train with."""
        return "auto" if self.way.compiled else "off"

    def groups(self, seeds: tuple[int, ...]) -> list[list[int]]:
        """Groups of seeds whose replicates train together."""
        size = self.way.replicates
        return [list(seeds[start : start + size]) for start in range(0, len(seeds), size)]

    def as_record(self, how: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of a record's `how` that describe the trial.

        Args:
            how: the execution of the replicate, as its outcome has it.
        """
        trial = [
            {**tried.way._asdict(), "warm_up": tried.warm_up, "training": tried.training}
            for tried in self.tried
        ]
        note = how["note"]
        if not note and not self.way.compiled:
            note = self.note
        fields: dict[str, Any] = {"note": note or None}
        if len(trial) > 1:
            fields["timings"] = trial
        return fields


Measure = Callable[[int, Compile], Throughput | None]
"""Measures the pace of a number of replicates that train together; None if there is no choice."""


def fastest_mode(paced: Measure, replicates: int, identity: object) -> TunedMode:
    """Choose the fastest way that a trial finds, or has found before.

    The plain way is eager, with all replicates together, on all threads. Others are tried only if
    training is long enough to repay it. The ends of tasks and evaluation are not timed.

    Args:
        paced: measures the pace of a number of replicates.
        replicates: the number of replicates to train.
        identity: everything that decides the pace; the choice is kept in the user's cache under
            its digest.
    """
    plain = ExecutionMode(replicates, torch.get_num_threads(), compiled=False)
    path = cache_folder() / "choices" / f"{digest([identity, plain])}.json"
    kept = kept_choice(path)
    if kept:
        return kept
    found = _trial(paced, plain, _slowdown())
    if len(found.tried) > 1:
        # Otherwise the trial would count as memory of the training that follows.
        gc.collect()
        # A failure to compile is not kept, since its cause may be put right.
        if not found.note:
            keep_choice(path, found)
        # This process has the compiled step already; others would have to load it.
        quickest = min(found.tried, key=lambda tried: tried.training)
        return replace(found, way=quickest.way)
    return found


def _slowdown() -> float:
    """The factor by which the last step compiled more slowly than expected; at least 1."""
    path = _slowdown_file()
    try:
        recent = time.time() - path.stat().st_mtime < SLOWDOWN_LASTS
        return max(1.0, float(path.read_text(encoding="utf-8"))) if recent else 1.0
    except (OSError, ValueError):
        return 1.0


def _slowdown_file() -> Path:
    return cache_folder() / "compiling.txt"


class _Trial:
    """The ways that were tried so far, and their times."""

    def __init__(self, paced: Measure, replicates: int) -> None:
        self._paced = paced
        self._replicates = replicates
        self.tried: list[Timing] = []
        self.steps: list[float] = []
        self.notes: list[str] = []

    def attempt(self, way: ExecutionMode) -> None:
        """Measure a way; nothing is added if there is no choice, or if compiling fails."""
        with on_threads(way.threads):
            pace = self._paced(way.replicates, "auto" if way.compiled else "off")
        if pace is None:
            return
        if pace.note:
            self.notes.append(pace.note)
            return
        groups = -(-self._replicates // way.replicates)  # rounded up
        self.steps.append(pace.step)
        self.tried.append(Timing(way, round(pace.warm_up, 3), round(pace.training * groups, 3)))

    @property
    def best(self) -> Timing:
        """The fastest way."""
        # The time until the first step is compilation, of which eager ways have none.
        return min(
            self.tried, key=lambda tried: tried.training + tried.warm_up * tried.way.compiled
        )


def _trial(paced: Measure, plain: ExecutionMode, slowdown: float = 1.0) -> TunedMode:
    trial = _Trial(paced, plain.replicates)
    trial.attempt(plain)
    if not trial.tried:
        return TunedMode(plain)
    seconds, steps = WORTH_TIMING
    long = trial.best.training > max(seconds, steps * trial.steps[0])
    if long and plain.threads > 1:
        trial.attempt(plain._replace(threads=1))
    if long and plain.replicates > 1:
        trial.attempt(trial.best.way._replace(replicates=1))
    _try_compiled(trial, plain, slowdown)
    return TunedMode(trial.best.way, next(iter(trial.notes), None), trial.tried)


def _try_compiled(trial: _Trial, plain: ExecutionMode, slowdown: float) -> None:
    """Try compiled ways, if training is long enough to repay the compilation."""
    seconds, steps = COMPILING
    reckoned = seconds + steps * min(trial.steps)
    expected = reckoned * slowdown
    # Compiling pays for itself if it halves the time that is left.
    if trial.best.training / 2 <= expected:
        return
    compiled = ExecutionMode(plain.replicates, trial.best.way.threads, compiled=True)
    trial.attempt(compiled)
    latest = trial.tried[-1]
    slowest = max(expected, latest.warm_up)
    if latest.way == compiled and reckoned:
        ratio = latest.warm_up / reckoned
        keep(_slowdown_file(), lambda file: file.write_text(str(ratio), encoding="utf-8"))
    if latest.way != compiled or plain.replicates == 1:
        return
    # A trial for single replicates compiles once more, which only long training repays.
    if trial.best.training > SINGLY * slowest:
        trial.attempt(compiled._replace(replicates=1))


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Compute on a number of threads inside the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_ADAPTER = TypeAdapter(TunedMode)


def keep_choice(path: Path, choice: TunedMode) -> None:
    """Write a choice to a file, if that is possible."""
    keep(path, lambda file: file.write_bytes(_ADAPTER.dump_json(choice)))


def kept_choice(path: Path) -> TunedMode | None:
    """Read a choice from a file; None if there is none, or one of another version."""
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        # There is none yet, or another version of the suite has written it.
        return None
