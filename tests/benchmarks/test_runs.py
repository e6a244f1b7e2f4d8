"""Whole runs.

Processes from start to end, with start-up, data and evaluation. Training and evaluation alone are
by the clocks of the process, summed over seeds. Replay goes along all of split MNIST, one pass, MLP
784-100-100-10, and is evaluated on 10,000 examples before the first task and after each task. Of
peers the replicates train one after the other in one process. The plain loops share one evaluation,
which stands beside ours once.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from labels import FILES, TENSORS, avalanches, way
from plain_replay import UPDATES
from replay_in_avalanche import order

from retrograde.data.sources import data_folder, load
from retrograde.data.torchvision import import_torchvision
from retrograde.parts.registry import Registry
from retrograde.records.store import Store

ER = ["--benchmark", "split:dataset=mnist", "--strategy", "er:lr=0.01"]
SEEDS = {1: "one seed", 5: "five seeds"}
AVALANCHES = {avalanches("replay", source): source for source in (TENSORS, FILES)}
PEERS = {name: ("plain_replay.py", name) for name in UPDATES}
PEERS |= {name: ("replay_in_avalanche.py", source) for name, source in AVALANCHES.items()}
COMPARED = {"process": [*PEERS], "train": [*PEERS], "evaluate": ["plain loop", *AVALANCHES]}
"""The peers that each clock is read against."""
ENDINGS = {"process": "", "train": ": training", "evaluate": ": six evaluations"}
CELLS = [f"er:lr={0.01 * n:g}" for n in range(1, 9)]


def timed(*words):
    """The seconds of a process, and what it printed."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *map(str, words)], check=True, capture_output=True, text=True
    )
    return time.perf_counter() - start, done.stdout


def run(store, *words):
    """The seconds of a run, and its records."""
    seconds, _ = timed("-m", "retrograde", "run", *words, "--out", store)
    return seconds, list(Store(store))


def clocked(records, name="train"):
    """The seconds on a clock of records; replicates that train together share one."""
    return sum(record.clocks[name] / record.how["replicates"] for record in records)


def run_of_a_peer(name, orders):
    """The seconds by clock, the steps of each replicate, and the mean accuracy in the end."""
    script, side = PEERS[name]
    process, told = timed(Path(__file__).with_name(script), side, json.dumps(orders))
    found = json.loads(told.splitlines()[-1])
    clocks = {part: sum(found[part]) for part in ("train", "evaluate")}
    return {"process": process, **clocks}, found["steps"], np.mean(found["accuracy"])


def run_of_ours(folder, compiled, seeds):
    """The seconds by clock, the steps of each replicate, and the mean accuracy in the end."""
    words = [*ER, "--seeds", seeds, "--compile", "on" if compiled else "off"]
    if compiled:
        run(folder / "warm", *words)
    process, records = run(folder / "store", *words)
    assert {(record.how["compiled"], record.how["replicates"]) for record in records} == {
        (compiled, seeds)
    }
    clocks = {part: clocked(records, part) for part in ("train", "evaluate")}
    steps = [record.counts["steps"] for record in records]
    return {"process": process, **clocks}, steps, np.mean([record.R[-1] for record in records])


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seeds", SEEDS)
def test_replay(state, tmp_path, seeds):
    import_torchvision()
    pytest.importorskip("avalanche")
    split, mnist = Registry().get("benchmarks", "split"), load("mnist", data_folder())
    orders = [order(split.stream(mnist, seed)) for seed in range(seeds)]
    sides = {name: run_of_a_peer(name, orders) for name in PEERS}
    ours = {
        way(compiled, seeds): run_of_ours(tmp_path / str(compiled), compiled, seeds)
        for compiled in (True, False)
    }
    steps, accuracy = next(iter(ours.values()))[1:]
    for _, own_steps, own_accuracy in (sides | ours).values():
        assert own_steps == steps
        assert own_accuracy == pytest.approx(accuracy, abs=0.1)
    for part, ending in ENDINGS.items():
        for name in COMPARED[part]:
            clocks, *_ = sides[name]
            state(f"{name}, {SEEDS[seeds]}{ending}", clocks[part])
        against = dict.fromkeys(f"{name}, {SEEDS[seeds]}{ending}" for name in COMPARED[part])
        for name, (clocks, *_) in ours.items():
            state(f"er, {SEEDS[seeds]}, {name}{ending}", clocks[part], against)


@pytest.mark.timeout(900)
def test_jobs(state, tmp_path):
    suite = tmp_path / "equal.toml"
    benchmark = "split:dataset=mnist,train_examples=6000,probe_examples=0"
    suite.write_text(
        f'title = "equal"\nseeds = 1\n[[cells]]\nbenchmarks = ["{benchmark}"]\nstrategies = {json.dumps(CELLS)}\n'
    )
    found = {
        jobs: run(tmp_path / f"jobs-{jobs}", suite, "--compile", "off", "--jobs", jobs)
        for jobs in (1, 2)
    }
    one, two = (
        {r.cell.path: (r.status, r.correct, r.counts) for r in records}
        for _, records in found.values()
    )
    assert one == two
    assert len(one) == len(CELLS)
    cells = f"eight equal cells, {way(False, 1)}, --jobs"
    state(f"{cells} 1", found[1][0])
    state(f"{cells} 2", found[2][0], {f"{cells} 1": 1 / 1.8})


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("compiled", "iterations"), [(True, 3000), (False, 1000)], ids=["compiled", "eager"]
)
def test_many_replicates(state, tmp_path, compiled, iterations):
    """Of twenty seeds five train together."""
    maml = ["--benchmark", f"sinusoid:iterations={iterations}", "--strategy", "maml", "--jobs", "1"]
    maml += ["--compile", "on" if compiled else "off"]
    for seeds in (1, 5) if compiled else ():
        run(tmp_path / f"warm-{seeds}", *maml, "--seeds", seeds)
    one, twenty = (run(tmp_path / f"{seeds}", *maml, "--seeds", seeds) for seeds in (1, 20))
    assert {record.how["replicates"] for record in twenty[1]} == {5}
    assert len(twenty[1]) == 20
    run_of = f"{iterations} meta-steps of maml on sinusoid"
    names = f"{run_of}, one seed, {way(compiled, 1)}", f"{run_of}, 20 seeds, {way(compiled, 5)}"
    state(names[0], one[0])
    state(names[1], twenty[0], {names[0]: 6.0})
    state(f"{names[0]}: training", clocked(one[1]))
    state(f"{names[1]}: training", clocked(twenty[1]), {f"{names[0]}: training": 6.0})


@pytest.mark.timeout(900)
def test_the_quick_suite(state, tmp_path):
    seconds, records = run(tmp_path / "quick", "quick")
    assert {record.status for record in records} == {"done"}
    compiled = sum(record.how["compiled"] for record in records)
    state(
        f"suite quick, {len(records)} replicates, {compiled} of them compiled, up to 5 together",
        seconds,
    )
