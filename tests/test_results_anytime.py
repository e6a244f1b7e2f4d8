"""The table and the figure of accuracy along the stream, and what tests on the way cost."""

import pytest

from retrograde.parts.registry import Registry
from retrograde.records.experiences import Experiences
from retrograde.records.online_accuracy import OnlineAccuracy
from retrograde.reporting.formats import FORMATS as RENDERED
from retrograde.reporting.plotting import FORMATS

PARTS = Registry()
SEEDS = range(5)


def table(records, name="anytime"):
    return PARTS.get("results", name).table(records)


def draw(records):
    return PARTS.get("results", "accuracy_stream").figure(records)


@pytest.fixture
def watched(make_record):
    """A record of two tasks, of which the first falls at the switch to what is given, and ends at 80 percent."""

    def make(strategy, lowest, seed=0, **fields):
        history = OnlineAccuracy(
            [10, 10],
            [0, 0, 0, 1, 1, 1],
            [0, 1, 2, 3, 4, 5],
            [[1], [5], [9, 2], [6, 4], [lowest, 7], [8, 9]],
        )
        history = None if fields.get("status") else history
        return make_record(
            strategy, seed, settings={"eval_every": 1}, online_accuracy=history, **fields
        )

    return make


@pytest.fixture
def records(watched):
    lowest = {"er": (4, 5, 5, 4, 5), "finetune": (1, 2, 0, 1, 1), "joint": (5, 6, 6, 5, 6)}
    return [
        watched(name, falls[seed], seed, upper_bound=name == "joint")
        for name, falls in lowest.items()
        for seed in SEEDS
    ]


def test_the_table_has_the_scores_of_each_strategy_and_marks_the_best(records):
    (section,) = table(records).sections
    assert section.columns[:6] == (
        "strategy",
        "AAA",
        "min_ACC",
        "WC_ACC",
        "stability_gap",
        "recovery",
    )
    rows = {row[0].text: row for row in section.rows}
    assert [rows[name][4].text for name in ("er", "finetune", "joint †")] == [
        "44.00 ± 6.80",
        "80.00 ± 8.78",
        "34.00 ± 6.80",
    ]
    assert [name for name, row in rows.items() if row[4].bold] == ["er"]
    assert [row[-1].text for row in section.rows] == ["5", "5", "5"]


def test_a_score_whose_window_no_test_fits_has_no_column(records):
    (section,) = table(records).sections
    assert "WF10" in section.columns
    assert "LCA10" not in section.columns  # tasks of fewer than ten steps


def test_a_strategy_that_diverged_is_in_the_table_with_its_count(records, watched):
    (section,) = table([*records, watched("sgd", 0, status="diverged")]).sections
    assert [(row[1].text, row[-1].text) for row in section.rows if row[0].text == "sgd"] == [
        ("–", "0 (1 diverged)")
    ]


def test_records_that_were_tested_at_ends_alone_are_left_out(make_record, make_adapted):
    others = [make_record(), make_adapted()]
    assert table(others).sections == ()
    assert draw(others) is None


def test_the_order_of_the_records_changes_no_byte(records):
    assert all(
        render(table(records)) == render(table(records[::-1])) for render in RENDERED.values()
    )
    first, again = (FORMATS["svg"](draw(some)) for some in (records[:4], records[3::-1]))
    assert first == again


def test_the_figure_has_the_first_task_and_the_mean_so_far_with_a_mark_at_the_switch(watched):
    first, so_far = draw([watched("er", 4)]).axes
    assert first.lines[0].get_xydata()[:, 1].tolist() == [10, 50, 90, 60, 40, 80]
    assert so_far.lines[0].get_xydata()[:, 1] == pytest.approx([10, 50, 90, 50, 55, 85])
    assert first.lines[0].get_xydata()[:, 0] == pytest.approx([0, 0.5, 1, 1.34, 1.67, 2])
    assert [line.get_xdata() for line in first.lines if len(line.get_xdata()) == 2] == [[1, 1]]


def test_the_figure_has_the_mean_over_tasks_that_are_seen_together(make_record):
    rows = [[1, 2], [6, 4], [3, 5]]
    history = OnlineAccuracy([10, 10], [0, 0, 1], [0, 5, 10], rows)
    both = Experiences(2, [0, 0], [1, 1])
    _, so_far = draw([make_record(online_accuracy=history, experiences=both)]).axes
    assert so_far.lines[0].get_xydata()[:, 1] == pytest.approx([15, 50, 40])
    assert so_far.lines[0].get_xydata()[:, 0].tolist() == [0, 1, 2]


def test_what_the_tests_took_is_in_the_timings_where_there_were_any(make_record):
    clocks = {"train": 2.0, "evaluate": 0.5, "online": 7.0}
    (section,) = table([make_record(clocks=clocks), make_record("sgd")], "timing").sections
    place = section.columns.index("online s")
    assert [row[place].text for row in section.rows] == ["7", "0"]
    assert "online s" not in table([make_record()], "timing").sections[0].columns
