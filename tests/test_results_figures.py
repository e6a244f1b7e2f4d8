"""Rules of every figure, and the figures of scores and cost."""

import random

import numpy as np
import pytest

from retrograde.metrics.frames import cell_labels
from retrograde.parts.registry import Registry
from retrograde.records.experiences import Experiences
from retrograde.reporting.looks import legend_lines, looks
from retrograde.reporting.plotting import FORMATS, grouped, style
from retrograde.reporting.report import figures
from retrograde.reporting.request import Request
from retrograde.reporting.result import FigureResult

PARTS = Registry()
DRAWINGS = [
    name for name in PARTS.names("results") if issubclass(PARTS.find("results", name), FigureResult)
]
ODD = "$a_b$ {x} \\frac%&<é>"
EACH = pytest.mark.parametrize("name", DRAWINGS)
OF_STREAMS = ["accuracy_cost", "accuracy_tasks", "forgetting"]


@pytest.fixture(scope="module")
def records(make_record):
    """On two benchmarks three strategies and an upper bound; one of them on a single benchmark; one replicate of another."""
    ends = {"er": 80, "finetune": 10, "gem": 60, "joint": 95}
    made = [
        make_record(name, s, ((10, 10), (90, 20), (end + s, 90 - s)), benchmark=benchmark, upper_bound=name == "joint",
                    clocks={"train": end / 10, "evaluate": 1.0})
        for benchmark in ("rotated", "split") for name, end in ends.items() for s in range(3)
        if (benchmark, name) != ("split", "gem")
    ]  # fmt: skip
    return [
        *made,
        make_record(ODD, overrides={"name": ODD}),
        make_record("si", 0, (), status="failed"),
    ]


def draw(name, records):
    return PARTS.get("results", name).figure(records)


@EACH
def test_a_figure_of_nothing_is_none(name, make_record):
    assert draw(name, []) is None
    assert draw(name, [make_record(status="failed", correct=())]) is None


@pytest.mark.parametrize("form", FORMATS)
def test_the_order_of_the_records_changes_no_byte(records, form):
    shuffled = random.Random(0).sample(records, len(records))
    first, again = (
        {name: FORMATS[form](each) for name, each in figures(some, PARTS)}
        for some in (records, shuffled)
    )
    assert first == again
    assert set(first) >= set(OF_STREAMS)


@pytest.mark.parametrize("name", OF_STREAMS)
def test_names_that_mathtext_would_read_are_shown_as_they_are(name, make_record):
    made = [make_record(odd, overrides={"x": f"$y^{n}$"}) for odd in (ODD, "er") for n in (1, 2)]
    with style():
        drawn = FORMATS["svg"](draw(name, made)).decode()
    assert drawn.count("$y^2$") >= 2
    assert "$a_b$" in drawn


def test_one_strategy_has_one_colour_and_no_two_look_alike(make_record):
    names = [f"s{i:02}" for i in range(25)]
    made = [make_record(name, overrides={"buffer_size": size}) for name in names for size in (1, 2)]
    styles = looks(cell_labels(made))
    assert all(
        styles[f"{name} buffer_size=1"].colour == styles[f"{name} buffer_size=2"].colour
        for name in names
    )
    assert len({(each.colour, each.dash) for each in styles.values()}) == len(styles)
    assert len({(each.colour, each.marker) for each in styles.values()}) == len(styles)


def test_a_strategy_with_other_settings_on_each_benchmark_has_one_look_and_one_name(make_record):
    made = [make_record("er", benchmark=f"b{n}", buffer_size=n) for n in (1, 2)]
    made += [make_record("gem", buffer_size=n) for n in (1, 2)]
    styles = looks(cell_labels(made))
    assert styles["er buffer_size=1"] == styles["er buffer_size=2"]
    assert [entry.get_label() for entry in legend_lines(styles, styles)] == [
        "er",
        "gem buffer_size=1",
        "gem buffer_size=2",
    ]


def test_each_benchmark_has_a_row_of_panels_under_its_whole_name():
    figure, axes = grouped({"long," * 40: ["a", "b,c"], "short": ["a"]})
    first, second, third = axes.values()
    assert first.get_title("left").strip().replace("\n", "") == "long," * 40
    assert (
        first.get_subplotspec().rowspan
        == second.get_subplotspec().rowspan
        != third.get_subplotspec().rowspan
    )
    assert [axis.get_title() for axis in figure.axes] == ["a", "b,c", "a"]


def test_names_of_many_panels_fill_rows_evenly():
    _, axes = grouped({"x": list("abcdef")})
    assert [axis.get_subplotspec().rowspan.start for axis in axes.values()] == [0, 0, 0, 1, 1, 1]


def test_losses_that_diverge_have_ticks_and_intervals_below_0_do_not_stretch_the_axis(make_adapted):
    ends = [[[4, 4], [loss, loss]] for loss in (1, 1e9, 2)]
    made = [make_adapted("maml", seed, values) for seed, values in enumerate(ends)]
    axis = draw("adaptation_curves", made).axes[0]
    low, high = axis.get_ylim()
    assert 1 < low < 4
    assert sum(low <= tick <= high for tick in axis.get_yticks()) > 2


def test_the_first_figure_has_the_accuracy_on_all_that_was_seen_within_what_is_possible(
    make_record,
):
    rows = [((10, 10), (100, 20), (end, 90)) for end in (80, 100)]
    made = [make_record("er", seed, each) for seed, each in enumerate(rows)]
    name, figure = next(figures(made, PARTS))
    (axis,) = figure.axes
    assert name == "accuracy_seen"
    # after both tasks (80 + 90) / 2 and (100 + 90) / 2
    assert axis.lines[0].get_xydata().tolist() == [[1, 100], [2, 90]]
    low, high = axis.collections[0].get_datalim(axis.transData).intervaly
    assert (low < 40, high) == (True, 100)


def test_forgetting_of_a_task_is_its_best_accuracy_less_the_last_one(make_record):
    rows = ((10, 10, 10), (90, 20, 10), (70, 80, 20), (50, 85, 90))
    (axis,) = draw("forgetting_tasks", [make_record("er", correct=rows)]).axes
    # the last task has nothing to forget; the second is better at the end than ever before
    assert axis.lines[0].get_xydata() == pytest.approx(np.array([[1, 40], [2, -5]]))


def test_in_print_a_figure_is_as_wide_as_asked_and_its_title_is_left_to_the_caption(records):
    asked = Request(("pdf",), only=("accuracy_seen",))
    (_, wide), (_, narrow) = (
        next(figures(records, PARTS, asked, width=width)) for width in (None, 3.3)
    )
    assert (wide.get_figwidth(), narrow.get_figwidth()) == (10, 3.3)
    assert (wide.get_suptitle() != "", narrow.get_suptitle()) == (True, "")
    rows = [axis.get_subplotspec().rowspan.start for axis in narrow.axes]
    assert rows == [*range(len(rows))]
    assert narrow.axes[-1].get_xlabel() == "tasks trained"
    legend = narrow.legends[0].get_window_extent().width / narrow.dpi
    assert legend < 3.3


def test_the_heat_map_has_the_means_after_each_task(records):
    axis = next(axis for axis in draw("accuracy_tasks", records).axes if axis.get_title() == "er")
    assert axis.images[0].get_array().round(6).tolist() == [[90, 20], [81, 89]]
    assert [text.get_text() for text in axis.texts] == ["90", "20", "81", "89"]


def test_the_heat_map_has_a_row_for_each_experience(make_record):
    rows = ((10, 10), (90, 20), (70, 80), (80, 60))
    figure = draw(
        "accuracy_tasks", [make_record(correct=rows, experiences=Experiences(3, [0, 1], [2, 1]))]
    )
    axis = figure.axes[0]
    assert axis.images[0].get_array().round(6).tolist() == [[90, 20], [70, 80], [80, 60]]
    assert [text.get_text() for text in axis.texts] == ["90", "20", "70", "80", "80", "60"]
    assert axis.get_ylim() == (3.5, 0.5)
    assert figure.get_supylabel() == "experiences trained"


def test_forgetting_has_a_mark_for_every_strategy_the_most_accurate_highest(records):
    figure = draw("forgetting", records)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["finetune", "gem", "er", "joint †"]
    marks = [line.get_xdata()[0] for line in figure.axes[1].lines]
    assert marks == pytest.approx(
        [79, 29, 9, -6]
    )  # 90 less what is left of the first task: 11, 61, 81, 96


def test_cost_joins_what_nothing_beats_in_both(records):
    axis = next(
        axis for axis in draw("accuracy_cost", records).axes if axis.get_title() == "rotated"
    )
    front = axis.lines[0]
    assert front.get_xdata().tolist() == pytest.approx(
        [0.2, 1.2, 1.6]
    )  # finetune, gem, er, not joint: seconds of a fifth
    assert front.get_ydata().tolist() == sorted(front.get_ydata())


def test_clocks_of_two_machines_share_no_panel(make_record):
    made = [
        make_record(name, s, machine={"cpu": cpu})
        for name in ("er", "si")
        for s, cpu in enumerate(("A", "B"))
    ]
    titles = [axis.get_title() for axis in draw("accuracy_cost", made).axes]
    assert [title.split()[2] for title in titles] == ["A", "B"]
