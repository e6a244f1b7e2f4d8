"""The episode loop: when and on which tasks it evaluates, and the outcome of each replicate."""

from pathlib import Path

import numpy as np
import pytest
import torch

from retrograde.contract.metastrategies import Lines, Slopes
from retrograde.data.sources import load
from retrograde.episodes.distribution import TaskDistribution
from retrograde.errors import UserError
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.running import cell as cells
from retrograde.training import episode_loop
from retrograde.training.adaptation import mean_cosines, measure
from retrograde.training.clocks import Clocks
from retrograde.training.episode_loop import check, train
from retrograde.training.episode_replicas import EpisodeReplicas, Tasks

CPU = torch.device("cpu")
PARTS = Registry()
DIGITS = load("digits", Path())
FewShot, Sinusoid = (PARTS.find("benchmarks", name) for name in ("fewshot", "sinusoid"))
LINES = {
    "iterations": 6,
    "meta_batch_size": 3,
    "test_tasks": 6,
    "test_queries": 6,
    "evaluations": 2,
}
DIGITS_OF = {
    "model": "mlp-8",
    "ways": 2,
    "iterations": 6,
    "meta_batch_size": 3,
    "test_tasks": 6,
    "test_queries": 6,
    "evaluations": 2,
}


@pytest.fixture(autouse=True)
def few_tasks(monkeypatch):
    """Evaluations measure few tasks, to save time."""
    monkeypatch.setattr(episode_loop, "PROBE_TASKS", 5)


@pytest.fixture
def kept(monkeypatch):
    """The replicates that the loop worked with."""
    found = []
    monkeypatch.setattr(
        episode_loop,
        "EpisodeReplicas",
        lambda *arguments: found.append(EpisodeReplicas(*arguments)) or found[-1],
    )
    return found


def strategy(name, **settings):
    return PARTS.find("strategies", name)(**settings)


def run(part, seeds=(0,), data=None, sources=None, progress=lambda _: None, **settings):
    """Meta-train without compiling, on lines or, if there is data, on digits."""
    bench = FewShot(**{**DIGITS_OF, **settings}) if data else Lines(**{**LINES, **settings})
    sources = sources or [bench.distribution(data, seed) for seed in seeds]
    return train(bench, part, sources, list(seeds), CPU, "off", progress)


@pytest.mark.parametrize(
    ("iterations", "evaluations", "expected"),
    [
        (6, 1, [0, 6]),
        (6, 2, [0, 3, 6]),
        (7, 3, [0, 3, 5, 7]),
        (3, 20, [0, 1, 2, 3]),
        (1, 1, [0, 1]),
    ],
)
def test_evaluations_come_before_meta_training_evenly_along_it_and_at_its_end(
    iterations, evaluations, expected
):
    (outcome,) = run(strategy("maml"), iterations=iterations, evaluations=evaluations)
    assert [each.iteration for each in outcome.adaptation.evaluations] == expected


@pytest.mark.parametrize("data", [None, DIGITS], ids=["lines", "digits"])
def test_how_often_meta_training_is_evaluated_does_not_change_what_comes_of_it(data, kept):
    once, often = (
        run(strategy("maml"), (0, 1), data, iterations=7, evaluations=evaluations)
        for evaluations in (1, 7)
    )
    for name, value in kept[0].state.params.items():
        assert torch.equal(value, kept[1].state.params[name])
    for one, other in zip(once, often, strict=True):
        assert (one.adaptation.loss, one.adaptation.correct) == (
            other.adaptation.loss,
            other.adaptation.correct,
        )
        assert (one.adaptation.evaluations[-1], one.counts) == (
            other.adaptation.evaluations[-1],
            other.counts,
        )


def steps_of(told):
    """The steps that were told, without the names of clocks."""
    return [each for each in told if isinstance(each, int)]


def test_progress_counts_every_iteration():
    told = []
    run(strategy("maml"), (0, 1), iterations=7, evaluations=3, progress=told.append)
    assert steps_of(told) == [1] * 7


class Watching(TaskDistribution):
    """Lines that note which tasks were drawn for what."""

    shape, outputs, parameters = (1,), 1, 1

    def __init__(self):
        self.asked = []

    def draw(self, partition, tasks, shots, queries, random):
        self.asked.append((partition, tasks, shots, queries))
        return Slopes().draw(partition, tasks, shots, queries, random)


def test_the_loop_meta_trains_on_training_tasks_watches_validation_tasks_and_is_judged_by_test_tasks():
    source, sizes = Watching(), {"shots": 3, "queries": 2, "test_shots": 4, "test_queries": 6}
    run(strategy("maml"), sources=[source], **sizes)
    assert {asked for asked in source.asked if asked[1] > 1} == {
        ("train", 50 * 3, 3, 2), ("train", 3, 3, 2), ("train", 5, 3, 2), ("validation", 5, 4, 6), ("test", 6, 4, 6),
    }  # fmt: skip
    assert source.asked[-1] == ("test", 6, 4, 6)
    assert [asked[0] for asked in source.asked].count("test") == 1


@pytest.mark.parametrize("data", [None, DIGITS], ids=["lines", "digits"])
def test_a_check_holds_means_over_validation_tasks_of_what_adapting_brought(data, kept):
    for i, outcome in enumerate(run(strategy("maml", test_steps=3), (0, 1), data, test_shots=3)):
        last, new = outcome.adaptation.evaluations[-1], kept[0].draw("validation", 5, "validation")
        measured = measure(kept[0], new)
        assert np.allclose(last.loss, measured.loss[i].mean(1), rtol=1e-3)
        assert np.allclose(
            last.accuracy, measured.correct[i].double().mean(1) / 12 if data else [], rtol=1e-3
        )
        assert np.isclose(last.cosine, mean_cosines(kept[0], new, 0)[i, 0], rtol=1e-3)
        seen = mean_cosines(kept[0], kept[0].draw("train", 5, "probe"), 0, test=False)
        assert np.isclose(last.cosine_seen, seen[i, 0], rtol=1e-3)


@pytest.mark.parametrize("data", [None, DIGITS], ids=["lines", "digits"])
def test_what_is_left_is_what_test_tasks_brought_task_by_task_after_every_step(data, kept):
    for i, outcome in enumerate(run(strategy("maml", test_steps=3), (0, 1), data)):
        tasks, left = kept[0].draw("test", 6, "test"), outcome.adaptation
        measured, first = measure(kept[0], tasks), Tasks(*(part[:, :5] for part in tasks))
        assert np.shape(left.loss) == (4, 6)
        assert np.allclose(left.loss, measured.loss[i], rtol=1e-3)
        assert left.correct == (measured.correct[i].tolist() if data else [])
        assert left.queries == (12 if data else 6)
        assert np.allclose(left.cosine, mean_cosines(kept[0], first, 3)[i], rtol=1e-3)
        assert left.inconsistency() == ""


def test_accuracy_is_the_share_of_right_answers():
    (outcome,) = run(strategy("maml"), data=DIGITS)
    left = outcome.adaptation
    assert left.accuracy.tolist() == [[right / 12 for right in row] for row in left.correct]
    assert 0.2 < left.accuracy.mean() < 1


@pytest.mark.parametrize("data", [None, DIGITS], ids=["lines", "digits"])
def test_a_replicate_alone_equals_itself_in_company(data):
    together, (alone,) = run(strategy("maml"), (0, 1, 2), data), run(strategy("maml"), (1,), data)
    assert np.allclose(alone.adaptation.loss, together[1].adaptation.loss, rtol=1e-3)
    assert not np.allclose(alone.adaptation.loss, together[0].adaptation.loss, rtol=1e-1)
    assert alone.counts == together[1].counts
    assert alone.memory == together[1].memory


def test_the_same_seed_leaves_the_same_again():
    first, second = (run(strategy("maml"), (4,), DIGITS)[0] for _ in range(2))
    assert first.adaptation == second.adaptation


def test_a_model_that_keeps_running_statistics_is_refused_before_meta_training(tmp_path):
    layers = "nn.Linear(1, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, outputs)"
    (tmp_path / "nets.py").write_text(
        f"from torch import nn\ndef net(shape, outputs): return nn.Sequential({layers})\n"
    )
    with pytest.raises(UserError, match="track_running_stats=False"):
        check(Lines(model=f"{tmp_path / 'nets.py'}:net"), strategy("maml"), Slopes())


def test_a_wave_leaves_its_first_test_tasks_as_curves():
    bench = Sinusoid(model="mlp-8", iterations=2, meta_batch_size=2, evaluations=1, test_tasks=4)
    (outcome,) = train(
        bench, strategy("maml", test_steps=3), [bench.distribution(None, 0)], [0], CPU, "off"
    )
    assert [np.shape(fit.predicted) for fit in outcome.adaptation.fits] == [(4, 51)] * 2


LOST = "A parameter became non-finite by meta-iteration 3."
FAILED = "The loss of 6 test tasks became non-finite after 1 inner step."


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        (strategy("maml", inner_lr=1e30), LOST),
        (strategy("maml", meta_lr=1e30), LOST),
        (strategy("scratch", inner_lr=1e30), FAILED),
    ],
    ids=["inner rate", "outer rate", "inner rate at test"],
)
def test_what_becomes_non_finite_is_a_fault_and_leaves_no_number(part, fault):
    for outcome in run(part, (0, 1)):
        assert outcome.divergence == fault
        assert not outcome.finite
        assert outcome.adaptation is None


def test_meta_training_ends_at_the_check_that_finds_no_replicate_sound():
    told = []
    (outcome,) = run(
        strategy("maml", meta_lr=1e30), iterations=50, evaluations=10, progress=told.append
    )
    assert len(steps_of(told)) == outcome.counts["steps"] == 5


def test_the_first_step_after_which_any_test_task_is_lost_is_told_with_the_number_of_tasks():
    nan, inf = torch.nan, torch.inf
    loss, cosine = (
        torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, inf], [inf, nan, 3.0, inf]]),
        torch.zeros(3),
    )
    assert (
        episode_loop._test_divergence(loss, cosine)
        == "The loss of 1 test task became non-finite after 1 inner step."
    )
    assert (
        episode_loop._test_divergence(loss[[0, 0, 2]], cosine)
        == "The loss of 3 test tasks became non-finite after 2 inner steps."
    )
    assert episode_loop._test_divergence(loss[:1], cosine[:1]) == ""


class Wild(Slopes):
    """Lines, of which those of one partition are so steep that after a step their loss has no number."""

    def __init__(self, wild):
        self.wild = wild

    def draw(self, partition, tasks, shots, queries, random):
        drawn = super().draw(partition, tasks, shots, queries, random)
        return drawn._replace(y=drawn.y * np.float32(1e15 if partition == self.wild else 1))


@pytest.mark.parametrize(("partition", "fault"), [("train", LOST), ("test", FAILED)])
def test_a_replicate_that_diverges_leaves_the_others_alone(partition, fault):
    wild, tame = run(strategy("maml"), (0, 1), sources=[Wild(partition), Slopes()])
    assert (wild.divergence, wild.adaptation, tame.divergence) == (fault, None, "")
    assert tame.counts["steps"] == 6
    assert np.allclose(
        tame.adaptation.loss, run(strategy("maml"), (1,))[0].adaptation.loss, rtol=1e-3
    )


class Far(Slopes):
    """Lines so long that the loss has a number and the length of its gradient has none."""

    def draw(self, partition, tasks, shots, queries, random):
        drawn = super().draw(partition, tasks, shots, queries, random)
        return drawn._replace(x=drawn.x * np.float32(1e12), y=drawn.y * np.float32(1e12))


def test_a_cosine_without_a_number_is_a_fault_that_says_so():
    far, tame = run(strategy("scratch", test_steps=0), (0, 1), sources=[Far(), Slopes()])
    fault = "The cosine between the gradients on test tasks became non-finite after 0 inner steps."
    assert (far.divergence, far.adaptation, tame.divergence) == (fault, None, "")


def test_a_check_without_a_number_is_left_out_and_no_fault():
    wild, tame = run(strategy("maml"), (0, 1), sources=[Wild("validation"), Slopes()])
    assert (wild.divergence, wild.adaptation.evaluations) == ("", [])
    assert [each.iteration for each in tame.adaptation.evaluations] == [0, 3, 6]


def test_an_oracle_is_refused_where_tasks_have_no_parameters():
    with pytest.raises(
        UserError,
        match="Oracle sees the parameters of each task, and tasks of FewShot have none. Leave it out.",
    ):
        check(bench := FewShot(), strategy("oracle"), bench.distribution(DIGITS, 0))
    check(bench := Sinusoid(), strategy("oracle"), bench.distribution(None, 0))


MISFITS = {
    "no such model": ("resnet", "maml", "A model is NAME"),
    "a model with too many outputs": ("torch.nn:Identity", "maml", "must give 5 outputs"),
    "a model without a head": (
        "conv",
        "anil:head=top",
        "the model has no module 'top'. Set head to one of",
    ),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_model_that_does_not_fit_is_refused_before_meta_training(misfit):
    model, name, rule = MISFITS[misfit]
    bench = FewShot(model=model)
    with pytest.raises(UserError) as refusal:
        check(bench, PARTS.get("strategies", *parse(name)), bench.distribution(DIGITS, 0))
    assert rule in str(refusal.value)


def test_scratch_takes_no_steps_and_is_looked_at_once():
    told = []
    (outcome,) = run(strategy("scratch", test_steps=3), progress=told.append)
    assert [each.iteration for each in outcome.adaptation.evaluations] == [0]
    assert outcome.counts == {"steps": 0, "incoming": 0, "replayed": 0}
    assert (outcome.how["steps"], outcome.how["compiled"], steps_of(told)) == (0, False, [])
    assert np.shape(outcome.adaptation.loss) == (4, 6)


def test_scratch_adapts_the_models_first_weights(kept):
    (outcome,) = run(strategy("scratch", inner_lr=0.05, test_steps=3))
    fresh = EpisodeReplicas(
        Lines(**LINES), strategy("maml", inner_lr=0.05, test_steps=3), [Slopes()], [0], CPU
    )
    assert np.allclose(
        outcome.adaptation.loss, measure(fresh, fresh.draw("test", 6, "test")).loss[0], rtol=1e-3
    )


@pytest.mark.parametrize(
    ("name", "forward", "backward"),
    [("maml", 5 + 7, 5), ("fomaml:inner_steps=3", 3 * 5 + 7, 3 * 5), ("mamlpp:inner_steps=2", 2 * 5 + 2 * 7, 2 * 5),
     ("pretrain", 5 + 7, 0), ("reptile:inner_steps=3,inner_batch=4,test_steps=2", 3 * 4, 3 * 4)],
)  # fmt: skip
def test_counts_are_exact_and_leave_out_the_outer_backward_pass(name, forward, backward):
    (outcome,) = run(
        PARTS.get("strategies", *parse(name)), iterations=4, meta_batch_size=3, shots=5, queries=7
    )
    assert {key: outcome.counts[key] for key in ("steps", "incoming", "replayed")} == {
        "steps": 4,
        "incoming": 4 * 3 * 12,
        "replayed": 0,
    }
    assert outcome.counts["forward"] == 4 * 3 * forward
    assert outcome.counts.get("backward", 0) == 4 * 3 * backward
    assert outcome.memory["examples"] == 0


def test_the_rows_of_images_are_counted_for_every_way():
    (outcome,) = run(
        strategy("maml"), data=DIGITS, iterations=4, meta_batch_size=3, shots=1, queries=2
    )
    assert (outcome.counts["incoming"], outcome.counts["forward"]) == (4 * 3 * 2 * 3, 4 * 3 * 2 * 3)


@pytest.mark.parametrize(("more", "together"), [(0, 5), (-1, 1)])
def test_replicates_of_a_net_that_leaves_the_cache_train_one_after_the_other(
    monkeypatch, more, together
):
    bench, numbers = FewShot(**DIGITS_OF), (64 * 8 + 8 + 8 * 2 + 2) * 3
    monkeypatch.setattr(cells, "CACHED", numbers + more)

    def cell(name):
        return cells.EpisodeCell(None, bench, strategy(name))

    assert cell("metasgd").at_once(DIGITS, CPU) == together
    assert cell("metasgd").at_once(DIGITS, torch.device("cuda")) == 32
    assert [cell(name).steps(DIGITS) for name in ("maml", "scratch")] == [6, 0]


def test_a_device_is_awaited_before_and_after_warming_up(monkeypatch):
    """Clocks wait for a device where they start and where they stop."""
    told, warm_up = [], EpisodeReplicas.warm_up
    monkeypatch.setattr(Clocks, "_synchronise", lambda _: told.append("wait"))
    monkeypatch.setattr(
        EpisodeReplicas, "warm_up", lambda *given: (told.append("warm_up"), warm_up(*given))[1]
    )
    (outcome,) = run(strategy("maml"))
    place = told.index("warm_up")
    assert told[place - 1 : place + 2] == ["wait", "warm_up", "wait"]
    assert outcome.clocks["warm_up"] > 0
    assert "ready" not in outcome.clocks
