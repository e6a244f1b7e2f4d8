"""Checks that the cells of a run can be trained, before any of them is."""

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
from retrograde.running.cell import Cell, Source, data_of

Extent = tuple[int, int]
"""Training steps of one replicate of a cell, and the most replicates that train together."""


def check_cells(
    cells: Sequence[Cell],
    source: Source,
    device: torch.device,
    *,
    elsewhere: bool = False,
) -> list[Extent]:
    """Check that cells can be trained, and return their extents.

    Of cells that differ only in float settings, only those with the extreme values are checked. A
    check cuts a stream, builds the model and takes a step: about 10 ms, a quarter of an hour for
    100 000 cells.

    Args:
        cells: the cells.
        source: the source of datasets.
        device: the device to train on.
        elsewhere: True if the cells train on other machines, whose memory is unknown and not
            checked.

    Returns:
        One extent per cell, in their order.

    Raises:
        UserError: a cell cannot be trained; the first of them in the order of the cells.
    """
    groups = _alike(cells)
    # In the order of the cells, so that the first error does not depend on the groups.
    tried = sorted(place for group in groups for place in group.tried)
    checked = {place: _checked(cells[place], source, device, elsewhere) for place in tried}
    of_cell: dict[int, Extent] = {}
    for group in groups:
        extent = checked[group.places[0]]
        of_cell |= dict.fromkeys(group.places, extent)
    return [of_cell[place] for place in range(len(cells))]


def _checked(cell: Cell, source: Source, device: torch.device, elsewhere: bool) -> Extent:
    with _setting_up(cell):
        data = data_of(cell.benchmark, source)
        fitting = cell.check(data, None if elsewhere else device)
        return cell.steps(data), min(cell.at_once(data, device), fitting)


@contextmanager
def _setting_up(cell: Cell) -> Iterator[None]:
    """Turn any error inside, or too long a wait, into a `UserError` that names the cell."""
    strategy = cell.spec.strategy.spec
    benchmark = cell.spec.benchmark.spec
    what = f"{strategy} cannot be set up for {benchmark}"
    slow = f"Setting up {strategy} for {benchmark}"
    with guarded(what, cell.strategy), within("check", slow):
        yield


class _Group(NamedTuple):
    """Cells that can all be trained if those with the extreme values can.

    Args:
        places: indices of the cells in the run.
        numbers: float settings of each cell.
    """

    places: list[int]
    numbers: list[tuple[float, ...]]

    @property
    def tried(self) -> set[int]:
        """Indices of the first cell, and of those with the least or the greatest of any number."""
        tried = {self.places[0]}
        for column in zip(*self.numbers, strict=True):
            tried.add(self.places[column.index(min(column))])
            tried.add(self.places[column.index(max(column))])
        return tried


def _alike(cells: Sequence[Cell]) -> list[_Group]:
    groups: defaultdict[Hashable, _Group] = defaultdict(lambda: _Group([], []))
    for place, cell in enumerate(cells):
        with _setting_up(cell):
            kind, numbers = _kind(cell)
        # A cell without a kind is like no other: its place makes a group of its own.
        alike = place if kind is None else kind
        group = groups[cell.spec.benchmark.spec, cell.spec.strategy.name, alike]
        group.places.append(place)
        group.numbers.append(numbers)
    return list(groups.values())


def _kind(cell: Cell) -> tuple[Hashable, tuple[float, ...]]:
    """Return the kind of a cell, and its float settings.

    A pure strategy puts a float setting into the arithmetic of tensors, whose shapes do not depend
    on it. It may treat 0 and 1 as special, so a kind has on which side of them each number lies,
    and also the memory and the schedule that the strategy makes of its settings. A learner may do
    anything with its settings, and has no kind.
    """
    strategy = cell.strategy
    settings = cell.spec.strategy.settings.items()
    if isinstance(strategy, Learner):
        return None, ()
    numbers = tuple(value for _, value in settings if isinstance(value, float))
    sides = tuple(
        (key, _side(value) if isinstance(value, float) else as_text(value))
        for key, value in settings
    )
    plans = ""
    if isinstance(strategy, Strategy):
        plans = repr((strategy.memory(), strategy.schedule()))
    return (sides, plans), numbers


def _side(number: float) -> tuple[int, int]:
    """Signs of a number's distances from 0 and from 1."""
    return (number > 0) - (number < 0), (number > 1) - (number < 1)
