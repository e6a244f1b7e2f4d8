import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from retrograde.metrics import matrix
from retrograde.metrics.matrix import METRICS

TWO = np.array([[0.5, 0.5], [0.6, 0.7], [0.8, 0.9]])
TWO_JOINT = np.array([[0.5, 0.5], [0.7, 0.5], [0.75, 0.9]])
THREE = np.array([[0.1, 0.85, 0.3], [0.9, 0.4, 0.2], [0.95, 0.8, 0.5], [0.6, 0.5, 0.7]])
THREE_JOINT = np.array([[0.1, 0.2, 0.3], [0.95, 0.2, 0.3], [0.9, 0.9, 0.3], [0.8, 0.7, 0.85]])
ONE = np.array([[0.1], [0.7]])
ONE_JOINT = np.array([[0.2], [0.9]])
BY_HAND = {
    "ACC": (0.85, 0.6),
    "ACC_task_aware": (0.85, 0.6),
    "ACC_validation": (0.85, 0.6),
    "LA": (0.75, 0.8),
    "BWT": (0.2, -0.3),
    "BTI": (0.1, -0.2),
    "FWT": (0.2, -0.125),
    "forgetting": (-0.2, 0.325),
    "worst_forgetting": (-0.2, 0.35),
    "intransigence": (0.05, 0.1),
}
# Four experiences of three tasks: the second task comes back, the third comes with the second.
REPEATING = np.array(
    [[0.1, 0.2, 0.3], [0.9, 0.4, 0.2], [0.7, 0.8, 0.5], [0.6, 0.5, 0.7], [0.5, 0.9, 0.6]]
)
REPEATING_JOINT = np.array([[0.1] * 3, [0.9] * 3, [0.8, 0.9, 0.7], [0.7, 0.9, 0.9], [0.8] * 3])
FIRST = np.array([0, 1, 1])
LEARNED = np.array([0, 3, 2])
BY_HAND_REPEATING = {
    "ACC": 2 / 3,
    "ACC_task_aware": 2 / 3,
    "ACC_validation": 2 / 3,
    "LA": (0.9 + 0.9 + 0.7) / 3,
    "BWT": (-0.4 - 0.1) / 2,
    "BTI": (-0.4 + 0 - 0.1) / 3,
    "FWT": (0.2 - 0.1) / 2,
    "forgetting": (0.4 + 0.1) / 2,
    "worst_forgetting": 0.4,
    "intransigence": (0 - 0.1 + 0.2) / 3,
}
OF_ONE_TASK = {
    "ACC": 0.7,
    "ACC_task_aware": 0.7,
    "ACC_validation": 0.7,
    "LA": 0.7,
    "BTI": 0.0,
    "intransigence": 0.2,
}
NEED_A_LATER_EXPERIENCE = {"BWT", "FWT", "forgetting", "worst_forgetting"}
METRIC = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)


def matrices(least: int = 1, n: int = 1):
    """`n` matrices R of the same number of tasks, from `least` to 5."""
    accuracies = st.floats(0, 1)
    return st.integers(least, 5).flatmap(
        lambda t: st.tuples(*[arrays(float, (t + 1, t), elements=accuracies)] * n)
    )


def value(metric, r, joint, first=None, learned=None):
    """A metric of R; with an experience for each task, unless `first` and `learned` are given."""
    each = np.arange(r.shape[-1])
    inputs = {
        "R": r,
        "R_task_aware": r,
        "R_validation": r,
        "joint": joint,
        "first": each if first is None else first,
        "learned": each if learned is None else learned,
    }
    return metric.of(*(inputs[need] for need in metric.needs))


def of(score, r):
    """A score of R, with an experience for each task."""
    return score(r, np.arange(r.shape[-1]))


@METRIC
def test_a_metric_gives_what_its_formula_gives_by_hand_for_two_and_for_three_tasks(metric):
    found = value(metric, TWO, TWO_JOINT), value(metric, THREE, THREE_JOINT)
    assert found == pytest.approx(BY_HAND[metric.name], abs=1e-12)


@METRIC
def test_a_metric_gives_what_its_formula_gives_by_hand_where_a_task_comes_back(metric):
    found = value(metric, REPEATING, REPEATING_JOINT, FIRST, LEARNED)
    assert found == pytest.approx(BY_HAND_REPEATING[metric.name], abs=1e-12)


@METRIC
def test_where_every_task_comes_at_once_a_metric_of_change_is_nan_or_0(metric):
    at_once = np.array([[0.1, 0.2], [0.8, 0.6]])
    none = np.zeros(2, int)
    found = value(metric, at_once, at_once, none, none)
    level = 0.7 if metric.name in {"ACC", "ACC_task_aware", "ACC_validation", "LA"} else 0
    expected = math.nan if metric.name in NEED_A_LATER_EXPERIENCE else level
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


@METRIC
@given(matrices(least=2, n=2), st.randoms())
def test_the_order_in_which_tasks_are_called_changes_no_metric(metric, rs, random):
    """Tasks that come together may be named in any order."""
    tasks = rs[0].shape[1]
    first = np.zeros(tasks, int)
    learned = np.array([random.randrange(tasks) for _ in range(tasks)])
    order = random.sample(range(tasks), tasks)
    renamed = [r[:, order] for r in rs]
    found = value(metric, *renamed, first, learned[order])
    assert found == pytest.approx(value(metric, *rs, first, learned), abs=1e-12, nan_ok=True)


@METRIC
def test_with_one_task_a_metric_that_needs_two_is_nan_and_the_others_are_defined(metric):
    expected = OF_ONE_TASK.get(metric.name, math.nan)
    assert value(metric, ONE, ONE_JOINT) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_every_metric_has_a_name_of_its_own_a_version_a_meaning_and_a_source_with_its_year():
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert all(
        metric.version >= 1 and metric.what and metric.source.split(",")[0][-4:].isdigit()
        for metric in METRICS
    )


def test_the_metrics_that_measure_a_loss_and_only_those_are_better_when_lower():
    lower = {metric.name for metric in METRICS if not metric.higher_is_better}
    assert lower == {"forgetting", "worst_forgetting", "intransigence"}


@given(matrices())
def test_interference_is_the_final_accuracy_less_the_learning_accuracy(rs):
    assert of(matrix.bti, *rs) == pytest.approx(matrix.acc(*rs) - of(matrix.la, *rs), abs=1e-12)


@given(matrices(least=2))
def test_backward_transfer_is_interference_spread_over_one_task_fewer(rs):
    tasks = rs[0].shape[1]
    assert of(matrix.bwt, *rs) == pytest.approx(
        of(matrix.bti, *rs) * tasks / (tasks - 1), abs=1e-12
    )


@given(matrices(least=2))
def test_a_task_forgets_at_least_what_it_lost_since_it_was_learned(rs):
    assert of(matrix.forgetting, *rs) >= -of(matrix.bwt, *rs) - 1e-12


@given(matrices(least=2))
def test_the_worst_task_forgets_at_least_as_much_as_the_mean_task(rs):
    assert of(matrix.worst_forgetting, *rs) >= of(matrix.forgetting, *rs) - 1e-12


@given(matrices(), st.randoms())
def test_the_final_accuracy_does_not_depend_on_which_task_is_called_which(rs, random):
    order = random.sample(range(rs[0].shape[1]), rs[0].shape[1])
    assert matrix.acc(rs[0][:, order]) == pytest.approx(matrix.acc(*rs), abs=1e-12)


@METRIC
@given(rs=matrices(least=2, n=2), before=st.floats(0, 1))
def test_only_forward_transfer_looks_at_the_untrained_model(metric, rs, before):
    r, joint = rs
    other = np.vstack([np.full_like(r[:1], before), r[1:]])
    expected = r[0, 1:].mean() - before if metric.name == "FWT" else 0
    assert value(metric, other, joint) - value(metric, r, joint) == pytest.approx(
        expected, abs=1e-12
    )


@pytest.mark.parametrize(
    "change", [matrix.bwt, matrix.bti, matrix.fwt, matrix.forgetting, matrix.worst_forgetting]
)
@given(tasks=st.integers(2, 5), level=st.floats(0, 1))
def test_a_model_whose_accuracy_never_changes_neither_transfers_nor_forgets(change, tasks, level):
    assert of(change, np.full((tasks + 1, tasks), level)) == 0


@given(matrices(n=2))
def test_intransigence_is_the_learning_accuracy_that_joint_training_has_more(rs):
    r, joint = rs
    each = np.arange(r.shape[-1])
    assert matrix.intransigence(r, joint, each) == pytest.approx(
        of(matrix.la, joint) - of(matrix.la, r), abs=1e-12
    )
    assert matrix.intransigence(joint, joint, each) == 0


@METRIC
@given(rs=matrices(least=2, n=2))
def test_accuracies_between_0_and_1_give_accuracies_in_that_range_and_differences_of_at_most_1(
    metric, rs
):
    lowest = 0 if metric.name in {"ACC", "ACC_task_aware", "ACC_validation", "LA"} else -1
    assert lowest <= value(metric, *rs) <= 1 + 1e-12


@given(matrices(least=2), st.floats(0, 1))
def test_forgetting_and_backward_transfer_leave_the_last_task_out(rs, level):
    other = rs[0].copy()
    other[:, -1] = level
    for metric in (matrix.forgetting, matrix.worst_forgetting, matrix.bwt):
        assert of(metric, other) == of(metric, *rs)


@METRIC
@given(st.integers(1, 20), st.integers(1, 6), st.integers(0, 99))
def test_a_stack_of_matrices_has_the_very_scores_of_each_alone(metric, tasks, replicates, draw):
    r, joint = (
        np.random.default_rng(draw).integers(0, 1000, (2, replicates, tasks + 1, tasks)) / 1000
    )
    alone = [float(value(metric, *each)) for each in zip(r, joint, strict=True)]
    assert np.array_equal(value(metric, r, joint), alone, equal_nan=True)
