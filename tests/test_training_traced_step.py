"""Long runs trace their step; a traced step gives the numbers of the step itself, to the last bit."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.func import vmap
from torch.utils import _pytree as pytree

import retrograde as rg
from retrograde.data.sources import data_folder, load
from retrograde.networks.functional import Networks
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.running.cell import CPU
from retrograde.training import replicas
from retrograde.training.episode_replicas import EpisodeReplicas
from retrograde.training.stream_replicas import StreamReplicas
from retrograde.training.traced_step import NotTraced, trace

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
    "split:tasks=3,model=mlp-8,train_examples=60,scenario=class cope:buffer_size=30",
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


def traced_and_plain(monkeypatch, train):
    for worthwhile in 1, 10**9:
        monkeypatch.setattr(replicas, "WORTHWHILE", worthwhile)
        yield train()


def meta_learned(strategy):
    kind, settings = parse("sinusoid:iterations=6,meta_batch_size=3")
    benchmark = PARTS.get("benchmarks", kind, settings)
    sources = [benchmark.distribution(None, seed) for seed in (0, 1)]
    backend = EpisodeReplicas(benchmark, strategy, sources, [0, 1], CPU)
    backend.warm_up("off")
    backend.learn(5, lambda _: None)
    return pytree.tree_leaves(backend.carried), backend._trace is not None


@pytest.mark.parametrize("seeds", [(0,), (0, 1)], ids=["one replicate", "two"])
@pytest.mark.parametrize("cell", STREAMS)
def test_a_traced_step_is_the_step_to_the_last_bit(monkeypatch, cell, seeds):
    assert equal(traced_and_plain(monkeypatch, lambda: learned(*parts(cell), seeds)))


@pytest.mark.parametrize("strategy", ["maml:inner_steps=2", "reptile"])
def test_so_is_a_traced_meta_step(monkeypatch, strategy):
    meta = PARTS.get("strategies", *parse(strategy))
    assert equal(traced_and_plain(monkeypatch, lambda: meta_learned(meta)))


def test_a_step_may_return_its_state_in_another_order(monkeypatch):
    benchmark, _ = parts(STREAMS[0])
    assert equal(traced_and_plain(monkeypatch, lambda: learned(benchmark, Averages(), [0, 1])))


def test_a_meta_step_may_return_its_state_with_other_strides(monkeypatch):
    assert equal(traced_and_plain(monkeypatch, lambda: meta_learned(Turned())))


def test_short_runs_are_not_traced():
    _, traced = learned(*parts(STREAMS[0]), [0])
    assert not traced


def test_a_trace_serves_the_next_cell_of_its_kind():
    asked = []

    def double(x):
        asked.append(x)
        return 2 * x

    x = torch.ones(3)
    first = trace("kind", double, (x,), "key")
    count = len(asked)
    assert trace("kind", double, (x,), "key") is first
    # Once, to see that it is still the step.
    assert len(asked) == count + 1
    assert trace("kind", double, (x,), "another key") is not first
    assert first.listed(torch.full((3,), 2.0)).tolist() == [4, 4, 4]
    assert len(asked) == 2 * count + 1


def test_a_trace_of_what_has_changed_since_is_made_anew():
    rate = 2.0

    def scaled(x):
        return rate * x

    x = torch.ones(3)
    first = trace("kind", scaled, (x,), "key")
    rate = 3.0
    second = trace("kind", scaled, (x,), "key")
    assert first.listed(x).tolist() == [2, 2, 2]
    assert second.listed(x).tolist() == [3, 3, 3]


@pytest.mark.parametrize("inside", [tuple, list])
def test_dictionaries_may_come_in_another_order(inside):
    def swapped(tree):
        return {"a": tree[0]["b"], "b": tree[0]["a"]}

    one, two = torch.ones(2), torch.zeros(2)
    traced = trace("kind", swapped, (inside([{"b": two, "a": one}]),), inside).listed
    assert traced(inside([{"a": one, "b": two}]))["a"].tolist() == [0, 0]
    assert traced(inside([{"b": two, "a": one}]))["a"].tolist() == [0, 0]


def test_a_tensor_that_comes_twice_is_two_inputs():
    def step(one, other):
        return one + 1, other * 2

    x = torch.ones(2)
    traced = trace("kind", step, (x, x), "key").listed
    assert [value.tolist() for value in traced(x, 0 * x)] == [[2, 2], [0, 0]]


@dataclass(frozen=True, kw_only=True)
class Averages(rg.Strategy):
    """A slow and a fast average of the parameters, which change their places in the state."""

    lr: float = 0.1

    def init(self, net, params):
        return {"slow": params, "fast": params}

    def step(self, net, state, data):
        after = net.update(state, net.grad(state.params, data.combined), self.lr)
        return after.replace(
            extra={
                pace: {
                    name: share * old + (1 - share) * after.params[name]
                    for name, old in state.extra[pace].items()
                }
                for pace, share in (("fast", 0.5), ("slow", 0.99))
            }
        )


@dataclass(frozen=True, kw_only=True)
class Turned(rg.MetaStrategy):
    """A matrix that is turned in each step, and so changes its strides."""

    def meta_params(self, net, params):
        return params | {"turned": torch.arange(16.0).reshape(4, 4)}

    def start_adaptation(self, net, learned):
        model = {name: value for name, value in learned.items() if name != "turned"}
        return super().start_adaptation(net, model)

    def meta_step(self, net, state, episodes, progress):
        flat = state.params["turned"].reshape(-1)
        return state.replace(params=state.params | {"turned": (2 * flat).reshape(4, 4).T})


def branching(x):
    return x if x.sum() > 0 else -x


def impure(x, calls=[]):  # noqa: B006 - what a trace cannot show is left in the default
    calls.append(x)
    return x + len(calls)


@pytest.mark.parametrize("step", [branching, impure])
def test_what_a_trace_does_not_tell_is_not_traced(step):
    with pytest.raises(NotTraced):
        trace("kind", step, (torch.ones(3),), "key")


def test_a_single_number_that_became_a_constant_is_seen():
    def annealed(progress, x):
        return vmap(lambda x: x * float(progress.numpy()))(x)

    with pytest.raises(NotTraced, match="with other inputs"):
        trace("kind", annealed, (torch.tensor(0.5), torch.ones(3)), "key")


def test_outputs_keep_the_form_of_the_step():
    def step(tree, more):
        return {"a": (tree["x"], tree["y"] * more), "b": tree["y"].detach()}

    tree = {"x": torch.zeros(2), "y": torch.ones(2, requires_grad=False)}
    traced = trace("kind", step, (tree, torch.tensor(3.0)), "key").listed
    found = traced({"x": torch.ones(2), "y": torch.full((2,), torch.nan)}, torch.tensor(2.0))
    assert found["a"][0].tolist() == [1, 1]
    assert found["a"][1].isnan().all()
    assert found["b"].isnan().all()


def edited():
    class Net(nn.Linear):
        """A class that is loaded again when its file has changed."""

    return Net


def test_an_edited_model_is_another_kind_of_network():
    before, after = edited(), edited()
    assert Networks(before(4, 2)).kinds == Networks(before(4, 2)).kinds
    assert Networks(before(4, 2)).kinds != Networks(after(4, 2)).kinds
