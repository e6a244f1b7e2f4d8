"""Progressive networks against a PyTorch module with lateral layers, written from equation 1 of Rusu et al. (2016)."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.testing import assert_close
from torch.utils import _pytree as pytree

from retrograde import UserError
from retrograde.contract.toys import Blobs, blobs
from retrograde.optim import adam
from retrograde.parts.registry import Registry
from retrograde.testing import start, toy_batch, toy_net, toy_step
from retrograde.training.stream_replicas import StreamReplicas

PARTS = Registry()
UNITS = [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]
LAYERS = ["1", "3", "head"]
SIZES = [6, 8, 5, 6]
CPU = torch.device("cpu")


def make_part(lr=0.1):
    return PARTS.find("strategies", "progressive")(lr=lr)


def make_net(**settings):
    return toy_net("mlp-8-5", outputs=6, tasks=3, units=UNITS, **settings)


def make_batch(task, random):
    y = [2 * task + row % 2 for row in range(5)]
    return toy_batch(5, y=y, task=task, padding=1, seed=random)


class Column(nn.Module):
    """The layers of one task, and lateral layers from the columns before it to all layers but the first."""

    def __init__(self, number, tensors):
        super().__init__()
        sizes = list(pairwise(SIZES))
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in sizes)
        self.laterals = nn.ModuleList(
            nn.ModuleList(nn.Linear(*pair, bias=False) for _ in range(number)) for pair in sizes[1:]
        )
        self.double()
        own = dict(self.named_parameters())
        assert {self.name_of(name) for name in own} == set(tensors)
        for name, value in own.items():
            value.data.copy_(tensors[self.name_of(name)])

    @staticmethod
    def name_of(name):
        """The strategy's name of a parameter."""
        kind, depth, *rest = name.split(".")
        if kind == "layers":
            return f"{LAYERS[int(depth)]}.{rest[0]}"
        return f"{LAYERS[int(depth) + 1]}.from{rest[0]}"


def outputs_of(columns, x):
    """The outputs of the last column: each layer of each column, with what it reads of the others."""
    hidden = [x for _ in columns]
    for depth in range(3):
        sums = []
        for number, column in enumerate(columns):
            total = column.layers[depth](hidden[number])
            if depth > 0:
                for before, lateral in enumerate(column.laterals[depth - 1]):
                    total = total + lateral(hidden[before])
            sums.append(total)
        hidden = [torch.relu(total) if depth < 2 else total for total in sums]
    return hidden[-1]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_columns_of_three_tasks_learn_as_a_module_with_lateral_layers(optimizer):
    ours, theirs = {"sgd": ({}, torch.optim.SGD), "adam": ({"optimizer": adam}, torch.optim.Adam)}[
        optimizer
    ]
    net, params = make_net(**ours)
    part, random = make_part(0.05), torch.Generator().manual_seed(0)
    state, columns = start(part, net, params), []
    for task in range(3):
        state = part.begin_experience(net, state, task)
        columns.append(Column(task, state.params))
        trained = theirs(columns[-1].parameters(), lr=0.05)
        for _ in range(4):
            batch = make_batch(task, random)
            state = part.step(net, state, toy_step(batch))
            logits = outputs_of(columns, batch.x[:4])[:, 2 * task : 2 * task + 2]
            trained.zero_grad()
            cross_entropy(logits, batch.y[:4] - 2 * task).backward()
            trained.step()
            for name, value in columns[-1].named_parameters():
                assert_close(state.params[Column.name_of(name)], value.detach())
        x = torch.randn(7, 6, generator=random, dtype=torch.float64)
        for seen in range(task + 1):
            scores = part.predict(net, state, x, torch.full((7,), seen))
            own = slice(2 * seen, 2 * seen + 2)
            assert_close(scores[:, own], outputs_of(columns[: seen + 1], x)[:, own].detach())
            assert scores.isinf().sum() == 7 * 4


def test_rows_of_different_tasks_are_each_answered_by_their_own_column():
    net, params = make_net()
    part, random = make_part(), torch.Generator().manual_seed(0)
    state = start(part, net, params)
    for task in range(2):
        state = part.begin_experience(net, state, task)
        state = part.step(net, state, toy_step(make_batch(task, random)))
    x, tasks = torch.randn(6, 6, generator=random).double(), torch.tensor([1, 0, 2, 1, 2, 0])
    mixed = part.predict(net, state, x, tasks)
    for task in range(3):
        alone = part.predict(net, state, x, torch.full((6,), task))
        assert_close(mixed[tasks == task], alone[tasks == task])
    # The third task has no column yet: the second one answers, on the units of the third.
    last = part.predict(replace(net, units=None), state, x, torch.ones(6, dtype=torch.long))
    assert_close(mixed[tasks == 2][:, 4:], last[tasks == 2][:, 4:])


def test_new_columns_start_from_xaviers_weights_of_their_own():
    net, params = toy_net("mlp-40-50", (30,), 6, tasks=3, units=UNITS)
    part = make_part()
    state = start(part, net, params)
    for task in range(3):
        # A key of its own for every experience, as in training.
        state = part.begin_experience(replace(net, key=torch.tensor(task)), state, task)
    drawn = {name: value for name, value in state.params.items() if not name.endswith("bias")}
    assert {name for name in drawn if "from" in name} == {
        f"{layer}.from{other}" for layer in LAYERS[1:] for other in (0, 1)
    }
    for value in drawn.values():
        bound = (6 / sum(value.shape)) ** 0.5
        assert 0.95 * bound < value.abs().max() <= bound
        assert abs(value.mean()) < 4 * bound / (3 * value.numel()) ** 0.5
    assert not drawn["head.from0"].equal(drawn["head.from1"])
    assert all(not state.params[f"{layer}.bias"].any() for layer in LAYERS)
    for name, value in state.extra["columns"][1].items():
        assert name.endswith("bias") or not value.equal(state.params[name])


def test_a_new_column_starts_with_a_fresh_optimiser():
    net, params = make_net(optimizer=adam)
    part, random = make_part(), torch.Generator().manual_seed(0)
    state = start(part, net, params)
    state = part.step(net, state, toy_step(make_batch(0, random)))
    state = part.begin_experience(net, state, 1)
    fresh = net.optimizer.init(state.params)
    assert pytree.tree_structure(state.slots) == pytree.tree_structure(fresh)
    pairs = zip(pytree.tree_leaves(state.slots), pytree.tree_leaves(fresh), strict=True)
    assert all(torch.as_tensor(one == other).all() for one, other in pairs)


TANH = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))


@pytest.mark.parametrize("model", ["conv", "mlpbn-8", "mlp", TANH])
def test_models_without_a_column_of_linear_layers_are_refused(model):
    shape = (1, 8, 8) if model == "conv" else (6,)
    net, params = toy_net(model, shape)
    with pytest.raises(UserError, match="two or more linear layers"):
        start(make_part(), net, params)


def trained_stream():
    """Two replicates of three tasks, with the columns and the scores of all test examples after each."""
    benchmark, part = Blobs(scenario="task", model="mlp-8-5", optimizer="adam"), make_part(0.01)
    streams = [benchmark.stream(blobs(), seed) for seed in (0, 1)]
    backend = StreamReplicas(benchmark, part, streams, [0, 1], CPU)
    test, seen = torch.from_numpy(backend.test_rows[0].array), []
    for task in range(3):
        backend.learn(task, lambda _: None)
        state = backend.state
        columns = [*state.extra["columns"], state.params]
        seen.append((columns, backend.scores(backend.for_prediction(), test)))
    return seen, test


def test_earlier_columns_and_answers_stay_as_they_were_bit_for_bit():
    seen, test = trained_stream()
    tasks = test[..., 1]
    for number, (columns, scores) in enumerate(seen):
        assert len(columns) == number + 1
        for later, later_scores in seen[number + 1 :]:
            for before, after in zip(columns, later, strict=False):
                assert all(before[name].equal(after[name]) for name in before)
            old = tasks <= number
            assert old.sum() > 0
            assert scores[old].equal(later_scores[old])
            assert not scores[~old].equal(later_scores[~old])


def test_replicates_have_columns_of_their_own():
    (_, _, (columns, _)), _ = trained_stream()
    for column in columns:
        assert not any(torch.equal(*value) for name, value in column.items() if "weight" in name)


def grown(mode):
    """The state after three columns."""
    benchmark = Blobs(scenario="task", model="mlp-8-5", optimizer="adam")
    streams = [benchmark.stream(blobs(), seed) for seed in (0, 1)]
    backend = StreamReplicas(benchmark, make_part(lr=0.01), streams, [0, 1], CPU)
    for task in range(3):
        assert backend.begin(task)
        assert backend.warm_up(mode) is None
        assert backend.compiled == (mode == "on")
        before = backend.state.params
        backend.learn(task, lambda _: None)
        after = backend.state.params
        assert max(float((after[name] - before[name]).abs().max()) for name in after) > 0.01
    return pytree.tree_leaves(backend.state)


def test_every_column_compiles_and_gives_the_numbers_of_the_eager_one(traces_alone):
    pairs = zip(grown("off"), grown("on"), strict=True)
    assert max(float((eager - compiled).abs().max()) for eager, compiled in pairs) < 1e-4
