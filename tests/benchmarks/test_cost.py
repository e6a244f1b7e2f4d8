"""What a step of each baseline costs, over one of fine-tuning that trains on as many examples (MLP 784-100-100-10, MNIST).

Run with `tox run -e bench` (needs MNIST in RETROGRADE_DATA or the cache folder). Five replicates, one thread, compiled; timed
are the steps of a task and its end, after another task, so that penalties, projections and memories are at work. Every step
takes 20 examples, new or replayed. The figure to read is the ratio, printed at the end.
"""

import time

import pytest
import torch

from retrograde.data import data_folder, load
from retrograde.registry import Registry
from retrograde.settings import parse
from retrograde.vectorise import Vectorised

THREADS, ROUNDS, SEEDS = 1, 3, [0, 1, 2, 3, 4]
STEPS: dict[str, float] = {}  # ms per step, the median over rounds
CELLS = {
    "finetune": 20, "ewc": 20, "ewc:fisher=sampled": 20, "online_ewc": 20, "si": 20,
    "er:draw=10": 10, "agem:draw=10": 10, "der:draw=10": 10, "derpp:draw=5": 10,
}  # fmt: skip
"""Strategies, and how many arrivals a step of theirs has."""


@pytest.fixture(scope="module", autouse=True)
def ratios():
    yield
    for name, ms in STEPS.items():
        print(f"\n{name}: {ms:.3f} ms/step, {ms / STEPS['finetune']:.2f} times fine-tuning's")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CELLS)
def test_a_step(benchmark, name):
    parts = Registry()
    split = parts.get("benchmarks", "split", {"dataset": "mnist", "batch": str(CELLS[name])})
    streams = [split.stream(load("mnist", data_folder()), seed) for seed in SEEDS]
    backend, times = Vectorised(split, parts.get("strategies", *parse(name)), streams, SEEDS, torch.device("cpu")), []
    backend.warm_up("on", 0)
    backend.learn(0, lambda _: None)

    def learn(number):
        start = time.perf_counter()
        used = backend.learn(number, lambda _: None)
        times.append(1e3 * (time.perf_counter() - start) / used.steps.max())

    benchmark.pedantic(learn, setup=lambda: ((len(times) + 1,), {}), rounds=ROUNDS)
    STEPS[name] = benchmark.extra_info["ms_per_step"] = sorted(times)[ROUNDS // 2]
