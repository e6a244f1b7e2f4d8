"""Long runs trace their step; a traced step gives the numbers of the step itself, to the last bit."""

import pytest
import torch
from torch.utils import _pytree as pytree

from retrograde.data.sources import data_folder, load
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.running.cell import CPU
from retrograde.training import replicas
from retrograde.training.episode_replicas import EpisodeReplicas
from retrograde.training.stream_replicas import StreamReplicas
from retrograde.training.traced_step import traced_step

PARTS = Registry()
STREAMS = [
    "split:tasks=3,model=mlp-8 er",
    "split:tasks=3,model=mlp-8,scenario=task,train_examples=60,weighting=tasks derpp:buffer_size=30",
    "split:tasks=3,model=mlp-8,train_examples=60,predict_first=true agem:buffer_size=30",
    "split:tasks=3,model=mlp-8,train_examples=60,boundaries=unknown mir:buffer_size=30",
    "split:tasks=3,model=mlp-8,train_examples=20 lamaml:inner_batch=5,first_order=false",
    "split:tasks=3,model=mlp-8,scenario=task,train_examples=60 progressive",
    "split:tasks=3,model=mlpbn-8,train_examples=60,optimizer=adam,schedule=cosine,clip=1 er",
    "split:tasks=3,model=mlp-8,train_examples=60,augment=flip scr:buffer_size=30,replay_batch=10",
    "permuted:tasks=3,train_examples=60,model=conv,optimizer=momentum ewc",
    "waves:tasks=3,batches=5 er",
]


def parts(cell):
    benchmark, strategy = cell.split()
    return PARTS.get("benchmarks", *parse(benchmark)), PARTS.get("strategies", *parse(strategy))


def learned(benchmark, strategy, seeds):
    """What is carried after two experiences, and whether the step was traced."""
    data = load(benchmark.dataset, data_folder()) if benchmark.dataset else None
    streams = [benchmark.stream(data, seed) for seed in seeds]
    backend = StreamReplicas(benchmark, strategy, streams, list(seeds), CPU)
    for number in range(2):
        if backend.begin(number):
            backend.warm_up("off")
        backend.learn(number, lambda _: None)
    return pytree.tree_leaves(backend.carried), backend._trace is not None


def equal(states):
    (one, traced), (other, plain) = states
    assert traced
    assert not plain
    pairs = zip(one, other, strict=True)
    return all(torch.equal(left, right) for left, right in pairs)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)], ids=["one replicate", "two"])
@pytest.mark.parametrize("cell", STREAMS)
def test_a_traced_step_is_the_step_to_the_last_bit(monkeypatch, cell, seeds):
    states = []
    for worthwhile in 1, 10**9:
        monkeypatch.setattr(replicas, "WORTHWHILE", worthwhile)
        states.append(learned(*parts(cell), seeds))
    assert equal(states)


@pytest.mark.parametrize("strategy", ["maml:inner_steps=2", "reptile"])
def test_so_is_a_traced_meta_step(monkeypatch, strategy):
    benchmark, strategy = parts(f"sinusoid:iterations=6,meta_batch_size=3 {strategy}")
    states = []
    for worthwhile in 1, 10**9:
        monkeypatch.setattr(replicas, "WORTHWHILE", worthwhile)
        sources = [benchmark.distribution(None, seed) for seed in (0, 1)]
        backend = EpisodeReplicas(benchmark, strategy, sources, [0, 1], CPU)
        backend.warm_up("off")
        backend.learn(5, lambda _: None)
        states.append((pytree.tree_leaves(backend.carried), backend._trace is not None))
    assert equal(states)


def test_short_runs_are_not_traced():
    _, traced = learned(*parts(STREAMS[0]), [0])
    assert not traced


def test_a_trace_serves_the_next_cell_of_its_kind():
    asked = []

    def double(x):
        asked.append(x)
        return 2 * x

    x = torch.ones(3)
    first = traced_step(double, double, (x,), "key")
    count = len(asked)
    assert traced_step(double, double, (x,), "key") is first
    assert len(asked) == count
    assert traced_step(double, double, (x,), "another key") is not first
    assert first(torch.full((3,), 2.0)).tolist() == [4, 4, 4]
    assert len(asked) == 2 * count


def branching(x):
    return x if x.sum() > 0 else -x


def impure(x, calls=[]):  # noqa: B006 - what a trace cannot show is left in the default
    calls.append(x)
    return x + len(calls)


@pytest.mark.parametrize("step", [branching, impure])
def test_what_a_trace_does_not_tell_is_not_traced(step):
    assert traced_step(step, step, (torch.ones(3),), "key") is None


def test_outputs_keep_the_form_of_the_step():
    def step(tree, more):
        return {"a": (tree["x"], tree["y"] * more), "b": tree["y"].detach()}

    tree = {"x": torch.zeros(2), "y": torch.ones(2, requires_grad=False)}
    traced = traced_step(step, step, (tree, torch.tensor(3.0)), "key")
    found = traced({"x": torch.ones(2), "y": torch.full((2,), torch.nan)}, torch.tensor(2.0))
    assert found["a"][0].tolist() == [1, 1]
    assert found["a"][1].isnan().all()
    assert found["b"].isnan().all()
