"""The contract of results: tables and figures from a tiny, made-up store."""

import ast
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from retrograde.contract.claims import Broken, claim_of, is_recorded, pickles
from retrograde.parts.provenance import beside
from retrograde.parts.registry import source_of
from retrograde.records.cell import CellSpec, PartSpec
from retrograde.records.record import Record, Status
from retrograde.reporting.formats import FORMATS
from retrograde.reporting.plotting import FORMATS as PICTURES, style
from retrograde.reporting.result import FigureResult, TableResult
from retrograde.reporting.table import Table, malformed

Part = TableResult | FigureResult

SEEDS = 3
TRAINING = ("retrograde.training", "retrograde.running", "retrograde.contract")
"""Modules that train, of which a result imports none."""


def made_up() -> list[Record]:
    """Records of two benchmarks and two strategies; one replicate diverged and one failed."""
    cells = itertools.product(("split", "permuted"), ("er", "finetune"))
    records = [
        _record(benchmark, strategy, seed) for benchmark, strategy in cells for seed in range(SEEDS)
    ]
    return [
        *records,
        _record("split", "er", SEEDS, "diverged"),
        _record("split", "er", SEEDS + 1, "failed"),
    ]


def _record(
    benchmark: str,
    strategy: str,
    seed: int,
    status: Status = "done",
) -> Record:
    """One record of two tasks with 100 test examples each."""
    settings = {"dataset": "digits", "scenario": "class", "tasks": 2, "model": "mlp-100-100"}
    cell = CellSpec(PartSpec(benchmark, settings), PartSpec(strategy, {"lr": 0.1}), "0123456789ab")
    kept = 40 if strategy == "er" else 5
    correct = [[10, 11], [90 + seed, 12], [kept + seed, 88]] if status == "done" else []
    return Record(
        cell,
        seed,
        status,
        reason="" if status == "done" else "It was made up so.",
        test_examples=[100, 100] if correct else [],
        correct=correct,
        correct_given_task=correct,
        clocks={"train": 1.0, "evaluate": 0.5},
        counts={"steps": 200, "incoming": 2000, "replayed": 0},
        memory={"examples": 0, "bytes": 0, "state_bytes": 0, "peak_bytes": 10**6},
        how={"backend": "pure", "compiled": False, "replicates": SEEDS, "steps": 200},
        environment=_PLACE,
        knows_ahead=[],
    )


_PLACE: dict[str, Any] = {
    "cpu": "made up",
    "cores": 2,
    "device": "cpu",
    "threads": 1,
    "jobs": 1,
    "torch": "2",
}


def shown(part: Part, records: Sequence[Record]) -> str:
    """A table or a figure in every format, as one text; empty if there is no figure.

    Raises:
        Broken: It is neither a table nor a figure.
    """
    if isinstance(part, TableResult):
        table: Table = part.table(records)
        fault = malformed(table)
        if fault:
            raise Broken(fault)
        return "".join(render(table) for render in FORMATS.values())
    return _drawn(part, records)


def _drawn(part: FigureResult, records: Sequence[Record]) -> str:
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    with style():
        figure = part.figure(records)
        if figure is None:
            return ""
        if not isinstance(figure, Figure):
            raise Broken(f"figure gives a matplotlib Figure or None; it gave {type(figure)}")
        pictures = [draw(figure) for draw in PICTURES.values()]
        pyplot.close(figure)
    return "".join(str(picture) for picture in pictures)


def shows_records(part: Part) -> None:
    """It makes its table or figure of records, in every format."""
    shown(part, made_up())


def shows_an_empty_store(part: Part) -> None:
    """It makes a table without rows, or no figure, of no records."""
    if isinstance(part, TableResult):
        sections = part.table([]).sections
        rows = sum(len(section.rows) for section in sections)
        if rows:
            raise Broken(f"of no records, its table has {rows} rows")
    shown(part, [])


def shows_a_single_record(part: Part) -> None:
    """It survives a store with a single record, and one in which nothing finished."""
    records = made_up()
    shown(part, records[:1])
    shown(part, [record for record in records if record.status != "done"])


def repeats_itself(part: Part) -> None:
    """The same records give the same result, in any order, and stay as they are."""
    records = made_up()
    before = [*records]
    first = shown(part, records)
    if records != before:
        raise Broken("it changes the list of records; sort a copy: sorted(records, ...)")
    if shown(part, made_up()) != first:
        raise Broken("the same records give two results")
    if shown(part, records[::-1]) != first:
        raise Broken(
            "it depends on the order of the records; sort them, as retrograde.metrics.ordered does"
        )


def never_trains(part: Part) -> None:
    """It imports nothing that trains."""
    path = source_of(type(part))
    files = beside(path) if path else {}
    for name, content in files.items():
        for module in _imported(content):
            if module.startswith(TRAINING):
                raise Broken(f"{name} imports {module}; a result reads records alone")


def _imported(content: bytes) -> Iterator[str]:
    """The modules that a file imports."""
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""


CHECKS: tuple[Callable[[Part], None], ...] = (
    shows_records,
    shows_an_empty_store,
    shows_a_single_record,
    repeats_itself,
    never_trains,
    pickles,
    is_recorded,
)


def checks() -> list[tuple[str, Callable[[Any], None]]]:
    """The claims that a result must satisfy, each with a check of the result."""
    return [(claim_of(check), check) for check in CHECKS]
