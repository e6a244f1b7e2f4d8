"""Frames are shared by the tables of a report, and never go stale."""

from retrograde.metrics.frames import cached_per_report, cell_labels, ordered, score_frame, streams
from retrograde.metrics.matrix import METRICS


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
