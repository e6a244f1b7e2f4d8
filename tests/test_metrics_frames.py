"""Frames are shared by the tables of a report, and never go stale."""

import numpy as np
import pytest

from retrograde.metrics.frames import cached_per_report, cell_labels, ordered, score_frame, streams
from retrograde.metrics.matrix import METRICS
from retrograde.metrics.metric import Metric
from retrograde.records.class_counts import ClassCounts
from retrograde.records.experiences import Experiences


def test_what_is_made_of_a_tuple_of_records_is_made_once_for_every_argument(make_record):
    made = []

    @cached_per_report
    def count(records, name="a"):
        made.append((len(records), name))
        return len(made)

    one, other = (make_record(),), (make_record(), make_record(seed=1))
    assert [count(one), count(one), count(one, "b"), count(one), count(other), count(one)] == [
        1,
        1,
        2,
        1,
        3,
        4,
    ]
    assert made == [(1, "a"), (1, "b"), (2, "a"), (1, "a")]


def test_of_a_list_which_may_change_it_is_made_every_time(make_record):
    records = [make_record()]
    first = score_frame(records, cell_labels(records))
    records.append(make_record(seed=1))
    assert len(score_frame(records, cell_labels(records))) == 2 * len(first)


def test_the_frame_of_all_scores_is_that_of_each_metric_alone(make_record):
    records = tuple(
        make_record(seed=seed, upper_bound=bound) for seed in (1, 0) for bound in (False, True)
    )
    label = cell_labels(records)
    whole = score_frame(records, label)
    assert list(whole.seed[: len(whole) // 2]) == [0] * (len(whole) // 2)
    for metric in METRICS:
        alone = score_frame(records, label, [metric])
        assert alone.to_csv() == whole[whole.metric == metric.name].reset_index(drop=True).to_csv()


def test_records_of_which_all_are_streams_are_those_of_streams(make_record, make_adapted):
    records = (make_record(), make_record(seed=1))
    assert streams(records) is records
    assert streams((*records, make_adapted())) == records
    assert [record.seed for record in ordered(records[::-1])] == [0, 1]


def test_a_metric_of_ones_own_that_needs_the_matrix_alone_gets_one_stack(make_record):
    stacks = []

    def last(r):
        stacks.append(r.shape)
        return r[..., -1, -1]

    records = [make_record(seed=0), make_record(seed=1, experiences=Experiences(2, [0, 0], [1, 1]))]
    found = score_frame(records, cell_labels(records), [Metric("last", last, "", "")])
    assert found.value.tolist() == [0.9, 0.9]
    assert stacks == [(2, 3, 2)]


def test_replicates_that_learn_their_tasks_at_other_times_are_scored_each_with_its_own(make_record):
    rows = ((10, 20), (90, 30), (70, 80), (80, 60))
    orders = [([0, 1], [2, 1]), ([0, 1], [0, 2]), ([0, 0], [2, 2])]
    records = [
        make_record(seed=seed, correct=rows, experiences=Experiences(3, first, learned))
        for seed, (first, learned) in enumerate(orders)
    ]
    frame = score_frame(records, cell_labels(records))
    values = frame.pivot_table(index="metric", columns="seed", values="value")
    assert values.loc["LA"].tolist() == pytest.approx([0.8, 0.75, 0.7])
    assert values.loc["BWT"].tolist() == pytest.approx([-0.2, -0.1, np.nan], nan_ok=True)
    assert values.loc["FWT"].tolist() == pytest.approx([0.1, 0.1, np.nan], nan_ok=True)


@pytest.mark.parametrize(("of_task", "has_score"), [([0, 1], False), ([0, 0, 1, 1], True)])
def test_tasks_of_one_class_have_no_task_aware_score_which_would_always_be_100(
    make_record, of_task, has_score
):
    classes = len(of_task)
    counts = ClassCounts(
        task=of_task,
        output=[*range(classes)],
        examples=[200 // classes] * classes,
        first=of_task,
        correct=[[10] * classes] * 3,
        predicted=[],
    )
    record = make_record(correct_given_task=[[100, 100]] * 3, classes=counts)
    found = set(score_frame([record], cell_labels([record])).metric)
    assert "ACC" in found
    assert ("ACC_task_aware" in found) is has_score
