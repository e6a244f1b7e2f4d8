"""Cells: a strategy and a benchmark that do not go together are refused before anything trains."""

import pytest
import torch

from retrograde.contract.toys import Blobs, blobs
from retrograde.errors import UserError
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.training.cell_check import check

PARTS = Registry()
DATA = blobs()
CPU = torch.device("cpu")
OF_TASKS = ("separate", "xdg", "hal", "packnet", "progressive", "generative_replay", "gem")
"""Strategies for which an experience stands for its task, or tasks come once."""


def check_on(text, **settings):
    """Check a strategy on a toy stream, in a scenario that it does."""
    part = PARTS.get("strategies", *parse(text))
    scenario = "class" if "class" in part.scenarios else part.scenarios[0]
    benchmark = Blobs(scenario=scenario, **settings)
    check(benchmark, part, benchmark.stream(DATA, 0), CPU)


@pytest.mark.parametrize("text", ["ewc", "gdumb", "er:policy=ring", "er:policy=ring-at-end", "lwf"])
def test_strategies_that_need_boundaries_are_refused_without(text):
    check_on(text)
    rule = "needs to know where experiences end, and boundaries=unknown. Choose"
    with pytest.raises(UserError, match=rule):
        check_on(text, boundaries="unknown")


@pytest.mark.parametrize("text", ["er", "derpp", "joint", "finetune"])
@pytest.mark.parametrize("mixed", [False, True])
def test_replay_and_upper_bounds_are_checked_without_boundaries(text, mixed):
    assert check_on(text, boundaries="unknown", mixed=mixed) is None


@pytest.mark.parametrize("text", OF_TASKS)
def test_strategies_with_parts_for_each_task_are_refused_where_experiences_mix_tasks(text):
    check_on(text)
    rule = "needs experiences of one task each; Blobs mixes tasks or brings them back. Choose"
    with pytest.raises(UserError, match=rule):
        check_on(text, mixed=True)


def test_strategies_that_need_experiences_alone_may_mix_tasks():
    assert check_on("ewc", mixed=True) is None


def test_weights_by_tasks_are_refused_without_boundaries():
    check_on("er", weighting="tasks")
    with pytest.raises(UserError, match=r"boundaries=unknown\. Give weighting=examples"):
        check_on("er", weighting="tasks", boundaries="unknown")


def test_weights_by_tasks_are_refused_where_experiences_mix_tasks():
    with pytest.raises(UserError, match="Blobs mixes tasks or brings them back. Give weighting=ex"):
        check_on("er", weighting="tasks", mixed=True)


def test_a_schedule_of_each_experience_is_refused_without_boundaries():
    settings = {"schedule": "cosine", "boundaries": "unknown"}
    with pytest.raises(UserError, match="schedule=cosine over each experience shows where they"):
        Blobs(**settings)
    check_on("er", **settings, schedule_over="stream")


@pytest.mark.parametrize("scenario", ["task", "domain"])
@pytest.mark.parametrize("strategy", ["finetune", "avalanche:class=Naive"])
def test_tasks_of_one_class_are_refused_if_nothing_is_left_to_choose(scenario, strategy):
    part = PARTS.get("strategies", *parse(strategy))
    benchmark = PARTS.get("benchmarks", "split", {"tasks": 10, "scenario": scenario})
    with pytest.raises(UserError, match=f"scenario={scenario}, every task of Split has one, so"):
        check(benchmark, part, benchmark.stream(seed=0), CPU)


@pytest.mark.parametrize("settings", [{"tasks": 10}, {"sizes": (1, 9), "scenario": "task"}])
def test_some_tasks_of_one_class_are_none_the_worse(settings):
    benchmark = PARTS.get("benchmarks", "split", settings)
    part = PARTS.get("strategies", "finetune")
    assert check(benchmark, part, benchmark.stream(seed=0), CPU) is None
