"""Progress of a run: bars on a terminal, and a line a minute in a pipe."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from retrograde.records.cell import CellSpec
from retrograde.records.record import Record
from retrograde.running.cell import Job
from retrograde.training.clocks import News

ROWS = 8
"""Most running jobs that are shown at a time; a cluster may run hundreds."""
WIDTH = 24
"""Characters of a bar."""
LENGTH = 60
"""Most characters of a cell's name in a line."""
BESIDES = 52
"""Characters on a terminal that the row of a cell has besides the cell's name."""
LEAST = 20
"""Least characters of a cell's name on a terminal, however narrow."""
MINUTE = 60.0
"""Seconds between two lines in a pipe."""


class Tally:
    """Counts of replicates, which always add up to all of them.

    Args:
        done: the replicates that were done before the run.
        missing: the replicates to run.
    """

    def __init__(self, done: int, missing: int) -> None:
        self.all = done + missing
        self._statuses = Counter({"done": done})

    def add(self, records: Sequence[Record]) -> None:
        """Count the records of replicates that have ended."""
        self._statuses.update(record.status for record in records)

    def __str__(self) -> str:
        left = self.all - self._statuses.total()
        statuses = ("done", "diverged", "failed")
        counts = [(self._statuses[status], status) for status in statuses] + [(left, "left")]
        said = ", ".join(f"{count} {word}" for count, word in counts if count)
        return f"{said or 'none'} of {self.all} replicates"


class Row(NamedTuple):
    """What is shown of a running job.

    Attributes:
        cell: its strategy and benchmark, shortened.
        doing: its seeds and its phase.
        taken: its steps so far.
        steps: all its steps.
    """

    cell: str
    doing: str
    taken: int
    steps: int


class _Running(NamedTuple):
    """A job that has begun: its steps so far, and its phase."""

    taken: int = 0
    phase: str = "waiting"


_Key = tuple[CellSpec, tuple[int, ...]]
"""The cell and the seeds of a job, whose replicates may be made elsewhere meanwhile."""


class RunState:
    """The state of a run: the replicates by status, and the steps and the phase of each job.

    Args:
        jobs: the jobs of the run.
        tally: the counts of replicates.
    """

    def __init__(self, jobs: Sequence[Job], tally: Tally) -> None:
        self._tally = tally
        self.steps = sum(job.steps for job in jobs)
        self._ended = 0
        self._running: dict[_Key, tuple[Job, _Running]] = {}
        # The thread of the lines reads while that of the run writes.
        self._lock = threading.Lock()

    def hear(self, job: Job, news: News) -> None:
        """Note the steps that a job has taken, or its phase."""
        with self._lock:
            _, before = self._running.get(_key(job), (job, _Running()))
            if isinstance(news, int):
                after = before._replace(taken=before.taken + news)
            else:
                after = before._replace(phase=news)
            self._running[_key(job)] = (job, after)

    def end(self, job: Job) -> None:
        """Count all steps of a job, which may have taken fewer or more than were expected."""
        with self._lock:
            self._running.pop(_key(job), None)
            self._ended += job.steps

    def count(self, records: Sequence[Record]) -> None:
        """Count replicates that have ended."""
        with self._lock:
            self._tally.add(records)

    @property
    def counts(self) -> str:
        """The counts of replicates, in words."""
        with self._lock:
            return str(self._tally)

    @property
    def taken(self) -> int:
        """The steps of all jobs so far."""
        with self._lock:
            return self._ended + sum(_within(*each) for each in self._running.values())

    def running(self) -> list[Row]:
        """The rows of the running jobs."""
        with self._lock:
            return [
                Row(_cell(job), f"{_seeds(job)}: {state.phase}", _within(job, state), job.steps)
                for job, state in self._running.values()
            ]


def _key(job: Job) -> _Key:
    return job.spec, job.seeds


def _within(job: Job, state: _Running) -> int:
    return min(state.taken, job.steps)


def _cell(job: Job) -> str:
    """The cell of a job, shortened so that its strategy stays."""
    text = f"{job.spec.strategy.spec} on {job.spec.benchmark.spec}"
    return text if len(text) <= LENGTH else f"{text[: LENGTH - 1]}…"


def _seeds(job: Job) -> str:
    first, last = job.seeds[0], job.seeds[-1]
    return f"seed {first}" if first == last else f"seeds {first}-{last}"


class _OnTerminal:
    """A bar for the whole run, and one for each running job."""

    def __init__(self, state: RunState, console: Console) -> None:
        self._state = state
        self._console = console
        self._start = time.monotonic()
        # Drawn four times a second, however often there is news.
        self._live = Live(get_renderable=self._drawn, console=console, transient=True)
        self._live.start()

    def _drawn(self) -> Group:
        table = Table.grid(padding=(0, 1))
        room = max(LEAST, self._console.width - BESIDES)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=room)
        taken = self._state.taken
        seconds = time.monotonic() - self._start
        clock = _clock(seconds)
        if 0 < taken < self._state.steps:
            clock += f", {_clock(seconds * (self._state.steps - taken) / taken)} left"
        _add_bar(table, Row("all cells", clock, taken, self._state.steps))
        running = self._state.running()
        for row in running[:ROWS]:
            _add_bar(table, row)
        if len(running) > ROWS:
            table.add_row(Text(f"{len(running) - ROWS} more"))
        return Group(Text(self._state.counts), table)

    def close(self) -> None:
        """Remove the bars."""
        self._live.stop()


def _add_bar(table: Table, row: Row) -> None:
    # A bar of no steps at all would never be full.
    bar = ProgressBar(total=max(row.steps, 1), completed=row.taken, width=WIDTH)
    table.add_row(Text(row.cell), bar, Text(f"{_percent(row)} %"), Text(row.doing))


def _percent(row: Row) -> int:
    return 100 * row.taken // max(row.steps, 1)


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"


class _InPipe:
    """A line a minute, whether there is news or not."""

    def __init__(self, state: RunState, console: Console) -> None:
        self._state = state
        self._console = console
        self._start = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._print, daemon=True)
        self._thread.start()

    def _print(self) -> None:
        while not self._over.wait(MINUTE):
            running = self._state.running()
            texts = [f"{row.cell}, {row.doing} {_percent(row)} %" for row in running[:ROWS]]
            if len(running) > ROWS:
                texts.append(f"{len(running) - ROWS} more")
            clock = _clock(time.monotonic() - self._start)
            self._console.print("; ".join([f"{clock} {self._state.counts}", *texts]), markup=False)

    def close(self) -> None:
        """Print nothing any more."""
        self._over.set()
        self._thread.join()


@contextmanager
def displayed(state: RunState, console: Console) -> Iterator[None]:
    """Show a run on a console while it lasts."""
    if console.quiet:
        yield
        return
    kind = _OnTerminal if console.is_terminal or console.is_jupyter else _InPipe
    display = kind(state, console)
    try:
        yield
    finally:
        display.close()
