"""The loop and the vectorised step, against a plain PyTorch loop written for one replicate."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from retrograde.contract.toys import Blobs, blobs
from retrograde.data.sources import load
from retrograde.errors import UserError
from retrograde.interface.learner import Learner
from retrograde.interface.strategy import facts_used as known_in
from retrograde.networks.build import build
from retrograde.parts.registry import Registry
from retrograde.randomness import torch_seed
from retrograde.streams.memory import Column, ExemplarMemory, Reservoir
from retrograde.streams.schedule import Schedule, train_rows
from retrograde.training.cell_check import check
from retrograde.training.clocks import Clocks
from retrograde.training.opaque import OpaqueReplica
from retrograde.training.replicas import Replicas
from retrograde.training.step_counts import total_steps
from retrograde.training.stream_loop import train
from retrograde.training.stream_replicas import StreamReplicas, share_weight

CPU = torch.device("cpu")
PARTS = Registry()
RATES = {"sgd": 0.1, "momentum": 0.02, "adam": 0.01}
STRATEGIES = ["finetune", "joint", "incremental_joint", "er"]


def strategy(name, lr=0.1, **settings):
    return PARTS.find("strategies", name)(lr=lr, **settings)


def streams(benchmark, seeds, data=None):
    return [benchmark.stream(data or PARTS_DATA, seed) for seed in seeds]


PARTS_DATA = blobs()


def plain_loop(benchmark, part, seed):
    """The same training with nn.Module, autograd and torch.optim: real rows only, one replicate."""
    stream, memory, schedule = benchmark.stream(PARTS_DATA, seed), part.memory(), part.schedule()
    held = memory.empty() if memory else None
    model = build(
        benchmark.model, PARTS_DATA.shape, stream.units.shape[1], torch_seed(seed, "weights")
    )
    start = {name: value.clone() for name, value in model.state_dict().items()}
    for number in range(len(stream.tasks)):
        if number == 0 or schedule.reinitialise:
            model.load_state_dict(start)
            optimizer = make_optimizer(benchmark.optimizer, model, part.lr)
        rows, held = train_rows(stream, number, benchmark, schedule, memory, held, seed)
        for step in rows:
            used = step[step.real]
            row, task, y = used.row, used.task, used.y.copy()
            logits = model(torch.from_numpy(PARTS_DATA.x_train[row]))
            if benchmark.scenario == "task":
                logits = logits.masked_fill(~torch.from_numpy(stream.units[task]), -torch.inf)
            optimizer.zero_grad()
            cross_entropy(logits, torch.from_numpy(y)).backward()
            optimizer.step()
    return model


def make_optimizer(name, model, lr):
    if name == "adam":
        return torch.optim.Adam(model.parameters(), lr=lr)
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9 if name == "momentum" else 0)


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize("name", STRATEGIES)
def test_training_equals_a_plain_pytorch_loop(name, optimizer, scenario):
    benchmark = Blobs(scenario=scenario, optimizer=optimizer, batch_size=7, epochs=2)
    part = strategy(name, RATES[optimizer])
    backend = StreamReplicas(benchmark, part, streams(benchmark, [0, 1]), [0, 1], CPU)
    for number in range(3):
        backend.learn(number, lambda _: None)
    for replicate in (0, 1):
        for key, value in plain_loop(benchmark, part, replicate).state_dict().items():
            assert torch.allclose(backend.state.params[key][replicate], value, atol=1e-4), key


def test_replicates_with_fewer_steps_equal_their_own_run():
    data, split = PARTS.find("benchmarks", "split"), PARTS.find("strategies", "er")
    benchmark, part = data(tasks=3, optimizer="adam", batch_size=32), split(lr=0.01)
    from retrograde.data.sources import load

    digits = load("digits", Path())
    own = [benchmark.stream(digits, seed) for seed in (0, 1)]
    assert len({len(stream.experiences[0].row) for stream in own}) == 2
    both = train(benchmark, part, own, [0, 1], CPU, "off")
    for seed in (0, 1):
        alone = train(benchmark, part, [own[seed]], [seed], CPU, "off")[0]
        assert np.abs(np.array(alone.correct) - np.array(both[seed].correct)).max() <= 1
        assert alone.counts == both[seed].counts


def test_a_task_that_counts_as_learned_later_is_recorded_so():
    benchmark = PARTS.get("benchmarks", "split", {"tasks": "3", "train_examples": "20"})
    stream = benchmark.stream(load("digits", Path()), 0)
    later = replace(stream, learned_after=(2, 1, 2))
    part = PARTS.get("strategies", "finetune", {})
    (outcome,) = train(benchmark, part, [later], [0], CPU, "off")
    assert outcome.experiences.learned == [2, 1, 2]
    assert train(benchmark, part, [stream], [0], CPU, "off")[0].experiences is None


def test_counts_are_exact():
    benchmark = Blobs(batch_size=10, epochs=2)
    outcome = train(
        benchmark,
        strategy("er", buffer_size=15, replay_batch=10),
        streams(benchmark, [0]),
        [0],
        CPU,
        "off",
    )[0]
    assert outcome.counts["steps"] == 3 * 2 * 5
    assert outcome.counts["incoming"] == 3 * 2 * 46
    assert (
        outcome.counts["replayed"] == 3 * 2 * 5 * 10 - 10
    )  # nothing is there to replay at the first step
    assert outcome.counts["forward"] == outcome.counts["backward"] == 30 * 20
    assert outcome.memory["examples"] == 15
    assert total_steps(benchmark, strategy("finetune"), streams(benchmark, [0])) == 30
    assert total_steps(benchmark, strategy("joint"), streams(benchmark, [0])) == 2 * (5 + 10 + 14)


def test_row_zero_is_before_training_and_every_row_counts_every_task():
    benchmark = Blobs()
    outcome = train(benchmark, strategy("finetune"), streams(benchmark, [0]), [0], CPU, "off")[0]
    model = build(benchmark.model, PARTS_DATA.shape, 6, torch_seed(0, "weights"))
    right = model(torch.from_numpy(PARTS_DATA.x_test)).argmax(1).numpy() == PARTS_DATA.y_test
    assert outcome.correct[0] == [
        int(right[PARTS_DATA.y_test // 2 == 2 - task].sum()) for task in range(3)
    ]
    assert outcome.test_examples == [20, 20, 20]
    assert np.array(outcome.correct).shape == np.array(outcome.correct_given_task).shape == (4, 3)


def test_the_counts_with_the_task_given_are_what_a_masked_argmax_gives():
    benchmark = Blobs()
    own = streams(benchmark, [0])
    backend = StreamReplicas(benchmark, strategy("finetune"), own, [0], CPU)
    backend.learn(0, lambda _: None)
    logits = backend.net.logits(
        {k: v[0] for k, v in backend.state.params.items()}, torch.from_numpy(PARTS_DATA.x_test)
    )
    task = PARTS_DATA.y_test // 2
    own_units = torch.stack([logits[range(60), 2 * task], logits[range(60), 2 * task + 1]], 1)
    expected = 2 * task + own_units.argmax(1).numpy() == PARTS_DATA.y_test
    assert backend.evaluate(backend.test_rows).correct_given_task[0, :60].sum() == expected.sum()


def test_a_run_that_becomes_non_finite_has_diverged_and_keeps_its_rows_so_far():
    benchmark = Blobs(epochs=20)
    outcomes = train(
        benchmark, strategy("finetune", lr=1e30), streams(benchmark, [0, 1]), [0, 1], CPU, "off"
    )
    assert not any(outcome.finite for outcome in outcomes)
    assert len(outcomes[0].correct) == 1


def test_progress_adds_up_to_the_steps():
    told = []
    benchmark = Blobs()
    train(benchmark, strategy("er"), streams(benchmark, [0, 1]), [0, 1], CPU, "off", told.append)
    steps = [each for each in told if isinstance(each, int)]
    assert sum(steps) == total_steps(benchmark, strategy("er"), streams(benchmark, [0, 1]))
    assert {"train", "evaluate"} <= {*told}


def test_a_scenario_that_a_strategy_declares_out_is_refused():
    class OnlyTask(PARTS.find("strategies", "finetune")):
        scenarios = ("task",)

    benchmark = Blobs(scenario="class")
    with pytest.raises(UserError, match="task-incremental.*scenario=class"):
        check(benchmark, OnlyTask(), streams(benchmark, [0])[0], CPU)


def test_a_ring_smaller_than_its_groups_is_refused_before_training():
    benchmark = Blobs()
    with pytest.raises(UserError, match="buffer_size=5"):
        check(
            benchmark, strategy("er", buffer_size=5, policy="ring"), streams(benchmark, [0])[0], CPU
        )


def test_an_opaque_learner_that_does_the_same_gets_the_same_record():
    benchmark = Blobs(batch_size=7)
    pure = train(benchmark, strategy("finetune"), streams(benchmark, [4]), [4], CPU, "off")[0]
    opaque = train(benchmark, PlainSGD(), streams(benchmark, [4]), [4], CPU, "off")[0]
    assert opaque.correct == pure.correct
    assert opaque.correct_given_task == pure.correct_given_task
    assert {k: opaque.counts[k] for k in ("steps", "incoming", "replayed")} == {
        k: pure.counts[k] for k in ("steps", "incoming", "replayed")
    }
    assert (opaque.how["backend"], pure.how["backend"]) == ("opaque", "pure")


class PlainSGD(Learner):
    """Fine-tuning as existing code would do it."""

    def setup(self, model):
        self.model, self.optimizer = model, torch.optim.SGD(model.parameters(), lr=0.1)

    def observe(self, x, y, task):
        self.optimizer.zero_grad()
        cross_entropy(self.model(x), y).backward()
        self.optimizer.step()

    def predict(self, x, task):
        return self.model(x)


def test_a_learner_starts_from_given_weights(tmp_path):
    module = build("mlp-16", (12,), 6, seed=5)
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    benchmark = Blobs(weights=str(tmp_path / "weights.pt"))
    backend = OpaqueReplica(benchmark, PlainSGD(), streams(benchmark, [0])[0], 0, CPU)
    assert torch.equal(backend.learner.model[1].weight, module[1].weight)


def test_a_learner_with_a_loop_of_its_own_gets_the_whole_task_in_order_and_reports_what_it_replays():
    class OwnLoop(PlainSGD):
        def receive(self, terms):
            self.terms = terms

        def learn(self, experience, stepped):
            assert len(experience.batches) % self.terms.epochs == 0
            assert self.terms.units[experience.task][experience.y].all()
            for batch in experience.batches:
                self.observe(experience.x[batch], experience.y[batch], experience.task)
                stepped(len(batch) + 2)

    benchmark = Blobs(batch_size=7, epochs=2, updates_per_batch=3)
    pure, own = (
        train(benchmark, each, streams(benchmark, [4]), [4], CPU)[0]
        for each in (strategy("finetune"), OwnLoop())
    )
    assert own.correct == pure.correct
    assert own.counts["replayed"] == 2 * own.counts["steps"] == 2 * pure.counts["steps"]


def test_a_whole_task_holds_each_example_once_in_the_order_in_which_it_first_came():
    backend = OpaqueReplica(
        Blobs(batch_size=7, epochs=2), PlainSGD(), streams(Blobs(), [4])[0], 4, CPU
    )
    given = []
    backend.learner.learn = lambda experience, _: given.append(experience)
    backend.learn(1, lambda _: None)
    first = torch.cat(given[0].batches[: len(given[0].batches) // 2])
    assert first.tolist() == list(range(46)) == list(range(len(given[0].y)))
    assert sorted(torch.cat(given[0].batches).tolist()) == sorted([*range(46)] * 2)


def test_end_experience_gets_every_example_of_the_task_once():
    class Counts(PARTS.find("strategies", "finetune")):
        def init(self, net, params):
            return {"rows": torch.zeros(()), "labels": torch.zeros(())}

        def end_experience(self, net, state, finished):
            rows, labels = state.extra["rows"], state.extra["labels"]
            labels = labels + (finished.examples.y * finished.examples.weight).sum()
            return state.replace(
                extra={"rows": rows + finished.examples.weight.sum(), "labels": labels}
            )

    benchmark = Blobs()
    backend = StreamReplicas(benchmark, Counts(), streams(benchmark, [0, 1]), [0, 1], CPU)
    for number in range(3):
        backend.learn(number, lambda _: None)
    assert backend.state.extra["rows"].tolist() == [138, 138]
    assert backend.state.extra["labels"].tolist() == [PARTS_DATA.y_train.sum()] * 2


def test_batch_norm_sees_nothing_but_rows_of_its_own_step(tmp_path):
    layers = "nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Linear(8, outputs)"
    (tmp_path / "nets.py").write_text(
        f"from torch import nn\ndef net(shape, outputs): return nn.Sequential({layers})"
    )
    benchmark = Blobs(model=f"{tmp_path / 'nets.py'}:net", batch_size=10)
    backends = []
    for data in (PARTS_DATA, blobs(scramble_last=True)):
        backend = StreamReplicas(
            benchmark,
            strategy("er", buffer_size=30, replay_batch=10),
            streams(benchmark, [0], data),
            [0],
            CPU,
        )
        backend.learn(0, lambda _: None)
        backends.append(backend)
    for name, value in backends[0].state.model.items():
        assert torch.equal(value, backends[1].state.model[name]), name
    assert backends[0].state.buffers["1.num_batches_tracked"] == 5


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_the_loss_is_finite_at_every_step_while_the_memory_fills(scenario):
    class Logs(PARTS.find("strategies", "er")):
        def init(self, net, params):
            return {"worst": torch.zeros(())}

        def step(self, net, state, data):
            after = super().step(net, state, data)
            worst = torch.maximum(state.extra["worst"], net.loss(state.params, data.combined))
            return after.replace(extra={"worst": worst})

    benchmark = Blobs(scenario=scenario, batch_size=7)
    backend = StreamReplicas(benchmark, Logs(), streams(benchmark, [0, 1]), [0, 1], CPU)
    for number in range(3):
        backend.learn(number, lambda _: None)
    assert backend.state.extra["worst"].isfinite().all()


def test_frozen_parameters_stay_where_they_are(tmp_path):
    layers = "nn.Linear(12, 8).requires_grad_(False), nn.ReLU(), nn.Linear(8, outputs)"
    (tmp_path / "frozen.py").write_text(
        f"from torch import nn\ndef net(shape, outputs): return nn.Sequential({layers})"
    )
    benchmark = Blobs(model=f"{tmp_path / 'frozen.py'}:net")
    part = strategy("finetune")
    backend = StreamReplicas(benchmark, part, streams(benchmark, [0, 1]), [0, 1], CPU)
    start = backend.own["fixed"]["0.weight"].clone()
    backend.learn(0, lambda _: None)
    assert sorted(backend.state.params) == ["2.bias", "2.weight"]
    assert torch.equal(backend.own["fixed"]["0.weight"], start)
    for replicate in (0, 1):
        module = build(benchmark.model, (12,), 6, torch_seed(replicate, "weights"))
        assert torch.equal(start[replicate], module[0].weight)


def test_frozen_parameters_that_all_replicates_have_in_common_are_not_stacked(tmp_path):
    (tmp_path / "frozen.py").write_text(
        "from torch import nn\n"
        "def net(shape, outputs):\n"
        "    first = nn.Linear(12, 8).requires_grad_(False)\n"
        "    nn.init.constant_(first.weight, 0.1)\n"
        "    return nn.Sequential(first, nn.ReLU(), nn.Linear(8, outputs))\n"
    )
    benchmark = Blobs(model=f"{tmp_path / 'frozen.py'}:net")
    part = strategy("finetune")
    backend = StreamReplicas(benchmark, part, streams(benchmark, [0, 1]), [0, 1], CPU)
    assert (set(backend.own["fixed"]), set(backend.shared["fixed"])) == ({"0.bias"}, {"0.weight"})
    assert torch.equal(backend.shared["fixed"]["0.weight"], torch.full((8, 12), 0.1))


def test_an_end_of_an_experience_that_changes_a_dtype_is_refused():
    class Doubles(PARTS.find("strategies", "finetune")):
        def init(self, net, params):
            return {"n": torch.zeros(())}

        def end_experience(self, net, state, finished):
            return state.replace(extra={"n": state.extra["n"].double()})

    benchmark = Blobs()
    backend = StreamReplicas(benchmark, Doubles(), streams(benchmark, [0]), [0], CPU)
    with pytest.raises(UserError, match="float64"):
        backend.learn(0, lambda _: None)


def test_a_learner_is_asked_for_each_test_example_once_and_once_for_a_few_of_them_one_by_one():
    asked = []

    class Counts(PlainSGD):
        def predict(self, x, task):
            asked.append(len(x))
            return super().predict(x, task)

    benchmark = Blobs()
    train(benchmark, Counts(), streams(benchmark, [0]), [0], CPU)
    assert asked == [20] * 3 + [8] + [1] * 8 + [20] * 3 * 3


def test_a_model_that_a_step_cannot_take_fails_the_check_before_anything_trains():
    benchmark = Blobs(model="mlpbn-8")  # an inner step of one row has no batch statistics
    with pytest.raises(UserError, match="needs more than one example to every step"):
        check(benchmark, PARTS.get("strategies", "lamaml"), benchmark.stream(blobs(), 0), CPU)


class StartsFromOneRow(PARTS.find("strategies", "finetune")):
    """Asks for the features of one example, as in training, when it starts."""

    def init(self, net, params):
        return {"start": net.features(params, torch.zeros(1, *net.shape))}


def test_so_does_a_strategy_that_cannot_start_with_it():
    benchmark = Blobs(model="mlpbn-8")
    with pytest.raises(UserError, match="StartsFromOneRow cannot take a step with model=mlpbn-8"):
        check(benchmark, StartsFromOneRow(), benchmark.stream(blobs(), 0), CPU)


def test_hal_starts_with_it_for_its_first_centre_is_of_the_running_statistics():
    benchmark = Blobs(model="mlpbn-8")
    check(benchmark, PARTS.get("strategies", "hal"), benchmark.stream(blobs(), 0), CPU)


class Notes(PARTS.find("strategies", "finetune")):
    """Notes what it draws by chance, and what the memory holds at the end of each task."""

    def memory(self):
        return Reservoir(5, 2, keep=(Column("label", ()), Column("late", ())))

    def init(self, net, params):
        nothing = torch.zeros(40, 2)
        return {
            "drawn": nothing,
            "start": net.uniform(2),
            "held": torch.zeros(6),
            "kept": torch.zeros(5),
        }

    def step(self, net, state, data):
        drawn = torch.cat([state.extra["drawn"][1:], net.uniform(2)[None]])
        after = super().step(net, state, data).keep(label=data.incoming.y.float())
        return after.replace(extra=state.extra | {"drawn": drawn})

    def end_experience(self, net, state, finished):
        held = torch.cat(
            [finished.memory.y * finished.memory.weight, finished.memory.weight.sum()[None]]
        )
        drawn = torch.cat([state.extra["drawn"][1:], net.uniform(2)[None]])
        own = {"held": held, "kept": finished.memory.kept["label"], "drawn": drawn}
        return state.replace(extra=state.extra | own).keep(late=finished.examples.y.float())


def noted(seeds, tasks=1):
    backend = StreamReplicas(Blobs(), Notes(), streams(Blobs(), seeds), seeds, CPU)
    for number in range(tasks):
        backend.learn(number, lambda _: None)
    return backend


def test_numbers_by_chance_are_new_at_every_step_and_the_same_for_a_seed_in_any_company():
    both, alone = noted([0, 1], 2), noted([1], 2)
    for name in ("drawn", "start"):
        assert torch.equal(both.state.extra[name][1], alone.state.extra[name][0])
    numbers = both.state.extra["drawn"][:, -12:].reshape(-1)
    assert numbers.numel() == len(set(numbers.tolist())) == 48
    assert not set(both.state.extra["start"].reshape(-1).tolist()) & set(numbers.tolist())


def test_numbers_at_the_end_of_a_task_do_not_depend_on_how_long_others_take():
    benchmark = Blobs(uneven=True)
    ends = []
    for seeds in ([0, 1, 2], [1]):
        backend = StreamReplicas(benchmark, Notes(), streams(benchmark, seeds), seeds, CPU)
        backend.learn(0, lambda _: None)
        ends.append(backend.state.extra["drawn"][seeds.index(1), -1])
    assert torch.equal(*ends)


def test_the_end_of_a_task_sees_what_the_memory_holds_and_what_was_kept_with_it():
    backend = noted([0, 1])
    for i, held in enumerate(backend.memories.held):
        assert backend.state.extra["held"][i].tolist() == [*held.examples.y.tolist(), 5]
        assert backend.state.extra["kept"][i].tolist() == held.examples.y.tolist()
        assert backend.carried.columns["late"][i].tolist() == held.examples.y.tolist()


def test_a_memory_of_exemplars_holds_what_the_strategy_ranks_first():
    class Chooses(PARTS.find("strategies", "finetune")):
        def memory(self):
            return ExemplarMemory(4, 0)

        def rank_exemplars(self, net, state, examples, share):
            return examples.x[:, 0]

    backend = StreamReplicas(Blobs(), Chooses(), streams(Blobs(), [0, 1]), [0, 1], CPU)
    backend.learn(0, lambda _: None)
    for stream, held in zip(backend.streams, backend.memories.held, strict=True):
        rows, y, *_ = stream.experiences[0]
        by_rank = rows[np.argsort(PARTS_DATA.x_train[rows, 0])]
        expected = [
            row for unit in np.unique(y) for row in by_rank[np.isin(by_rank, rows[y == unit])][:2]
        ]
        assert held.examples.row[held.filled].tolist() == expected


def test_incoming_examples_mixed_with_a_memory_that_takes_them_at_once_are_refused():
    class Mixes(PARTS.find("strategies", "er")):
        def schedule(self):
            return Schedule("incoming and memory")

    with pytest.raises(UserError, match="Give it at_end=True"):
        check(Blobs(), Mixes(), Blobs().stream(PARTS_DATA, 0), CPU)
    check(Blobs(), Mixes(policy="ring-at-end"), Blobs().stream(PARTS_DATA, 0), CPU)


def test_fewer_exemplars_than_classes_are_refused():
    with pytest.raises(UserError, match="here of 6; buffer_size=5"):
        check(
            Blobs(),
            PARTS.find("strategies", "icarl")(buffer_size=5),
            Blobs().stream(PARTS_DATA, 0),
            CPU,
        )


@pytest.mark.parametrize("held", [0, 2])
def test_incoming_examples_that_weigh_a_part_have_it_whatever_their_number(held):
    new, old = torch.tensor([1.0, 1, 1, 0]), (torch.arange(3) < held).float()
    found = share_weight(new, old, torch.tensor(0.25))
    assert (found[:4].sum() / found.sum()).item() == pytest.approx(0.25 if held else 1)
    assert found.sum().item() == pytest.approx(3 + held)
    assert torch.equal(found > 0, torch.cat([new, old]) > 0)


def test_weighting_by_tasks_weighs_the_past_more_at_every_task():
    class Weighs(PARTS.find("strategies", "er")):
        def init(self, net, params):
            return {"now": torch.zeros(()), "past": torch.zeros(()), "share": torch.zeros(())}

        def step(self, net, state, data):
            weight = data.combined.weight
            share = weight[: len(data.incoming.x)].sum() / weight.sum()
            extra = {"now": data.incoming_weight, "past": data.replay_weight, "share": share}
            return super().step(net, state, data).replace(extra=extra)

    benchmark = Blobs(weighting="tasks")
    backend, found = StreamReplicas(benchmark, Weighs(), streams(benchmark, [0]), [0], CPU), []
    for number in range(3):
        backend.learn(number, lambda _: None)
        found.append([value.item() for value in backend.state.extra.values()])
    assert np.allclose(found, [[1, 0, 1], [1 / 2, 1 / 2, 1 / 2], [1 / 3, 2 / 3, 1 / 3]])


class Silent(PARTS.find("strategies", "finetune")):
    """Replays, and does not say whether it weighs that."""

    def memory(self):
        return Reservoir(5, 2)


class NeverBegins(Learner):
    def setup(self, model):
        raise AssertionError("nothing is set up before the cell is refused")

    def observe(self, x, y, task):
        pass

    def predict(self, x, task):
        pass


@pytest.mark.parametrize(
    "part",
    [PARTS.get("strategies", "mer"), Silent(), NeverBegins()],
    ids=lambda part: type(part).__name__,
)
def test_a_strategy_that_does_not_weigh_by_tasks_is_refused_where_the_benchmark_wants_that(part):
    benchmark = Blobs(weighting="tasks")
    with pytest.raises(
        UserError, match=f"{type(part).__name__} has no such losses or does not weigh them so"
    ):
        check(benchmark, part, benchmark.stream(PARTS_DATA, 0), CPU)


class CountsReplay(PARTS.find("strategies", "gss")):
    """GSS that counts what it draws from its own state, step by step."""

    def init(self, net, params):
        return super().init(net, params) | {"count": torch.zeros(())}

    def step(self, net, state, data):
        from retrograde.strategies.gss import drawn

        pool = self.own_examples(state).concat(data.incoming)
        keys = net.uniform(self.buffer_size, name="again")
        replayed = drawn(pool, keys, self.replay_batch)
        count = state.extra["count"] + replayed.weight.sum() * (data.incoming.weight.sum() > 0)
        after = super().step(
            net,
            state.replace(extra={k: v for k, v in state.extra.items() if k != "count"}),
            data,
        )
        return after.replace(extra=after.extra | {"count": count})


@pytest.mark.parametrize("memory", [13, 200])
def test_examples_that_a_strategy_holds_itself_count_as_stored_and_as_replayed(memory):
    benchmark, seeds = Blobs(uneven=True, epochs=2), [0, 1, 2]
    part = CountsReplay(buffer_size=memory, replay_batch=8)
    backend = StreamReplicas(benchmark, part, streams(benchmark, seeds), seeds, CPU)
    replayed = sum(backend.learn(number, lambda _: None).replayed for number in range(3))
    assert replayed.tolist() == backend.state.extra["count"].tolist()
    arrivals = [
        2 * sum(len(experience.row) for experience in stream.experiences)
        for stream in backend.streams
    ]
    assert backend.held_examples() == [min(memory, count) for count in arrivals]


def test_bytes_of_examples_in_the_state_are_those_of_examples_and_of_nothing_else():
    part = PARTS.find("strategies", "gss")(buffer_size=20)
    outcome = train(Blobs(), part, streams(Blobs(), [0]), [0], CPU)[0]
    one = PARTS_DATA.x_train[0].nbytes + 8
    assert outcome.memory == {
        "examples": 20,
        "bytes": 20 * one,
        "state_bytes": 20 * 4,
    }  # a score of each
    replay = train(
        Blobs(), PARTS.find("strategies", "er")(buffer_size=20), streams(Blobs(), [0]), [0], CPU
    )[0]
    assert replay.memory == {"examples": 20, "bytes": 20 * one, "state_bytes": 0}


@pytest.mark.parametrize(
    ("scenario", "known"),
    [("class", ["length", "classes"]), ("domain", ["length"]), ("task", ["length"])],
)
def test_classes_are_known_ahead_only_where_some_are_to_come(scenario, known):
    assert known_in(scenario, ("length", "classes")) == known


@pytest.mark.parametrize(
    ("name", "warmed"),
    [("er", ["StreamReplicas"]), ("oml", ["EpisodeReplicas", "StreamReplicas"])],
)
def test_a_device_is_awaited_before_and_after_warming_up(monkeypatch, name, warmed):
    """Clocks wait for a device where they start and where they stop."""
    told = []
    monkeypatch.setattr(Clocks, "_synchronise", lambda _: told.append("wait"))
    warm_up = Replicas.warm_up
    monkeypatch.setattr(
        Replicas,
        "warm_up",
        lambda self, mode: (told.append(type(self).__name__), warm_up(self, mode))[1],
    )
    part = PARTS.get("strategies", name)
    benchmark = Blobs(batch_size=1, held=4, model=part.contract_model)
    (outcome,) = train(benchmark, part, streams(benchmark, [0], blobs(held=4)), [0], CPU)
    found = [told[place - 1 : place + 2] for place, word in enumerate(told) if word != "wait"]
    assert found == [["wait", word, "wait"] for word in warmed]
    assert outcome.clocks["warm_up"] > 0
    assert "ready" not in outcome.clocks


def test_replicates_with_unequally_many_experiences_learn_as_they_do_alone():
    benchmark = PARTS.get("benchmarks", "repeating", {"probability": "0.4", "train_examples": "9"})
    part = strategy("er", buffer_size=20)
    data = load("digits", Path())
    seeds = [0, 1, 2]
    three = streams(benchmark, seeds, data)
    assert [len(stream) for stream in three] == [11, 7, 11]
    together = train(benchmark, part, three, seeds, CPU)
    for stream, seed, outcome in zip(three, seeds, together, strict=True):
        (alone,) = train(benchmark, part, [stream], [seed], CPU)
        assert outcome.correct == alone.correct
        assert len(outcome.correct) == len(stream) + 1
