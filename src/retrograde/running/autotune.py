"""How a cell is trained: its replicates together or one by one, on how many threads, compiled or not; by a short trial."""

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import TypeAdapter, ValidationError

from retrograde.data.cache import cache_folder, keep
from retrograde.parts.spec import digest
from retrograde.training.clocks import Pace
from retrograde.training.compiling import Compile

WORTH_TRYING = 10.0, 100
"""Seconds and steps of training from which other ways than the plain one are tried; to try one takes a second or some steps."""
COMPILING = 4.0, 500
"""What compiling takes, in seconds and in steps, roughly: 4 to 13 s where a step took 4 ms (replay), 66 s of 250 (Omniglot)."""
SINGLY = 10
"""How many times as long as compiling took training must take, for replicates to be tried one after the other, compiled."""


class Way(NamedTuple):
    """How many replicates train together, on how many threads, and whether the step is compiled."""

    together: int
    threads: int
    compiled: bool


class Tried(NamedTuple):
    """What a way took in the trial: seconds until the first step, and those that all steps of all replicates would take."""

    way: Way
    ready: float
    rest: float


@dataclass(frozen=True)
class Choice:
    """The way that was chosen, why compiling failed where it did, and all that was tried."""

    way: Way
    note: str | None = None
    tried: list[Tried] = field(default_factory=list)

    @property
    def mode(self) -> Compile:
        """As training is told."""
        return "auto" if self.way.compiled else "off"

    def groups(self, seeds: tuple[int, ...]) -> list[list[int]]:
        """The replicates that train together."""
        size = self.way.together
        return [list(seeds[start : start + size]) for start in range(0, len(seeds), size)]

    def told(self, how: Mapping[str, Any]) -> dict[str, Any]:
        """What the record says of the trial, beside how the replicate was trained."""
        trial = [
            {**each.way._asdict(), "ready": each.ready, "rest": each.rest} for each in self.tried
        ]
        note = how["note"] or (None if self.way.compiled else self.note)
        return {"note": note} | ({"trial": trial} if len(trial) > 1 else {})


Paced = Callable[[int, Compile], Pace | None]
"""How fast so many of the replicates would train together."""


def choose(paced: Paced, replicates: int, identity: object) -> Choice:
    """The fastest way that a trial finds, or found before: it is kept in the user's cache under the identity of what was tried.

    The plain way is eager, all replicates together, on as many threads as there are. Others are tried where training would take
    so long that they can pay for it; what they cost beside, such as the ends of tasks and evaluation, is not.
    """
    plain = Way(replicates, torch.get_num_threads(), compiled=False)
    path = cache_folder() / "choices" / f"{digest([identity, plain])}.json"
    if kept := _read(path):
        return kept
    found = _trial(paced, plain)
    if len(found.tried) > 1:
        gc.collect()  # or what was tried would count as memory of what is trained
        if not found.note:  # what failed to compile may be put right
            keep(path, lambda file: file.write_bytes(_ADAPTER.dump_json(found)))
    return found


def _trial(paced: Paced, plain: Way) -> Choice:
    tried: list[Tried] = []
    steps: list[float] = []
    notes: list[str] = []

    def attempt(way: Way) -> None:
        with on_threads(way.threads):
            pace = paced(way.together, "auto" if way.compiled else "off")
        if pace and pace.note:
            notes.append(pace.note)
        elif pace:
            steps.append(pace.step)
            tried.append(
                Tried(
                    way,
                    round(pace.ready, 3),
                    round(pace.rest * -(-plain.together // way.together), 3),
                )
            )

    def best() -> Tried:
        return min(tried, key=lambda each: each.rest + each.ready * each.way.compiled)

    attempt(plain)
    if not tried:
        return Choice(plain)
    long = best().rest > max(WORTH_TRYING[0], WORTH_TRYING[1] * steps[0])
    if long and plain.threads > 1:
        attempt(plain._replace(threads=1))
    if long and plain.together > 1:
        attempt(best().way._replace(together=1))
    compiling = COMPILING[0] + COMPILING[1] * min(steps)
    if best().rest / 2 > compiling:  # it would pay for itself, if it halved what is left
        compiled = Way(plain.together, best().way.threads, compiled=True)
        attempt(compiled)
        slowest = max(compiling, tried[-1].ready)
        if tried[-1].way == compiled and plain.together > 1 and best().rest > SINGLY * slowest:
            attempt(compiled._replace(together=1))
    return Choice(best().way, next(iter(notes), None), tried)


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Compute on so many threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_ADAPTER = TypeAdapter(Choice)


def _read(path: Path) -> Choice | None:
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
