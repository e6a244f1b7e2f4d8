"""Benchmarks state figures, and figures others that they are to be read against; all of them end in one table of ratios."""

import datetime
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pandas as pd
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from retrograde.process import keep_memory
from retrograde.records.environment import environment
from retrograde.reporting.formats import csv, markdown
from retrograde.reporting.table import Entry, Section, Table

os.environ["OMP_NUM_THREADS"] = "1"  # of processes that benchmarks start
PRODUCTS = {
    getattr(torch.ops.aten, name)
    for name in ("mm", "addmm", "bmm", "baddbmm", "convolution", "convolution_backward")
}
COLUMNS = ("what", "time", "reference", "its time", "ratio", "wanted")


class Figure(NamedTuple):
    """What one thing took, and which figures it is to be read against, each with the ratio to it that is wanted, if any."""

    section: tuple[str, str]  # its heading, and what is to be known of it
    seconds: float
    against: Mapping[str, float | None]


FIGURES = pytest.StashKey[dict[str, Figure]]()
STEADY = pytest.StashKey[list[float]]()


def pytest_addoption(parser):
    parser.addoption(
        "--speed-table", metavar="FOLDER", type=Path, help="write the table of benchmarks there too"
    )
    parser.addoption(
        "--most-rounds", metavar="N", type=int, default=100, help="rounds of a benchmark, at most"
    )


def pytest_configure(config):
    config.stash[FIGURES], config.stash[STEADY] = {}, []


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Every side of a comparison has one thread, and keeps the memory that it frees."""
    keep_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def steady(request):
    """Time the same work after every benchmark, for the table to say how steady the machine was."""
    square = torch.rand(512, 512)
    yield
    request.config.stash[STEADY].append(
        _seconds(lambda: (sum(range(1_000_000)), [square @ square for _ in range(10)]))
    )


@pytest.fixture
def state(request):
    """State what something took, in seconds, and the figures by name to read it against, with the wanted ratio to each."""

    def state(what, seconds, against=()):
        heading, _, about = request.module.__doc__.partition("\n")
        section = heading.rstrip("."), " ".join(about.split())
        request.config.stash[FIGURES][what] = Figure(section, seconds, dict(against))

    return state


@pytest.fixture
def most_rounds(request):
    """The rounds of a benchmark, at most."""
    return request.config.getoption("--most-rounds")


@pytest.fixture
def measure(benchmark, state, most_rounds):
    """Time work that does a number of things, and state what one of them took in the median round."""

    def measure(what, work, against=(), *, things=1, setup=None, rounds=5, warmup_rounds=1):
        benchmark.pedantic(
            work, setup=setup, rounds=min(rounds, most_rounds), warmup_rounds=warmup_rounds
        )
        state(what, benchmark.stats.stats.median / things, against)

    return measure


@pytest.fixture
def take_turns(state, most_rounds):
    """Time the sides of a comparison in turns, round by round, so that a busy moment of the machine meets all of them."""

    def take_turns(sides, rounds):
        taken = {what: [] for what in sides}
        for _ in range(1 + min(rounds, most_rounds)):
            for what, side in sides.items():
                given = side.start()
                taken[what].append(_seconds(lambda: side.work(given)))  # noqa: B023
        for what, side in sides.items():
            state(what, median(taken[what][1:]) / side.things, dict.fromkeys(side.against))

    return take_turns


@pytest.fixture
def measure_command(state):
    """Run a command of ours, and state what it took, start-up included, and the most memory that it had."""

    def measure_command(what, *words):
        start = time.perf_counter()
        command = [sys.executable, "-c", _WATCH, sys.executable, "-m", "retrograde", *words]
        kilobytes = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        state(f"{what} ({kilobytes / 2**20:.2f} GiB)", time.perf_counter() - start)

    return measure_command


_WATCH = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""Runs a command and prints the most memory that it had, in kB; a large process would be told its own."""


@pytest.fixture
def floor(state, floors, flops):
    """State both floors of plain work that does a number of things, for one of them, and return their names."""

    def floor(name, work, things=1):
        with FlopCounterMode(display=False) as counted, Products() as products:
            work()
        at_best, alone = floors(name)
        state(at_best, counted.get_total_flops() / flops / things)
        state(alone, min(_seconds(products.again) for _ in range(10)) / things)
        return dict.fromkeys(floors(name))

    return floor


@pytest.fixture(scope="session")
def floors():
    """The floors of a name, and the ratio to them that is wanted.

    Large products are as fast as the machine multiplies; those of a small model are slower, whoever calls them.
    """
    return lambda name: dict.fromkeys(
        (f"{name}: FLOPs at the rate of large products", f"{name}: its products alone"), 2.0
    )


@pytest.fixture(scope="session")
def flops():
    """Floating-point operations in a second, in the best of large square matrix products."""
    squares = [torch.rand(size, size) for size in (512, 1024, 2048)]
    return max(
        2 * len(square) ** 3 / min(_seconds(lambda a=square: a @ a) for _ in range(10))
        for square in squares
    )


class Products(TorchDispatchMode):
    """Matrix products and convolutions as they are called, on one operand of each shape: what is used again is in the cache."""

    def __init__(self):
        super().__init__()
        self.calls, self.operands = [], {}

    def __torch_dispatch__(self, call, types, args=(), kwargs=None):
        if call.overloadpacket in PRODUCTS:
            self.calls.append((call, [self._operand(arg) for arg in args]))
        return call(*args, **(kwargs or {}))

    def _operand(self, arg):
        if not isinstance(arg, torch.Tensor):
            return arg
        return self.operands.setdefault((arg.shape, arg.stride()), arg.detach().clone())

    def again(self):
        for call, args in self.calls:
            call(*args)


def _seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def pytest_terminal_summary(terminalreporter, config):
    if figures := config.stash[FIGURES]:
        table = _table(figures, config.stash[STEADY])
        terminalreporter.write(f"\n{markdown(table)}")
        if folder := config.getoption("--speed-table", None):
            folder.mkdir(parents=True, exist_ok=True)
            for ending, form in (("md", markdown), ("csv", csv)):
                (folder / f"speed.{ending}").write_text(form(table), encoding="utf-8")


def _table(figures, steady):
    """A row for each figure and other figure that it is read against; those that only others are read against have none."""
    used = {name for figure in figures.values() for name in figure.against}
    rows = [
        (
            figure.section[0],
            what,
            figure.seconds,
            name,
            figures[name].seconds if name in figures else float("nan"),
            wanted,
        )
        for what, figure in figures.items()
        for name, wanted in (figure.against or ({} if what in used else {"": None})).items()
        if name != what
    ]
    tidy = pd.DataFrame(
        rows, columns=["section", "what", "seconds", "reference", "reference_seconds", "wanted"]
    )
    tidy.insert(5, "ratio", tidy.seconds / tidy.reference_seconds)
    sections = [
        Section(name, COLUMNS, tuple(_entries(row) for row in part.itertuples()))
        for name, part in tidy.groupby("section")
    ]
    about = (
        ": ".join(section) for section in sorted({figure.section for figure in figures.values()})
    )
    return Table(
        "Speed", (_machine(), _steadiness(steady), _NOTE, _FLOORS, *about), tuple(sections), tidy
    )


_NOTE = (
    "Each ratio is of two times of one run, on one machine: under 1, and we are faster. Every process had one thread. Within a "
    "process a time is the median over rounds after a warm-up, without start-up and compilation; of whole processes it is "
    "everything, by the wall, with a warm compile cache. Rows of ours say whether the step was compiled or eager, which short "
    "runs are, and how many replicates were trained together; of several a time is each one's share. Avalanche is timed on "
    "tensors in memory, the best case of its users, and on its own SplitMNIST as it comes, which converts and normalises "
    "examples one by one when they are used."
)
_FLOORS = (
    "Floors are of a plain loop of the same algorithm. Its FLOPs, counted by torch, at the rate of large products: over the "
    "best rate of square float32 products, measured in the same run; what the machine could do. Its products alone: the same "
    "products, of the same shapes, with nothing around them and their operands in the cache; what it can do for batches as "
    "small as these, called one by one."
)


def _machine():
    told = ("cores", "system", "python", "torch", "numpy", "commit")
    found = environment(torch.device("cpu"))
    today = datetime.datetime.now(tz=datetime.timezone.utc).date()
    return f"{found['cpu']}, {', '.join(f'{name} {found[name]}' for name in told)}, {today}."


def _steadiness(seconds):
    return (
        f"The same work, done after each benchmark, took from {_time(min(seconds))} to {_time(max(seconds))}, in the median "
        f"{_time(median(seconds))}: so steady was the machine, and no ratio is surer."
    )


def _entries(row):
    told = row.reference and pd.notna(row.ratio)
    ratio = _ratio(row.ratio) if told else "–"
    met = (
        f" {'met' if row.ratio <= row.wanted else 'missed'}"
        if told and pd.notna(row.wanted)
        else ""
    )
    wanted = f"≤ {_ratio(row.wanted)}{met}" if pd.notna(row.wanted) else ""
    theirs = _time(row.reference_seconds) if told else "–"
    return tuple(
        map(Entry, (row.what, _time(row.seconds), row.reference or "–", theirs, ratio, wanted))
    )


def _ratio(value):
    return f"{value:.2f} (1/{1 / value:.3g})" if value < 1 else f"{value:.3g}"


def _time(seconds):
    scale, unit = next(
        (s, u) for s, u in ((1, "s"), (1e3, "ms"), (1e6, "µs")) if seconds * s >= 1 or u == "µs"
    )
    return f"{seconds * scale:.3g} {unit}"
