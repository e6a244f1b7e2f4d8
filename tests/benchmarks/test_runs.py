"""Whole runs.

Processes from start to end, with start-up, data and evaluation. What trains alone is the sum of the records' training clocks.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from retrograde.data import data_folder, load
from retrograde.registry import Registry
from retrograde.store import Store

SEEDS = 5
ER = ["--benchmark", "split:dataset=mnist", "--strategy", "er:lr=0.01", "--seeds", str(SEEDS), "--compile", "on"]
CELLS = [f"er:lr={0.01 * n:g}" for n in range(1, 9)]


def timed(*words):
    """The seconds of a process, and what it printed."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *map(str, words)], check=True, capture_output=True, text=True)
    return time.perf_counter() - start, done.stdout


def run(store, *words):
    """The seconds of a run, and its records."""
    seconds, _ = timed("-m", "retrograde", "run", *words, "--out", store)
    return seconds, list(Store(store))


def trained(records):
    """The training clocks of records; replicates that train together share one."""
    return sum(record.clocks["train"] / record.how["replicates"] for record in records)


@pytest.mark.timeout(900)
def test_replay_and_avalanches(state, tmp_path):
    run(tmp_path / "warm", *ER)
    seconds, records = run(tmp_path / "store", *ER)
    split = Registry().get("benchmarks", "split")
    mnist = load("mnist", data_folder())
    orders = [[int(c) for own in split.stream(mnist, seed).units for c in np.flatnonzero(own)] for seed in range(SEEDS)]
    theirs, told = timed(Path(__file__).with_name("replay_in_avalanche.py"), json.dumps(orders))
    found = json.loads(told.splitlines()[-1])
    assert found["steps"] == [record.counts["steps"] for record in records]
    assert np.mean(found["accuracy"]) == pytest.approx(np.mean([record.R[-1] for record in records]), abs=0.1)
    state("Avalanche's Replay, five seeds", theirs)
    state("er, five seeds", seconds, {"Avalanche's Replay, five seeds": 1 / 5})
    state("Avalanche's Replay, five seeds: training", found["train"])
    state("er, five seeds: training", trained(records), {"Avalanche's Replay, five seeds: training": 1 / 10})


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("length", "setting"), [("short", "examples=6000"), ("long", "epochs=2")])
def test_jobs(state, tmp_path, length, setting):
    suite = tmp_path / "equal.toml"
    benchmark = f"split:dataset=mnist,{setting},probe=0"
    suite.write_text(f'title = "equal"\nseeds = 1\n[[cells]]\nbenchmarks = ["{benchmark}"]\nstrategies = {json.dumps(CELLS)}\n')
    found = {jobs: run(tmp_path / f"jobs-{jobs}", suite, "--compile", "off", "--jobs", jobs) for jobs in (1, 2)}
    one, two = ({r.cell.path: (r.status, r.correct, r.counts) for r in records} for _, records in found.values())
    assert one == two
    assert len(one) == len(CELLS)
    cells = f"eight equal {length} cells, --jobs"
    state(f"{cells} 1", found[1][0])
    state(f"{cells} 2", found[2][0], {f"{cells} 1": 1 / 1.8})


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("compiled", "how"), [("on", "compiled"), ("off", "eager")])
def test_many_replicates(state, tmp_path, compiled, how):
    maml = ["--benchmark", "sinusoid:iterations=3000", "--strategy", "maml", "--jobs", "1", "--compile", compiled]
    for seeds in (1, 5) if compiled == "on" else ():
        run(tmp_path / f"warm-{seeds}", *maml, "--seeds", seeds)
    one, twenty = (run(tmp_path / f"{seeds}", *maml, "--seeds", seeds) for seeds in (1, 20))
    assert len(twenty[1]) == 20
    names = f"run of maml on sinusoid, {how}", f"run of maml on sinusoid, 20 replicates, {how}"
    state(names[0], one[0])
    state(names[1], twenty[0], {names[0]: 6.0})
    state(f"{names[0]}: training", trained(one[1]))
    state(f"{names[1]}: training", trained(twenty[1]), {f"{names[0]}: training": 6.0})


@pytest.mark.timeout(900)
def test_the_quick_suite(state, tmp_path):
    seconds, records = run(tmp_path / "quick", "quick")
    assert {record.status for record in records} == {"done"}
    state(f"suite quick, {len(records)} replicates", seconds)
