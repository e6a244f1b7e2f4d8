"""The outcome of a run in words: a line for each cell as it ends, and the failures."""

from collections import Counter

import numpy as np
from rich.console import Console
from rich.markup import escape

from retrograde.metrics.intervals import WIDEST, t_interval
from retrograde.records.cell import CellSpec
from retrograde.records.record import Record
from retrograde.records.store import Store
from retrograde.running.cell import Job


class RunOutcome:
    """The records of a run's cells, from this run and from others; prints a line as a cell ends.

    Args:
        todo: the jobs of the run.
        out: the console for the lines.
    """

    def __init__(self, todo: list[Job], out: Console) -> None:
        self.troubles: list[Record] = []
        self.elsewhere = 0
        self._out = out
        self._left = Counter[CellSpec]()
        self._of_cell: dict[CellSpec, list[Record]] = {}
        self._others = Counter[CellSpec]()  # records of a cell that other runs made
        for job in todo:
            self._left[job.spec] += len(job.missing)

    def add(self, records: list[Record], *, elsewhere: bool = False) -> None:
        """Add records of one cell; `elsewhere` is true if another run made them."""
        cell = records[0].cell
        of_cell = self._of_cell.setdefault(cell, [])
        of_cell += records
        if elsewhere:
            self.elsewhere += len(records)
            self._others[cell] += len(records)
        if len(of_cell) == self._left[cell]:
            del self._of_cell[cell]  # records are large, and a run may have many cells
            self._out.print(_line(cell, of_cell, self._others[cell]))
        self.troubles += [record for record in records if record.status != "done"]


def _line(cell: CellSpec, records: list[Record], elsewhere: int = 0) -> str:
    """Line for a cell that has ended; other runs made `elsewhere` of its records."""
    done = [record for record in records if record.status == "done"]
    others = ""
    if elsewhere:
        share = f"{elsewhere} of {len(records)}" if elsewhere < len(records) else "all"
        others = f"  ({share} from another run)"
    colour, word = "green", "done"
    if len(done) < len(records):
        statuses = {record.status for record in records} - {"done"}
        colour, word = "red", ", ".join(sorted(statuses))
    line = f"[{colour}]{word:8}[/] {escape(cell.spec)}  n={len(done)}"
    return f"{line}  {_measured(done)}{others}" if done else f"{line}{others}"


def _measured(done: list[Record]) -> str:
    """Score of a cell, and its training time."""
    what, values = _headline(done)
    score = t_interval(values)
    half = score.mean - score.low
    spread = f" ± {half:.2f}" if score.n > 1 else ""
    if score.n > 1 and "%" in what and half > 100 * WIDEST / 2:
        spread = f" ± > {50 * WIDEST:.0f}"
    first = done[0]
    compiled = ""
    if first.how["compiled"]:
        compiled = f", compile {first.clocks.get('compile', 0.0):.1f} s"
    # The replicates of a batch share its clock.
    seconds = sum(record.clocks["train"] / record.how["replicates"] for record in done)
    note = f", not compiled: {escape(first.how['note'])}" if first.how["note"] else ""
    return f"{what} {score.mean:.2f}{spread}  train {seconds:.1f} s{compiled}{note}"


def _headline(done: list[Record]) -> tuple[str, np.ndarray]:
    """Return the name of the score of a cell, and its value for each replicate.

    The score is accuracy in percent, or the loss in regression.
    """
    adapted = [record.adaptation for record in done if record.adaptation]
    if not adapted and done[0].MSE is not None:
        return "MSE", np.array([record.MSE[-1].mean() for record in done if record.MSE is not None])
    if not adapted:
        return "ACC %", 100 * np.array([record.R[-1].mean() for record in done])
    steps = f"after {len(adapted[0].loss) - 1} inner steps"
    if adapted[0].correct:
        accuracies = [adaptation.accuracy[-1].mean() for adaptation in adapted]
        return f"accuracy % {steps}", 100 * np.array(accuracies)
    losses = [np.mean(adaptation.loss[-1]) for adaptation in adapted]
    return f"loss {steps}", np.array(losses)


def verdict(outcome: RunOutcome, store: Store, out: Console, err: Console, traceback: bool) -> int:
    """Print the replicates that are not done, and return the exit code."""
    # Seeds of a cell that failed alike share a line.
    alike: dict[tuple[str, str, str], list[int]] = {}
    for record in outcome.troubles:
        key = (record.status, record.cell.spec, record.reason.strip())
        alike.setdefault(key, []).append(record.seed)
    for (status, text, reason), seeds in alike.items():
        first, _, rest = reason.partition("\n")
        hint = " (--traceback shows all of it)" if rest and not traceback else ""
        said = escape(reason if traceback else first)
        numbers = ", ".join(map(str, seeds))
        err.print(f"[bold red]{status}[/] {escape(text)} seeds {numbers}: {said}{hint}")
    if outcome.elsewhere:
        out.print(
            f"{outcome.elsewhere} replicates were trained by other runs on this store meanwhile."
        )
    out.print(f"Tables: retrograde report {store.folder}")
    return 1 if any(record.status == "failed" for record in outcome.troubles) else 0
