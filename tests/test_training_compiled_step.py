"""Compiled steps: their numbers, which cells share a library, and the libraries in the user's cache."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace

import pytest
import torch
from torch.utils import _pytree as pytree

import retrograde as rg
from retrograde.contract.toys import Blobs, blobs
from retrograde.data.sources import data_folder, load
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.running.cell import CPU
from retrograde.training import compiled_step
from retrograde.training.clocks import Clocks
from retrograde.training.compiled_step import (
    _digest,
    _library,
    _loaded,
    compile_step,
    step_constants,
)
from retrograde.training.episode_replicas import EpisodeReplicas
from retrograde.training.pretraining import pretrain
from retrograde.training.stream_replicas import StreamReplicas
from retrograde.training.traced_step import trace

PARTS = Registry()


@dataclass(frozen=True, kw_only=True)
class Switched(PARTS.find("strategies", "er")):
    """Replay with random rates, which a tensor of the state switches between."""

    def init(self, net, params):
        nought = torch.zeros(())
        return {"on": nought, "off": nought}

    def step(self, net, state, data):
        drawn = net.uniform(3)[0] * net.uniform(2, name="more")[1]
        rate = self.lr * (1 + state.extra["on"] - state.extra["off"] + drawn)
        return net.update(state, net.grad(state.params, data.combined), rate)

    def end_experience(self, net, state, finished):
        return state.replace(extra=state.extra | {"on": torch.ones(())})


@dataclass(frozen=True, kw_only=True)
class Constant(PARTS.find("strategies", "er")):
    """Replay that makes a number of its rate."""

    def step(self, net, state, data):
        rate = torch.full_like(next(iter(state.params.values())), self.lr).mean()
        return net.update(state, net.grad(state.params, data.combined), rate)


@dataclass(frozen=True, kw_only=True)
class Doubling(PARTS.find("strategies", "er")):
    """Replay with a state that becomes a double if the rate is a tensor of doubles."""

    def init(self, net, params):
        return {"scale": torch.ones(())}

    def step(self, net, state, data):
        scale = state.extra["scale"] * (1 - self.lr)
        after = net.update(state, net.grad(state.params, data.combined), scale / 10)
        return after.replace(extra={"scale": scale})


@dataclass(frozen=True, kw_only=True)
class Derived(PARTS.find("strategies", "er")):
    """Replay with a rate that it computes once."""

    @cached_property
    def half(self):
        return self.lr / 2

    def step(self, net, state, data):
        return net.update(state, net.grad(state.params, data.combined), self.half)


@dataclass(frozen=True, kw_only=True)
class Averages(PARTS.find("strategies", "er")):
    """Replay with two averages of its steps, which change their places in the state."""

    def init(self, net, params):
        return {"slow": torch.zeros(()), "fast": torch.zeros(())}

    def step(self, net, state, data):
        slow, fast = (state.extra[pace] for pace in ("slow", "fast"))
        after = super().step(net, state, data)
        return after.replace(extra={"fast": fast / 2 + 1, "slow": slow / 9 + STRENGTH})


STRENGTH = 1.0

OWN = {
    "switched": Switched,
    "constant": Constant,
    "doubling": Doubling,
    "derived": Derived,
    "averages": Averages,
}


def replicas(cell, seeds=(0, 1)):
    """Replicates of a cell, written as its benchmark and its strategy."""
    bench, spec = cell.split()
    benchmark = PARTS.get("benchmarks", *parse(bench))
    name, given = parse(spec)
    strategy = OWN[name].configured(given) if name in OWN else PARTS.get("strategies", name, given)
    data = load(benchmark.dataset, data_folder()) if benchmark.dataset else None
    streams = [benchmark.stream(data, seed) for seed in seeds]
    return StreamReplicas(benchmark, strategy, streams, list(seeds), CPU)


def ready(cell, mode, seeds=(0, 1)):
    backend = replicas(cell, seeds)
    backend.warm_up(mode)
    assert backend.compiled == (mode == "on")
    return backend


def apart(one, other):
    """The largest difference between two states."""
    pairs = zip(pytree.tree_leaves(one), pytree.tree_leaves(other), strict=True)
    return max(float((left - right).abs().max()) for left, right in pairs)


def assert_equals_eager(cell, seeds=(0, 1)):
    backends = [ready(cell, mode, seeds) for mode in ("off", "on")]
    for backend in backends:
        for task in range(3):
            backend.learn(task, lambda _: None)
    eager, compiled = backends
    assert apart(eager.carried, compiled.carried) < 1e-3


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("cell", "seeds"),
    [
        ("split:tasks=3,batch_size=32,scenario=task,optimizer=momentum er:lr=0.01", (0, 1, 2)),
        ("permuted:tasks=3,train_examples=200,model=conv er:lr=0.01", (0,)),
        ("split:tasks=3,model=mlpbn-8,train_examples=60 mir:lr=0.01", (0, 1)),
        ("split:tasks=3 switched:lr=0.01", (0, 1)),
    ],
    ids=["momentum", "convolutions", "statistics", "own"],
)
def test_a_compiled_step_gives_the_numbers_of_the_eager_one(cell, seeds):
    assert_equals_eager(cell, seeds)


CELLS = [
    "rotated:tasks=3,train_examples=200,optimizer=adam joint:lr=0.01",
    "permuted:tasks=3,train_examples=200,model=conv finetune:lr=0.01",
    "waves:tasks=3,batches=5 er:lr=0.01",
    "split:tasks=3,model=mlp-8 agem:replay_batch=20,lr=0.01",
    "split:tasks=3,model=mlp-8,scenario=class er_ace:lr=0.01",
    "split:tasks=3,model=mlp-8,scenario=class si:lr=0.01",
    "split:tasks=3,model=mlp-8,scenario=task ewc:lr=0.01,fisher=sampled,fisher_examples=50",
    "split:tasks=3,model=mlp-8,scenario=class rwalk:lr=0.01",
    "split:tasks=3,model=mlp-8,scenario=class gem:buffer_size=30,lr=0.01",
    "split:tasks=3,model=mlp-8,scenario=class icarl:buffer_size=30,lr=0.01",
    "split:tasks=3,model=mlp-8,updates_per_batch=2 lamaml:inner_batch=5,first_order=false,inner_lr=0.02",
    "split:tasks=3,model=mlp-8,train_examples=40 mer:replay_batch=2,batches=2,lr=0.01",
    "split:tasks=3,model=mlpbn-8,train_examples=60 lamaml:inner_batch=5,first_order=false,inner_lr=0.02",
    "split:tasks=3,model=mlp-8 derpp:buffer_size=30,lr=0.01",
    "split:tasks=3,model=mlpbn-8,scenario=class,augment=flip,train_examples=60 scr:projection=4,replay_batch=20,temperature=0.5,lr=0.01",
    "split:tasks=3,model=mlp-8,scenario=task,weighting=tasks generative_replay:hidden=8,latent=4,lr=0.01",
]


@pytest.mark.parametrize("cell", CELLS)
def test_the_trace_that_is_compiled_gives_the_numbers_of_the_eager_step(cell, traces_alone):
    assert_equals_eager(cell)
    # It takes the sizes as tensors.
    _, strategy = cell.split()
    sizes = PARTS.get("strategies", *parse(strategy)).continuous_settings()
    assert {name for found in traces_alone for name in found.taken[0]} == set(sizes)


def test_a_step_that_is_compiled_may_return_its_state_in_another_order(traces_alone):
    assert_equals_eager("split:tasks=3,model=mlp-8 averages:lr=0.01")
    assert list(traces_alone[0].taken[0]) == ["lr"]


def test_a_value_that_a_step_uses_makes_another_trace(monkeypatch):
    backend = replicas("split:tasks=3,model=mlp-8 averages")
    before = step_constants(backend)
    assert step_constants(backend) == before
    monkeypatch.setattr(sys.modules[__name__], "STRENGTH", 2.0)
    assert step_constants(backend) != before


def test_compiled_backends_that_take_turns_each_give_the_numbers_of_their_eager_twin(traces_alone):
    cells = ["lamaml:inner_batch=5,clip=2", "lamaml:inner_batch=5,clip=0", "er:lr=0.05", "derpp"]
    cells = [f"split:tasks=3,model=mlp-8 {cell}" for cell in cells]
    pairs = [[ready(cell, mode) for mode in ("off", "on")] for cell in [*cells, cells[2]]]
    pairs.append([ready(cells[2], mode, seeds=(3,)) for mode in ("off", "on")])
    for task in range(3):
        for backend in (each for pair in pairs for each in pair):
            backend.learn(task, lambda _: None)
    assert max(apart(eager.state, compiled.state) for eager, compiled in pairs) < 1e-3


@pytest.mark.parametrize(
    "new",
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
            "constant:lr=0.01": 1,
            "constant:lr=0.01,": 0,
            "constant:lr=0.05": 1,
            "doubling:lr=0.01": 1,
            "doubling:lr=0.05": 1,
            "derived:lr=0.01": 1,
            "derived:lr=0.05": 1,
        },
    ],
    ids=["replay", "meta", "own"],
)
def test_cells_that_differ_in_sizes_alone_share_a_library_that_takes_them(new, monkeypatch):
    """The cells in turn, each with the number of libraries that it needs."""
    known = set()

    def library(found, tensors, device):
        known.add(_digest(found, tensors, device))
        return lambda given: found.module.forward(*given)

    monkeypatch.setattr(compiled_step, "_library", library)
    counted = {}
    for cell in new:
        before = len(known)
        assert_equals_eager(f"split:tasks=3,model=mlp-8 {cell.rstrip(',')}")
        counted[cell] = len(known) - before
    assert counted == new


def meta_learned(benchmark, strategy, mode):
    data = load(benchmark.dataset, data_folder()) if benchmark.dataset else None
    sources = [benchmark.distribution(data, seed) for seed in (0, 1)]
    episodes = EpisodeReplicas(benchmark, strategy, sources, [0, 1], CPU)
    start = episodes.state.params
    episodes.warm_up(mode)
    assert episodes.compiled == (mode == "on")
    episodes.learn(5, lambda _: None)
    return start, episodes.state.params


def assert_learns_alike(train):
    """That the ends of two trainings are much nearer to each other than to the start."""
    (start, eager), (_, compiled) = (train(mode) for mode in ("off", "on"))
    moved = {name for name in start if not name.startswith("head")}
    ways = [{name: params[name] for name in moved} for params in (start, eager, compiled)]
    assert apart(ways[1], ways[2]) < 1e-3 * apart(ways[1], ways[0])


def assert_meta_step_equals_eager(bench, spec):
    benchmark = PARTS.get("benchmarks", *parse(bench))
    strategy = PARTS.get("strategies", *parse(spec))
    assert_learns_alike(lambda mode: meta_learned(benchmark, strategy, mode))


WAVES = "sinusoid:meta_batch_size=2,iterations=5,shots=4,queries=3,optimizer=sgd,model=mlp-4"
DIGITS = (
    "fewshot:ways=2,meta_batch_size=2,iterations=5,shots=3,queries=3,optimizer=sgd,model=conv4-4"
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_compiled_meta_step_gives_the_numbers_of_the_eager_one():
    assert_meta_step_equals_eager(WAVES, "maml")


@pytest.mark.parametrize(
    ("bench", "strategy"),
    [
        (WAVES, "metasgd"),
        (WAVES, "mamlpp:inner_steps=2,anneal=0.5"),
        (WAVES, "reptile:inner_steps=2"),
        (DIGITS, "anil:inner_lr=0.1"),
    ],
)
def test_the_trace_of_a_meta_step_gives_the_numbers_of_the_eager_one(bench, strategy, traces_alone):
    assert_meta_step_equals_eager(bench, strategy)


@pytest.mark.parametrize("strategy", ["oml:meta_lr=0.1", "maml_init:meta_lr=0.1,inner_steps=1"])
def test_a_compiled_pretraining_gives_the_numbers_of_the_eager_one(strategy, traces_alone):
    part = PARTS.get("strategies", *parse(strategy))

    def train(mode):
        benchmark, seeds = Blobs(held=4, model=part.contract_model), [0, 1]
        streams = [benchmark.stream(blobs(held=4), seed) for seed in seeds]
        backend = StreamReplicas(benchmark, part, streams, seeds, CPU)
        start = backend.state.params
        assert pretrain(backend, Clocks(backend.device), mode) is None
        return start, backend.state.params

    assert_learns_alike(train)


@pytest.fixture
def doubled(tmp_path, monkeypatch):
    """A trace, its inputs, and the folder of libraries in an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    x = torch.ones(3)
    found = trace("doubled", lambda x: {"twice": 2 * x}, (x,), "key")
    return found, [x], tmp_path / "retrograde" / "steps"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_library_is_made_once_and_again_if_it_is_damaged(doubled, monkeypatch, tmp_path):
    found, tensors, steps = doubled
    made, plain = [], compiled_step._make
    monkeypatch.setattr(compiled_step, "_make", lambda *a: made.append(1) or plain(*a))

    def twice():
        (result,) = _library(found, tensors, CPU)([torch.full((3,), 4.0)])
        return result.tolist()

    assert twice() == twice() == [8, 8, 8]
    assert len(made) == 1
    # Nothing of the compilation is left beside the library.
    assert [folder.name[0] == "." for folder in steps.iterdir()] == [False]
    # In another place, since this process has loaded the library of this one.
    other = tmp_path / "other" / "retrograde" / "steps"
    shutil.copytree(steps, other)
    next(other.glob("*/*.so")).write_bytes(b"no library")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert twice() == [8, 8, 8]
    assert len(made) == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_without_a_cache_a_library_serves_the_process_alone(doubled):
    found, tensors, steps = doubled
    steps.parent.mkdir()
    steps.write_text("a file where the folder would be")
    (result,) = _library(found, tensors, CPU)(tensors)
    assert result.tolist() == [2, 2, 2]


@pytest.fixture
def made(monkeypatch):
    """Libraries that are files alone; the folders in which they are made."""
    folders = []

    def make(found, tensors, folder):
        folders.append(folder)
        (folder / "step.so").touch()

    monkeypatch.setattr(compiled_step, "_make", make)
    monkeypatch.setattr(compiled_step, "_loaded", lambda *_: lambda tensors: tensors)
    return folders


def test_a_library_in_a_cache_that_can_be_read_alone_is_used(doubled, made, monkeypatch):
    found, tensors, _ = doubled
    _library(found, tensors, CPU)

    def refused(_):
        raise PermissionError

    monkeypatch.setattr("pathlib.Path.touch", refused)
    _library(found, tensors, CPU)
    assert len(made) == 1


def test_what_another_process_removes_meanwhile_keeps_no_library_from_the_cache(doubled, made):
    found, tensors, steps = doubled
    steps.mkdir(parents=True)
    # As a folder that was listed, and is gone when it is looked at.
    (steps / "gone").symlink_to("nowhere")
    _library(found, tensors, CPU)
    assert (steps / _digest(found, tensors, CPU) / "step.so").exists()


def test_a_library_that_another_process_has_just_made_is_left(doubled, made, monkeypatch):
    found, tensors, _ = doubled
    removed, plain = [], shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda *a, **k: removed.append(a[0]) or plain(*a, **k))
    _library(found, tensors, CPU)
    assert removed == []


def test_kernels_of_a_gpu_are_read_from_the_folder_of_their_library(monkeypatch, tmp_path):
    calls = []

    class Runner:
        def __init__(self, *given):
            calls.append(given)

        def run(self, tensors):
            calls.append(tensors)

    fake = SimpleNamespace(AOTIModelContainerRunnerCuda=Runner)
    monkeypatch.setattr(compiled_step, "import_module", lambda _: fake)
    (tmp_path / "step.so").touch()
    _loaded(tmp_path, ["tensors"], torch.device("cuda"))
    # The first call reads them, before a folder that is no cache is removed.
    assert calls == [(str(tmp_path / "step.so"), 1, "cuda", str(tmp_path)), ["tensors"]]


@pytest.mark.parametrize("part", ["cpu_name", "cpu_instructions", "torch.cuda.get_device_name"])
def test_another_machine_has_another_library(doubled, monkeypatch, part):
    found, tensors, _ = doubled
    digests = set()
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "one")
    for name in ("one", "another"):
        target = part if "." in part else f"retrograde.training.compiled_step.{part}"
        monkeypatch.setattr(target, lambda *_, name=name: name)
        digests.add(_digest(found, tensors, torch.device("cuda")))
    assert len(digests) == 2


def test_a_constant_of_another_dtype_is_another_library(doubled):
    _, tensors, _ = doubled
    digests = set()
    for dtype in (torch.int32, torch.int64):
        # Its square is beyond 32 bits.
        large = torch.full((3,), 10**5, dtype=dtype)
        found = trace(
            "large", lambda x, large=large: x + (large * large).double(), (tensors[0],), dtype
        )
        digests.add(_digest(found, tensors, CPU))
    assert len(digests) == 2


def test_libraries_that_no_run_used_for_a_month_are_removed(doubled, monkeypatch):
    found, tensors, steps = doubled
    for name, days in (("old", 31), ("new", 29)):
        (steps / name).mkdir(parents=True)
        then = compiled_step.time.time() - days * 24 * 3600
        os.utime(steps / name, (then, then))

    def stopped(*_, **__):
        raise RuntimeError("before anything is compiled")

    monkeypatch.setattr("torch._inductor.aot_compile", stopped)
    with pytest.raises(RuntimeError, match="before anything is compiled"):
        _library(found, tensors, CPU)
    assert [folder.name for folder in steps.iterdir()] == ["new"]


@pytest.mark.parametrize(
    "other",
    [
        lambda x: {"twice": 3 * x},
        lambda x: {"twice": torch.tensor([2.0, 2.0, 3.0]) * x},
        lambda x: {"twice": torch.tensor([2.0, 2.0, 2.0]) * x},
    ],
)
def test_another_operation_or_number_is_another_library(doubled, other):
    found, tensors, _ = doubled
    changed = trace("other", other, tuple(tensors), "key")
    digests = {_digest(each, tensors, CPU) for each in (found, changed)}
    assert len(digests) == 2
    fewer = [tensors[0][:2]]
    assert _digest(changed, fewer, CPU) not in digests


def test_a_step_that_is_no_list_of_operations_is_not_compiled():
    @dataclass(frozen=True, kw_only=True)
    class Counting(rg.Strategy):
        """Fine-tuning with a rate that falls with every call."""

        calls = []  # noqa: RUF012 - what a trace cannot show

        def step(self, net, state, data):
            self.calls.append(1)
            rate = 0.1 / len(self.calls)
            return net.update(state, net.grad(state.params, data.incoming), rate)

    backend = replicas("split:tasks=3,model=mlp-8 er")
    backend.strategy = Counting()
    with pytest.raises(compiled_step.NotTraced, match="other numbers when it is called again"):
        compile_step(backend, backend.trial_inputs())


def test_a_failure_is_an_error_with_its_reason_and_remedy_if_compiling_was_asked_for():
    def failing():
        raise compiled_step.NotTraced("it branches.\nMore.")

    assert compiled_step.compile_or_reason("auto", failing) == "it branches."
    with pytest.raises(
        rg.UserError, match=r"(?s)cannot: it branches\.\nMore\. Use compile=auto or"
    ):
        compiled_step.compile_or_reason("on", failing)


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
