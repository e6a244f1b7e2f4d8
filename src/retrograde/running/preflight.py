"""Whether each cell of a run can be trained; of those that differ in the size of numbers alone, the outermost are tried."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch

from retrograde.interface.learner import Learner
from retrograde.interface.strategy import Strategy
from retrograde.parts.author_code import guarded
from retrograde.parts.deadline import within
from retrograde.parts.spec import as_text
from retrograde.running.cell import Job, Source, trial


class Size(NamedTuple):
    """The steps of one replicate, and how many train together at most."""

    steps: int
    together: int


def sizes(
    jobs: Sequence[Job], data: Source, device: torch.device, *, elsewhere: bool = False
) -> list[Size]:
    """Check the cells in their order, of those that are alike the outermost; raises `UserError` at the first that cannot train.

    Where they train elsewhere, the memory there is not known and not checked.

    A check cuts a stream, builds the model and takes a step: about 10 ms, a quarter of an hour for 100 000 cells.
    """
    groups = _alike(jobs)
    tried = sorted(place for group in groups for place in group.tried)
    found = {place: _checked(jobs[place], data, device, elsewhere) for place in tried}
    of_cell = {place: found[group.places[0]] for group in groups for place in group.places}
    return [of_cell[place] for place in range(len(jobs))]


def _checked(job: Job, data: Source, device: torch.device, elsewhere: bool) -> Size:
    with _setting_up(job):
        todo = trial(job.benchmark, job.strategy, data)
        fitting = todo.check(None if elsewhere else device)
        return Size(todo.steps(), min(todo.together(device), fitting))


@contextmanager
def _setting_up(job: Job) -> Iterator[None]:
    """Whatever is raised in here, or takes too long, is the user's to put right."""
    what = f"{job.cell.strategy.text} cannot be set up for {job.cell.benchmark.text}"
    slow = f"Setting up {job.cell.strategy.text} for {job.cell.benchmark.text}"
    with guarded(what, job.strategy), within("check", slow):
        yield


class _Group(NamedTuple):
    """Cells of which each can be trained if the outermost can: where they stand, and the numbers in which they differ."""

    places: list[int]
    numbers: list[tuple[float, ...]]

    @property
    def tried(self) -> set[int]:
        """The first, and those that have the least or the greatest of any number."""
        columns = list(zip(*self.numbers, strict=True))
        return {
            self.places[0],
            *(self.places[column.index(end(column))] for column in columns for end in (min, max)),
        }


def _alike(jobs: Sequence[Job]) -> list[_Group]:
    groups: defaultdict[Hashable, _Group] = defaultdict(lambda: _Group([], []))
    for place, job in enumerate(jobs):
        with _setting_up(job):
            kind, numbers = _kind(job)
        group = groups[
            job.cell.benchmark.text, job.cell.strategy.name, place if kind is None else kind
        ]
        group.places.append(place)
        group.numbers.append(numbers)
    return list(groups.values())


def _kind(job: Job) -> tuple[Hashable, tuple[float, ...]]:
    """What decides whether a strategy can be trained on a benchmark, and the numbers that only have a size beside that.

    A pure strategy puts a number with a fraction into the arithmetic of tensors, whose shapes do not depend on it, and may make
    a case of its own of 0 and of 1; the memory and the schedule that it makes of one are compared. A learner may do with it
    what it likes, and is like no other.
    """
    strategy, settings = job.strategy, job.cell.strategy.settings.items()
    if isinstance(strategy, Learner):
        return None, ()
    numbers = tuple(value for _, value in settings if isinstance(value, float))
    rest = tuple(
        (key, _side(value) if isinstance(value, float) else as_text(value))
        for key, value in settings
    )
    own = repr((strategy.remember(), strategy.schedule())) if isinstance(strategy, Strategy) else ""
    return (rest, own), numbers


def _side(number: float) -> tuple[int, int]:
    """Where a number lies about 0 and about 1."""
    return (number > 0) - (number < 0), (number > 1) - (number < 1)
