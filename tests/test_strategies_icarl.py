"""iCaRL and GDumb: herding one example after the other, the loss class by class, the nearest mean, and what is trained on."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid
from torch.testing import assert_close

from retrograde.contract.toys import Blobs, blobs
from retrograde.interface.strategy import ExperienceEnd
from retrograde.methods.herding import class_means, herding_rounds
from retrograde.parts.registry import Registry
from retrograde.streams.cuts import split_classes
from retrograde.streams.memory import ExemplarMemory
from retrograde.streams.rows import Rows
from retrograde.streams.stream import Scenario
from retrograde.testing import flat, start, toy_batch, toy_net, toy_step
from retrograde.training.columns import Columns
from retrograde.training.stream_replicas import StreamReplicas

PARTS = Registry()


def make_net(seed=0):
    return toy_net(tasks=2, seed=seed)


def make_batch(random, classes, rows=6):
    """Rows of these classes in turn, the last one padding."""
    y = [classes[row % len(classes)] for row in range(rows)]
    return toy_batch(rows, y=y, task=[unit // 2 for unit in y], padding=1, seed=random)


def greedy(rows, many):
    """Algorithm 4 as it stands: which rows of one class are taken, in order."""
    mean, taken = rows.mean(0), []
    for _ in range(many):
        left = [row for row in range(len(rows)) if row not in taken]
        means = [rows[[*taken, row]].mean(0) for row in left]
        taken.append(left[int(torch.stack([(mean - each).norm() for each in means]).argmin())])
    return taken


def test_herding_takes_the_rows_of_each_class_in_the_papers_order():
    random = torch.Generator().manual_seed(0)
    for _ in range(20):
        features = torch.randn(30, 5, generator=random, dtype=torch.float64) + 1
        y = torch.randint(3, (30,), generator=random)
        member = (y[:, None] == torch.arange(4)) & (torch.arange(30) < 27)[
            :, None
        ]  # the last rows are padding; class 3 has none
        rank = herding_rounds(features, member, class_means(features, member), 5)
        for unit in range(3):
            own = torch.arange(27)[member[:27, unit]]
            expected = own[greedy(features[own], min(5, len(own)))]
            assert own[rank[own].argsort()][: len(expected)].tolist() == expected.tolist()
            assert sorted(rank[own][rank[own] < 5].tolist()) == list(range(len(expected)))
        assert (rank[27:] == 5).all()


@pytest.mark.parametrize("normalised", [False, True])
def test_icarl_ranks_the_exemplars_of_each_class_by_herding(normalised):
    net, params = make_net()
    part = PARTS.get("strategies", "icarl", {"buffer_size": "8", "normalised": str(normalised)})
    batch = make_batch(torch.Generator().manual_seed(1), [2, 3], rows=21)
    features = net.features(params, batch.x)
    features = torch.nn.functional.normalize(features) if normalised else features
    rank = part.rank_exemplars(net, start(part, net, params), batch, 4)
    member = (batch.y[:, None] == torch.arange(4)) & (batch.weight > 0)[:, None]
    means = class_means(features, member)
    expected = herding_rounds(
        features, member, torch.nn.functional.normalize(means) if normalised else means, 4
    )
    assert rank.tolist() == expected.tolist()
    own = torch.arange(20)[batch.y[:20] == 2]
    assert (
        normalised
        or own[rank[own].argsort()][:4].tolist() == own[greedy(features[own], 4)].tolist()
    )


def test_exemplars_come_closer_to_their_class_than_chance():
    """As many herded rows have a mean nearer to the class's than any of 200 random choices of them."""
    random = torch.Generator().manual_seed(0)
    features = torch.randn(100, 5, generator=random, dtype=torch.float64)
    mean, member = features.mean(0), torch.ones(100, 1, dtype=torch.bool)
    rank = herding_rounds(features, member, mean[None], 10)
    chosen = [features[torch.randperm(100, generator=random)[:10]].mean(0) for _ in range(200)]
    assert (features[rank < 10].mean(0) - mean).norm() < min(
        (each - mean).norm() for each in chosen
    )


def icarl_loss(net, before, batch, seen, earlier, temperature):
    """Algorithm 3, row by row and class by class."""

    def loss(params):
        total = 0
        for x, y in list(zip(batch.x, batch.y.tolist(), strict=True))[
            :-1
        ]:  # the last row is padding
            outputs, taught = (
                torch.func.functional_call(net.module, each, (x[None],))[0]
                for each in (params, before)
            )
            for unit in seen:
                q = (taught[unit] / temperature).sigmoid() if unit in earlier else float(y == unit)
                total = total - (
                    q * logsigmoid(outputs[unit]) + (1 - q) * logsigmoid(-outputs[unit])
                ) / len(seen)
        return total / (len(batch.x) - 1)

    return loss


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_icarl_learns_labels_of_new_classes_and_keeps_outputs_of_earlier_ones(temperature):
    random, (net, params) = torch.Generator().manual_seed(0), make_net()
    part = PARTS.find("strategies", "icarl")(lr=0.5, buffer_size=4, temperature=temperature)
    state, before, earlier = start(part, net, params), params, []
    for seen in ([0, 1], [0, 1, 2, 3]):
        for classes in (seen, seen, seen[:1]):
            batch = make_batch(random, classes)
            slope = torch.func.grad(icarl_loss(net, before, batch, seen, earlier, temperature))(
                state.params
            )
            expected = flat(state.params) - 0.5 * flat(slope)
            state = part.step(net, state, toy_step(batch))
            assert_close(flat(state.params), expected)
        state = part.end_experience(net, state, ExperienceEnd(batch, batch))
        before, earlier = state.params, seen


@pytest.mark.parametrize("normalised", [True, False])
def test_icarl_predicts_the_class_of_the_nearest_mean_of_exemplars(normalised):
    random, (net, params) = torch.Generator().manual_seed(0), make_net()
    part = PARTS.find("strategies", "icarl")(normalised=normalised)
    state = part.step(net, start(part, net, params), toy_step(make_batch(random, [1, 3])))
    memory, x = (
        make_batch(random, [1, 3], 9),
        torch.randn(40, 6, generator=random, dtype=torch.float64),
    )
    state = part.end_experience(net, state, ExperienceEnd(memory, memory))
    state = part.before_evaluation(net.in_eval_mode(), state, memory)

    def lengthened(rows):
        return rows / rows.norm(dim=1, keepdim=True) if normalised else rows

    features = lengthened(net.features(state.params, memory.x[:-1]))  # the last row is padding
    means = lengthened(torch.stack([features[memory.y[:-1] == unit].mean(0) for unit in (1, 3)]))
    near = (lengthened(net.features(state.params, x))[:, None] - means).norm(dim=2).argmin(1)
    scores = part.predict(net, state, x, None)
    assert scores.argmax(1).tolist() == [(1, 3)[each] for each in near.tolist()]
    assert scores[:, [0, 2]].argmax(1).equal(net.logits(state.params, x)[:, [0, 2]].argmax(1))
    assert 0 < near.sum() < 40


def train_two_tasks(name, spoil=False, **settings):
    """Two replicates that have learnt two tasks of two classes, 23 examples of each; if `spoil`, from changed parameters."""
    benchmark, part = Blobs(scenario="class"), PARTS.find("strategies", name)(**settings)
    backend = StreamReplicas(
        benchmark,
        part,
        [benchmark.stream(blobs(), seed) for seed in (0, 1)],
        [0, 1],
        torch.device("cpu"),
    )
    backend.learn(0, lambda _: None)
    if spoil:
        params = {name: value + 1 for name, value in backend.state.params.items()}
        state = backend.state.replace(params=params)
        backend.carried = backend.carried._replace(state=state)
    return backend, backend.learn(1, lambda _: None)


def test_icarl_stores_equal_shares_and_trains_on_them_beside_the_incoming_examples():
    backend, used = train_two_tasks("icarl", buffer_size=12)
    for memory in backend.memories.held:
        assert np.unique(memory.examples[memory.filled].y, return_counts=True)[1].tolist() == [
            3,
            3,
            3,
            3,
        ]
    assert used.incoming.tolist() == [46 + 12, 46 + 12]


@dataclass(frozen=True, kw_only=True)
class Uneven(Blobs):
    """One task of two classes, then one of eight."""

    scenario: Scenario = "class"

    def cut(self, data, seed):
        return split_classes(data, [np.array([1, 0]), np.arange(2, 10)], self.scenario)


def unit_features(backend, replicate, rows):
    """The features of some training examples at the end of a task, each of length 1."""
    net = backend.net
    params = {name: value[replicate] for name, value in backend.state.params.items()}
    none = np.zeros_like(rows)
    weighted = Rows.of(rows, 0, none).weighted(np.zeros(len(rows), dtype=bool))
    examples = backend.examples_of
    batch = examples.batch(Columns.of(torch.from_numpy(weighted.array)), {}, examples.train)
    return torch.nn.functional.normalize(net.features(params, batch.x))


@pytest.mark.parametrize("buffer_size", [40, 61, 400])
def test_all_exemplars_of_tasks_of_two_and_of_eight_classes_are_chosen_by_herding(buffer_size):
    """As many as the task's classes may keep, at most all 23 examples of each; of unequal tasks, too."""
    benchmark, part = Uneven(), PARTS.find("strategies", "icarl")(buffer_size=buffer_size)
    streams = [benchmark.stream(blobs(5), seed) for seed in (0, 1)]
    backend = StreamReplicas(benchmark, part, streams, [0, 1], torch.device("cpu"))
    for number, so_far in enumerate((2, 10)):
        backend.learn(number, lambda _: None)
        for replicate, (stream, memory) in enumerate(
            zip(streams, backend.memories.held, strict=True)
        ):
            train = stream.experiences[number]
            for unit in np.unique(train.y):
                rows = train.row[train.y == unit]
                features = unit_features(backend, replicate, rows)
                stored = memory.examples[memory.filled]
                many = min(buffer_size // so_far, 23)
                assert (
                    stored[stored.y == unit].row.tolist()
                    == rows[by_direction(features, many)].tolist()
                )


def by_direction(rows, many):
    """Algorithm 4 where the class's mean has length 1, as in the paper's footnote: which rows are taken, in order."""
    mean, taken = torch.nn.functional.normalize(rows.mean(0), dim=0), []
    for number in range(many):
        left = [row for row in range(len(rows)) if row not in taken]
        off = [(mean - (rows[taken].sum(0) + rows[row]) / (number + 1)).norm() for row in left]
        taken.append(left[int(torch.stack(off).argmin())])
    return taken


def test_the_share_counts_the_classes_so_far_and_nothing_else():
    memory = ExemplarMemory(60, 0)
    first, second = (Rows.of(np.arange(8), 0, np.arange(8) % 2 + start) for start in (0, 2))
    assert memory.share(memory.empty(), first) == 30
    content = memory.store_ranked(memory.empty(), first, np.arange(8.0))
    assert memory.share(content, second) == 15


def test_gdumb_trains_on_its_memory_alone_from_the_initial_weights():
    (backend, used), (other, _) = (
        train_two_tasks("gdumb", spoil, buffer_size=12, epochs=2, batch_size=5)
        for spoil in (False, True)
    )
    for memory in backend.memories.held:
        assert np.unique(memory.examples[memory.filled].y, return_counts=True)[1].tolist() == [
            3,
            3,
            3,
            3,
        ]
    assert used.incoming.tolist() == [24, 24]
    assert_close(backend.state.params, other.state.params)
