"""A grid of many cells, beside training.

Planning, skipping what is done, and reporting, with the most memory that the process had. The environment variable GRID has the
number of cells. They are of the bundled digits and a strategy of which a number is tuned; planning is real and checks them as
any run does, records are simulated and lie where a run would have put them. Of cells that differ in the size of a number alone
the outermost are checked in full; what others cost is measured beside.
"""

import os
import random
import time
from dataclasses import replace

import pytest

from retrograde.machine import peak_bytes, reset_peak
from retrograde.parts.registry import Registry
from retrograde.records.store import Store
from retrograde.running.cell import CPU
from retrograde.running.plan import Context, plan

CELLS = int(os.environ.get("GRID", "100000"))
BENCHMARKS = 50
"""How many streams the cells are spread over; the tables compare all strategies on one stream with each other."""
ALONE = 200
"""Cells that share no check."""


@pytest.fixture
def staged(state):
    """Do the work of a stage, and state what it took, and the most memory that the process had."""

    def staged(name, work):
        reset_peak(CPU)
        start = time.perf_counter()
        found = work()
        state(f"{name} ({peak_bytes(CPU) / 2**30:.2f} GiB)", time.perf_counter() - start)
        return found

    return staged


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("grid") / "store")


def grid(folder):
    """Every rate on every stream."""
    rates = [f"er:lr={0.01 + n / CELLS:.6f}" for n in range(CELLS // BENCHMARKS)]
    requests = [
        (f"split:tasks=5,train_examples={20 + n}", rate)
        for n in range(BENCHMARKS)
        for rate in rates
    ]
    return plan(requests, 1, Registry(), Context(), Store(folder))


@pytest.mark.timeout(1800)
def test_planning_storing_and_skipping(staged, store, make_record):
    Registry().get("strategies", "er")
    jobs = staged(f"plan {CELLS:,} cells", lambda: grid(store.folder))
    assert len(jobs) == CELLS
    assert all(job.missing == (0,) for job in jobs)
    draw = random.Random(0)
    rows = [[[draw.randint(0, 72) for _ in range(5)] for _ in range(6)] for _ in range(100)]
    pattern = make_record(correct=rows[0], of=72)

    def write():
        for job, correct in zip(jobs, rows * -(-CELLS // len(rows)), strict=False):
            path = store.path(job.spec, 0)
            path.parent.mkdir(parents=True)
            record = replace(pattern, cell=job.spec, sources=job.sources)
            path.write_text(
                replace(record, correct=correct, correct_given_task=correct).to_json(),
                encoding="utf-8",
            )

    staged(f"simulate {CELLS:,} records", write)
    again = staged(f"skip {CELLS:,} cells that are done", lambda: grid(store.folder))
    assert all(job.missing == () for job in again)


@pytest.mark.timeout(600)
def test_storing(staged, make_record, tmp_path):
    records = [make_record("er", seed) for seed in range(min(CELLS, 1000))]
    held = Store(tmp_path / "store")
    staged(
        f"store {len(records):,} records so that they outlive a crash",
        lambda: [held.write(record) for record in records],
    )
    assert len(list(held)) == len(records)


@pytest.mark.timeout(600)
def test_cells_that_share_no_check(staged, tmp_path):
    requests = [("split:tasks=5", f"er:buffer_size={20 + n}") for n in range(ALONE)]
    jobs = staged(
        f"plan {ALONE} cells that share no check",
        lambda: plan(requests, 1, Registry(), Context(), Store(tmp_path)),
    )
    assert len(jobs) == ALONE


@pytest.mark.timeout(3600)
def test_reporting(measure_command, store):
    measure_command(f"report {CELLS:,} cells", "report", store.folder, "--format", "csv")
    assert (store.folder / "tables" / "scores.csv").read_text(encoding="utf-8").count("\n") > CELLS
