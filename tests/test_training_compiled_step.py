"""The compiled step against the eager one, in a process without run-time type checks, which cannot be compiled."""

import json
import os
import subprocess
import sys

import pytest

EAGER_AND_COMPILED = """
import sys, torch
from pathlib import Path
from torch.utils import _pytree as pytree
from retrograde.data.sources import load
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.training.stream_replicas import StreamReplicas

class Flags(Registry().find("strategies", "er")):
    def init(self, net, params):
        nought = torch.zeros(())
        return {"on": nought, "off": nought}
    def step(self, net, state, data):
        rate = self.lr * (1 + state.extra["on"] - state.extra["off"] + net.uniform(3)[0] * net.uniform(2, name="more")[1])
        return net.update(state, net.grad(state.params, data.combined), rate)
    def end_experience(self, net, state, finished):
        return state.replace(extra=state.extra | {"on": torch.ones(())})

def trained(benchmark, strategy, mode):
    streams = [benchmark.stream(data if benchmark.dataset else None, seed) for seed in seeds]
    backend = StreamReplicas(benchmark, strategy, streams, seeds, torch.device("cpu"))
    backend.warm_up(mode)
    assert backend.compiled == (mode == "on")
    for task in range(3):
        backend.learn(task, lambda _: None)
    return pytree.tree_leaves(backend.carried)

parts, data = Registry(), load("digits", Path())
for cell in sys.argv[1:]:
    bench, spec, *count = cell.split()
    seeds = list(range(*map(int, count or ["3"])))
    strategy = Flags(lr=0.01) if spec == "flags" else parts.get("strategies", *parse(spec))
    benchmark = parts.get("benchmarks", *parse(bench))
    states = (trained(benchmark, strategy, mode) for mode in ("off", "on"))
    print(max(float((eager - compiled).abs().max()) for eager, compiled in zip(*states, strict=True)))
"""
"""Trains each cell eagerly and compiled; prints how far the two ends are apart."""
TRACED = """
import torch
compile_ = torch.compile
torch.compile = lambda step, options, **words: compile_(step, backend="aot_eager", **words)
"""
"""Traces the step as for a compiled one, and runs the graph without C++, which takes minutes to compile."""


MODELS = (
    "split:tasks=3,batch_size=32,scenario=task,optimizer=momentum er:lr=0.01",
    "rotated:tasks=3,train_examples=200,optimizer=adam joint:lr=0.01",
    "permuted:tasks=3,train_examples=200,model=conv finetune:lr=0.01",
    "permuted:tasks=3,train_examples=200,model=conv er:lr=0.01 1",
    "waves:tasks=3,batches=5 er:lr=0.01",
    "split:tasks=3 flags",
    "split:tasks=3,model=mlpbn-8,train_examples=60 mir:lr=0.01",
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_compiled_step_gives_the_numbers_of_the_eager_one():
    assert_alike(EAGER_AND_COMPILED, MODELS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cells",
    [
        (
            "split:tasks=3,model=mlp-8 agem:replay_batch=20,lr=0.01",
            "split:tasks=3,model=mlp-8,scenario=class er_ace:lr=0.01",
            "split:tasks=3,model=mlp-8,scenario=class si:lr=0.01",
            "split:tasks=3,model=mlp-8,scenario=task ewc:lr=0.01,fisher=sampled,fisher_examples=50",
            "split:tasks=3,model=mlp-8,scenario=class rwalk:lr=0.01",
        ),
        (
            "split:tasks=3,model=mlp-8,scenario=class gem:buffer_size=30,lr=0.01",
            "split:tasks=3,model=mlp-8,scenario=class icarl:buffer_size=30,lr=0.01",
            "split:tasks=3,model=mlp-8,updates_per_batch=2 lamaml:inner_batch=5,first_order=false,inner_lr=0.02",
            "split:tasks=3,model=mlp-8,train_examples=40 mer:replay_batch=2,batches=2,lr=0.01",
        ),
        (
            "split:tasks=3,model=mlpbn-8,train_examples=60 lamaml:inner_batch=5,first_order=false,inner_lr=0.02",
            "split:tasks=3,model=mlp-8 derpp:buffer_size=30,lr=0.01",
        ),
        (
            "split:tasks=3,model=mlpbn-8,scenario=class,augment=flip,train_examples=60 scr:projection=4,replay_batch=20,temperature=0.5,lr=0.01",
            "split:tasks=3,model=mlp-8,scenario=task,weighting=tasks generative_replay:hidden=8,latent=4,lr=0.01",
        ),
    ],
    ids=["regularised", "constrained", "statistics and kept values", "own modules"],
)
def test_the_traced_step_gives_the_numbers_of_the_eager_one(cells):
    assert_alike(TRACED + EAGER_AND_COMPILED, cells)


def assert_alike(script, cells):
    run = subprocess.run(
        [sys.executable, "-c", script, *cells],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    apart = dict(zip(cells, map(float, run.stdout.split()), strict=True))
    assert not {cell: gap for cell, gap in apart.items() if not gap < 1e-3}


SHARED = """
import sys, torch
from functools import cached_property
from pathlib import Path
from torch.utils import _pytree as pytree
from retrograde.data.sources import load
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.training.stream_replicas import StreamReplicas

class Constant(Registry().find("strategies", "er")):
    def step(self, net, state, data):
        rate = torch.full_like(next(iter(state.params.values())), self.lr).mean()
        return net.update(state, net.grad(state.params, data.combined), rate)

class Doubling(Registry().find("strategies", "er")):
    def init(self, net, params):
        return {"scale": torch.ones(())}
    def step(self, net, state, data):
        scale = state.extra["scale"] * (1 - self.lr)
        after = net.update(state, net.grad(state.params, data.combined), scale / 10)
        return after.replace(extra={"scale": scale})

class Derived(Registry().find("strategies", "er")):
    @cached_property
    def half(self):
        return self.lr / 2
    def step(self, net, state, data):
        return net.update(state, net.grad(state.params, data.combined), self.half)

OWN = {"constant": Constant, "doubling": Doubling, "derived": Derived}
parts, seeds = Registry(), [0, 1]
benchmark = parts.get("benchmarks", "split", {"tasks": "3", "model": "mlp-8"})
streams = [benchmark.stream(load("digits", Path()), seed) for seed in seeds]
compile_, compiled = torch.compile, []
torch.compile = lambda *given, **options: compiled.append(1) or compile_(*given, **options)
for spec in sys.argv[1:]:
    name, given = parse(spec)
    strategy = OWN[name].configured(given) if name in OWN else parts.get("strategies", name, given)
    states = []
    for mode in ("off", "on"):
        backend = StreamReplicas(benchmark, strategy, streams, seeds, torch.device("cpu"))
        backend.warm_up(mode)
        for task in range(3):
            backend.learn(task, lambda _: None)
        states.append(pytree.tree_leaves(backend.state))
    apart = max(float((eager - own).abs().max()) for eager, own in zip(*states, strict=True))
    print(len(compiled), apart)
    compiled.clear()
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "compiled",
    [
        {
            "er:lr=0.01": 1,
            "er:lr=0.05": 0,
            "er:lr=0.05,replay_batch=5": 1,
            "derpp:alpha=0.1,lr=0.02": 1,
            "derpp:alpha=0.9,lr=0.01": 0,
        },
        {
            "lamaml:hyper_lr=0.1,inner_batch=5": 1,
            "lamaml:hyper_lr=0.3,inner_batch=5": 0,
            "lamaml:hyper_lr=0.3,inner_batch=5,clip=0": 1,
        },
        {
            "constant:lr=0.01": 2,
            "constant:lr=0.01,": 0,
            "constant:lr=0.05": 2,
            "doubling:lr=0.01": 2,
            "doubling:lr=0.05": 2,
            "derived:lr=0.01": 1,
            "derived:lr=0.05": 1,
        },
    ],
    ids=["replay", "meta", "own"],
)
def test_cells_that_differ_in_sizes_alone_share_a_graph_that_takes_them(compiled):
    """The cells in turn, each with the number of graphs that it compiles."""
    cells = [cell.rstrip(",") for cell in compiled]
    run = subprocess.run(
        [sys.executable, "-c", SHARED, *cells], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    counted, apart = zip(*(line.split() for line in run.stdout.splitlines()), strict=True)
    assert dict(zip(compiled, map(int, counted), strict=True)) == compiled
    assert max(map(float, apart)) < 1e-3


CELL = ("--benchmark", "split:epochs=40", "--strategy", "finetune", "--out", "store")


def retrograde(folder, *words, **variables):
    worth = "import retrograde.running.autotune as c; c.COMPILING = 0.0, 0; from retrograde.cli import main; main()"
    command = [sys.executable, "-c", worth, "run", *CELL, *words]
    own = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")} | variables
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=own)


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


HALVED = """
from collections import OrderedDict
from torch import nn
from retrograde.models._layers import ChannelsLast, Halving, MeanOverSpace

def net(shape, outputs):
    layers = [ChannelsLast(), Halving(shape[0], 4), nn.ReLU(), Halving(4, 4), nn.ReLU(), MeanOverSpace()]
    named = [(str(number), layer) for number, layer in enumerate(layers)]
    return nn.Sequential(OrderedDict([*named, ("head", nn.Linear(4, outputs))]))
"""
"""The layers of conv4, of which half as many are compiled in half the time."""
EPISODES = """
import sys, torch
from pathlib import Path
from retrograde.training.episode_replicas import EpisodeReplicas
from retrograde.data.sources import load
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse

def trained(benchmark, strategy, mode):
    sources = [benchmark.distribution(load("digits", Path()), seed) for seed in (0, 1)]
    episodes = EpisodeReplicas(benchmark, strategy, sources, [0, 1], torch.device("cpu"))
    start = episodes.state.params
    episodes.warm_up(mode)
    assert episodes.compiled == (mode == "on")
    episodes.learn(5, lambda _: None)
    return start, episodes.state.params

def furthest(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one)

parts, (bench, *strategies) = Registry(), sys.argv[1:]
for each in strategies:
    cell = parts.get("benchmarks", *parse(bench)), parts.get("strategies", *parse(each))
    (start, eager), (_, compiled) = (trained(*cell, mode) for mode in ("off", "on"))
    print(furthest(eager, compiled) / furthest(eager, start))
"""
WAVES = "sinusoid:meta_batch_size=2,iterations=5,shots=4,queries=3,optimizer=sgd,model=mlp-4"
DIGITS = (
    "fewshot:ways=2,meta_batch_size=2,iterations=5,shots=3,queries=3,optimizer=sgd,model=net.py:net"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell",
    [
        (WAVES, "maml", "metasgd", "mamlpp:inner_steps=2,anneal=0.5"),
        (DIGITS, "anil:inner_lr=0.1"),
        (WAVES, "reptile:inner_steps=2"),
    ],
    ids=lambda cell: "-".join(word.partition(":")[0] for word in cell),
)
def test_the_compiled_meta_step_gives_the_numbers_of_the_eager_one(cell, tmp_path):
    (tmp_path / "net.py").write_text(HALVED)
    command = [sys.executable, "-c", EPISODES, *cell]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    apart = [float(line) for line in run.stdout.split()]
    assert len(apart) == len(cell) - 1
    assert max(apart) < 1e-3


LESSONS = """
import sys, torch
from retrograde.contract.toys import Blobs, blobs
from retrograde.training.clocks import Clocks
from retrograde.training.pretraining import pretrain
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.training.stream_replicas import StreamReplicas

def prepared(part, mode):
    benchmark, seeds = Blobs(held=4, model=part.contract_model), [0, 1]
    streams = [benchmark.stream(blobs(held=4), seed) for seed in seeds]
    backend = StreamReplicas(benchmark, part, streams, seeds, torch.device("cpu"))
    start = backend.state.params
    assert pretrain(backend, Clocks(backend.device), mode) is None
    return start, backend.state.params

def furthest(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one if not name.startswith("head"))

for each in sys.argv[1:]:
    part = Registry().get("strategies", *parse(each))
    (start, eager), (_, compiled) = (prepared(part, mode) for mode in ("off", "on"))
    print(furthest(eager, compiled) / furthest(eager, start))
"""


@pytest.mark.slow
def test_a_compiled_preparation_gives_the_numbers_of_the_eager_one():
    cells = ["oml:meta_lr=0.1", "maml_init:meta_lr=0.1,inner_steps=1"]
    run = subprocess.run(
        [sys.executable, "-c", LESSONS, *cells], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    apart = [float(line) for line in run.stdout.split()]
    assert len(apart) == len(cells)
    assert max(apart) < 1e-3


TOGETHER = """
import sys, torch
from pathlib import Path
from torch.utils import _pytree as pytree
from retrograde.data.sources import load
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.training.stream_replicas import StreamReplicas

parts, data = Registry(), load("digits", Path())
benchmark = parts.get("benchmarks", "split", {"tasks": "3", "model": "mlp-8"})

def ready(cell, mode):
    spec, _, replicates = cell.partition("*")
    seeds = list(range(int(replicates)))
    strategy = parts.get("strategies", *parse(spec))
    backend = StreamReplicas(benchmark, strategy, [benchmark.stream(data, seed) for seed in seeds], seeds, torch.device("cpu"))
    backend.warm_up(mode)
    assert backend.compiled == (mode == "on")
    return backend

def apart(eager, compiled):
    leaves = zip(pytree.tree_leaves(eager.state), pytree.tree_leaves(compiled.state), strict=True)
    return max(float((one - other).abs().max()) for one, other in leaves)

pairs = [(ready(cell, "off"), ready(cell, "on")) for cell in sys.argv[1:]]
for task in range(3):
    for backend in (each for pair in pairs for each in pair):
        backend.learn(task, lambda _: None)
print(*[apart(*pair) for pair in pairs])
"""
"""Trains eager and compiled backends in turns; prints how far each compiled one ends from its eager twin."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "cells",
    [
        ("er:lr=0.01*5", "er:lr=0.01*1"),
        (
            "lamaml:inner_batch=5,clip=2*2",
            "lamaml:inner_batch=5,clip=0.5*2",
            "lamaml:inner_batch=5,clip=0*2",
        ),
        ("er:lr=0.05*2", "derpp:lr=0.05*2", "er:lr=0.2*2"),
    ],
    ids=["shapes", "settings", "strategies"],
)
def test_compiled_backends_that_take_turns_each_give_the_numbers_of_their_eager_twin(cells):
    run = subprocess.run(
        [sys.executable, "-c", TOGETHER, *cells], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    apart = [float(word) for word in run.stdout.split()]
    assert len(apart) == len(cells)
    assert max(apart) < 1e-3
