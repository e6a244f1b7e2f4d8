"""The compiled step against the eager one, in a process without run-time type checks, which cannot be compiled."""

import json
import os
import subprocess
import sys

import pytest

EAGER_AND_COMPILED = """
import torch
from pathlib import Path
from retrograde.data import load
from retrograde.registry import Registry
from retrograde.vectorise import Vectorised

class Flags(Registry().find("strategies", "er")):
    def init(self, net, params):
        return {{"on": torch.zeros(())}}
    def step(self, net, state, arrival):
        return net.descend(state, net.grad(state.params, arrival.with_memory), self.lr * (1 + state.extra["on"]))
    def end_task(self, net, state, finished):
        return state.replace(extra={{"on": torch.ones(())}})

parts, seeds = Registry(), [0, 1, 2]
benchmark = parts.get("benchmarks", "{benchmark}", dict({settings}))
strategy = Flags(lr=0.01) if "{strategy}" == "flags" else parts.get("strategies", "{strategy}", {{"lr": "0.01"}})
streams = [benchmark.stream(load("digits", Path()), seed) for seed in seeds]
states = []
for mode in ("off", "on"):
    backend = Vectorised(benchmark, strategy, streams, seeds, torch.device("cpu"))
    backend.warm_up(mode, 0)
    assert backend.compiled == (mode == "on")
    for task in range(3):
        backend.learn(task, lambda _: None)
    states.append(backend.state.params)
print(max(float((states[0][name] - states[1][name]).abs().max()) for name in states[0]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stream", "settings", "strategy"),
    [
        ("split", {"tasks": "3", "batch": "32", "scenario": "task", "optimizer": "momentum"}, "er"),
        ("rotated", {"tasks": "3", "examples": "200", "optimizer": "adam"}, "joint"),
        ("permuted", {"tasks": "3", "examples": "200", "model": "conv"}, "finetune"),
        ("split", {"tasks": "3"}, "flags"),
    ],
)
def test_the_compiled_step_gives_the_numbers_of_the_eager_one(stream, settings, strategy):
    script = EAGER_AND_COMPILED.format(benchmark=stream, settings=settings, strategy=strategy)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 1e-3


CELL = ("--benchmark", "split:epochs=40", "--strategy", "finetune", "--out", "store")


def retrograde(folder, *words, **variables):
    command = [sys.executable, "-m", "retrograde", "run", *CELL, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=os.environ | variables)


def test_without_a_compiler_auto_runs_eagerly_and_says_so(tmp_path):
    run = retrograde(tmp_path, CXX="no-such-compiler")
    assert run.returncode == 0
    assert "not compiled: Compiling needs a C++ compiler" in run.stdout
    record = json.loads(next(tmp_path.rglob("seed-0.json")).read_text())
    assert record["how"]["compiled"] is False
    assert "no-such-compiler" in record["how"]["note"]


def test_without_a_compiler_on_is_refused_before_anything_trains(tmp_path):
    run = retrograde(tmp_path, "--compile", "on", CXX="no-such-compiler")
    assert run.returncode == 2
    assert "Install g++ or set CXX" in run.stderr
    assert not list(tmp_path.rglob("seed-*.json"))


EPISODES = """
import torch
from pathlib import Path
from retrograde.adapting import Episodes
from retrograde.data import load
from retrograde.registry import Registry
from retrograde.settings import parse

parts, seeds, cpu = Registry(), [0, 1], torch.device("cpu")
benchmark, strategy = parts.get("benchmarks", *parse("{benchmark}")), parts.get("strategies", *parse("{strategy}"))
sources = [benchmark.stream(load("digits", Path()), seed) for seed in seeds]
states = []
for mode in ("off", "on"):
    episodes = Episodes(benchmark, strategy, sources, seeds, cpu)
    start = episodes.state.params
    episodes.warm_up(mode)
    assert episodes.compiled == (mode == "on")
    episodes.learn(6, lambda _: None)
    states.append(episodes.state.params)

def furthest(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one)

print(furthest(*states), furthest(start, states[0]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bench", "strategy"),
    [
        ("fewshot:ways=3,tasks=4,iterations=6,model=mlp-16", "maml:lr=0.1"),
        ("fewshot:ways=3,tasks=4,iterations=6,model=conv4-8", "anil:lr=0.1"),
        ("sinusoid:tasks=4,iterations=6,optimizer=sgd,model=mlp-16", "metasgd"),
        ("sinusoid:tasks=4,iterations=6,model=mlp-16", "mamlpp:steps=2,anneal=0.5"),
        ("fewshot:ways=3,tasks=4,iterations=6,model=mlp-16", "reptile:steps=2,meta_lr=0.5"),
    ],
)
def test_the_compiled_meta_step_gives_the_numbers_of_the_eager_one(bench, strategy):
    script = EPISODES.format(benchmark=bench, strategy=strategy)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    apart, moved = map(float, run.stdout.split())
    assert apart < 0.02 * moved
