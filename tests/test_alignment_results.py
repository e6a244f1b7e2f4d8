"""What probes of the gradients along streams are turned into: the frame, the table of alignment, and its figures."""

import random

import numpy as np
import pytest

from retrograde.alignment import EXPLAINING, alignment_frame, correlations, replicate_frame
from retrograde.figure import FORMATS, wrapped
from retrograde.frame import labels
from retrograde.record import Record
from retrograde.registry import Registry
from retrograde.render import FORMATS as RENDERED
from retrograde.report import figures

PARTS = Registry()
FIGURES = ["alignment_forgetting", "alignment_stream", "alignment_tasks"]
X, Y = np.eye(2)


def looks(records):
    return alignment_frame(records, labels(records))


def replicates(records):
    return replicate_frame(records, labels(records))


def table(records):
    return PARTS.get("results", "alignment").table(records)


def draw(name, records):
    return PARTS.get("results", name).figure(records)


def rows(section):
    return {row[0].text: dict(zip(section.columns, (entry.text for entry in row), strict=True)) for row in section.rows}


@pytest.fixture
def probes(look):
    """Three tasks: the second conflicts with the first and raises its loss by 3 in two looks; the third helps both."""
    return [
        look(0, [X, -X], [1, 2]),
        look(1, [X, X], [2, 1], X, ended=False, step=15),
        look(1, [X, -X, 3 * Y], [4, 1, 2], 2 * Y),
        look(2, [X, Y, Y], [3, 3, 1], -X - Y),
    ]


@pytest.fixture
def records(make_probed):
    """On two benchmarks four strategies and an upper bound, three replicates each."""
    ends = {"er": 80, "finetune": 40, "gem": 70, "agem": 60, "joint": 90}
    return [
        make_probed(name, seed, (end - seed, 90, 90), benchmark=benchmark, upper_bound=name == "joint", slope=end / 100)
        for benchmark in ("rotated", "split") for name, end in ends.items() for seed in range(3)
    ]  # fmt: skip


# The frame


def test_each_measure_at_each_look_is_that_computed_by_hand(make_probed, probes):
    frame = looks([make_probed(probes=probes)])
    found = {metric: list(zip(part.trained, part.value, strict=True)) for metric, part in frame.groupby("metric")}
    assert found == {
        "arriving": [(1, -1.0), (2, 0.0)],
        "conflict": [(1, 1.0), (2, 0.0)],
        "among": [(2, -1.0), (3, 1 / 3)],
        "update": [(1.5, -1.0), (2, 0.0), (3, 0.7071)],
        "predicted": [(1.5, 1.0), (2, 0.0), (3, -1.0)],
        "real": [(1.5, 1.0), (2, 2.0), (3, 0.5)],
    }


def test_a_replicate_has_means_over_task_ends_and_changes_for_each_task(make_probed, probes):
    frame = replicates([make_probed(probes=probes)]).set_index("metric").value
    assert frame.drop(["ACC", "forgetting"]).to_dict() == pytest.approx(
        {"arriving": -0.5, "conflict": 0.5, "among": 1 / 3, "update": -0.2929 / 3, "predicted": 0, "real": 1.75}
    )
    assert (frame["ACC"], frame["forgetting"]) == pytest.approx((0.8666667, 0.05))  # 80, 90, 90, all once 90


def test_records_that_are_not_done_or_have_no_probes_are_left_out(make_probed, make_record):
    assert looks([make_record(), make_probed(status="diverged")]).empty
    assert list(replicates([make_record()]).columns) == list(replicates([make_probed()]).columns)


# Correlation with forgetting


def test_the_correlation_of_cells_is_that_computed_by_hand_and_leaves_upper_bounds_out(make_probed, look):
    def cell(name, forgotten, sine, **more):
        gradients = [[1, 0], [sine, (1 - sine**2) ** 0.5]]
        return [
            make_probed(name, s, (90 - forgotten, 90), probes=[look(0, gradients), look(1, gradients)], **more) for s in (0, 1)
        ]

    found = [("a", 10, 0.9), ("b", 20, 0.5), ("c", 30, 0.7), ("d", 40, 0.1)]  # ranks 1, 2, 3, 4 and 4, 2, 3, 1
    made = [record for each in found for record in cell(*each)] + cell("joint", 0, -1.0, upper_bound=True)
    related = correlations(replicates(made))["split", "arriving"]
    assert related == pytest.approx((1 - 6 * 18 / (4 * 15), 8 / 24, 4))


def test_several_benchmarks_are_correlated_each_and_all_together(records):
    related = correlations(replicates(records))
    assert list(related) == [(benchmark, measure) for benchmark in ("rotated", "split", "") for measure in EXPLAINING]
    assert [related[benchmark, "update"].n for benchmark in ("rotated", "split", "")] == [4, 4, 8]


def test_three_cells_have_a_correlation_without_a_p_and_two_have_none(make_probed):
    made = [make_probed(name, 0, (end, 90, 90)) for name, end in (("er", 80), ("gdumb", 70), ("finetune", 60))]
    three, two = (rows(table(some).sections[-1])["split"]["cos arriving"] for some in (made, made[:2]))
    assert three.endswith("(no p, n = 3)")
    assert two == "– (n = 2)"


# The table


def test_the_table_has_every_measure_with_its_interval_and_its_estimator(make_probed, look):
    gradients = [[1, 0], [0.6, 0.8]]
    made = [
        make_probed(seed=s, ends=(80, 90), probes=[look(0, gradients, [1, 1]), look(1, gradients, [1 + s, 1], [0, 1])])
        for s in (0, 1)
    ]
    section, _ = table([*made, make_probed("joint", ends=(80, 90), probes=[], upper_bound=True)]).sections
    assert section.heading == "split — gradients on up to 50 test examples of each task"
    assert rows(section)["er"] == {
        "strategy": "er", "ACC %": "85.00 ± 0.00", "forgetting %": "10.00 ± 0.00", "cos arriving": "0.6000 ± 0.0000",
        "conflict %": "0.00 ± 0.00", "cos among": "0.6000 ± 0.0000", "update": "0.0000 ± 0.0000",
        "predicted change": "0.0000 ± 0.0000", "real change": "0.5000 ± 6.3531", "n": "2",
    }  # fmt: skip
    assert (rows(section)["joint †"]["ACC %"], rows(section)["joint †"]["update"]) == ("85.00", "–")


def test_benchmarks_without_probes_have_no_section_and_what_diverged_has_a_row(make_probed, make_record):
    lost = make_probed("wild", probes=[], status="diverged")
    section, _ = table([make_probed(), lost, make_record(benchmark="rotated")]).sections
    assert section.heading.startswith("split")
    assert (rows(section)["wild"]["cos arriving"], rows(section)["wild"]["n"]) == ("–", "0 (1 diverged)")


def test_probes_of_a_benchmark_that_does_not_say_how_many_examples_are_shown_all_the_same(make_probed):
    section, _ = table([make_probed(probe=None)]).sections
    assert section.heading == "split — gradients on test examples of each task"


def test_cells_of_the_same_text_but_other_settings_have_rows_and_sections_of_their_own(make_probed):
    made = table([make_probed(), make_probed(memory=7), make_probed(probe=7), make_probed(data="other")])
    assert sorted(len(section.rows) for section in made.sections[:-1]) == [1, 1, 2]


def test_the_tidy_numbers_hold_the_correlations_without_a_strategy(records):
    tidy = table(records).tidy
    related = tidy[tidy.strategy == ""]
    assert len(related) == 3 * len(EXPLAINING)
    assert related["mean"].between(-1, 1).all()
    assert related.p.between(0, 1).all()
    assert tidy[tidy.strategy != ""].n.unique().tolist() == [3]


@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_the_records_and_a_stay_on_disk_change_no_byte(records, seed):
    shuffled = random.Random(seed).sample(records, len(records))
    again = [Record.from_json(record.to_json()) for record in shuffled]
    assert all(render(table(again)) == render(table(records)) for render in RENDERED.values())


# The figures


def test_every_figure_is_drawn_from_probes_and_none_without(records, make_record):
    assert [name for name, _ in figures(records, PARTS) if name.startswith("alignment")] == FIGURES
    assert not {name for name, _ in figures([make_record()], PARTS)}.intersection(FIGURES)


def test_a_figure_of_alignment_has_the_same_bytes_again(records):
    few = records[::3] + records[1:3]  # one with several replicates
    first, again = ({name: FORMATS["svg"](f) for name, f in figures(some, PARTS)} for some in (few, few[::-1]))
    assert first == again


def test_the_heat_map_has_the_mean_cosines_below_the_diagonal(make_probed, look):
    turned = [[look(0, [X, Y]), look(1, [X, (1, 0.75)])], [look(0, [X, Y]), look(1, [X, Y])]]
    figure = draw("alignment_tasks", [make_probed(seed=s, ends=(80, 90), probes=looks) for s, looks in enumerate(turned)])
    axis = figure.axes[0]
    assert axis.collections[0].get_array().tolist() == [0.4]  # 0.8 and 0
    assert axis.collections[0].get_offsets().tolist() == [[1, 2]]
    assert [text.get_text() for text in axis.texts] == ["0.400"]
    assert "on up to 50 test examples" in figure.get_suptitle()


def test_many_tasks_have_minus_signs_in_place_of_numbers(make_probed, look):
    record = make_probed(ends=[90] * 8, probes=[look(7, [X, -X, *[X] * 6])])
    (axis, _) = draw("alignment_tasks", [record]).axes
    x, y = axis.lines[0].get_data()
    assert not axis.texts
    assert list(zip(x[::3] + 0.2, y[::3], strict=True)) == [(1, 2), *((2, row) for row in range(3, 9))]


def test_the_stream_shows_means_against_tasks_trained(make_probed, probes):
    figure = draw("alignment_stream", [make_probed(seed=s, probes=probes) for s in (0, 1)])
    lines = {axis.get_ylabel(): list(zip(*axis.lines[0].get_data(), strict=True)) for axis in figure.axes}
    assert lines["cosine, next task"] == [(1, -1), (2, 0)]
    assert lines["update, earlier tasks"] == [(1.5, -1), (2, 0), (3, 0.7071)]


def test_forgetting_is_shown_against_alignment_with_intervals_and_the_correlation(records):
    figure = draw("alignment_forgetting", records)
    related = correlations(replicates(records))["", "arriving"]
    assert f"ρ = {related.rho:.2f}" in figure.axes[0].get_title()
    assert "n = 8 cells" in figure.axes[0].get_title()
    marks = [container.lines[0] for container in figure.axes[0].containers]
    assert len(marks) == 10
    assert sum(mark.get_markerfacecolor() == "none" for mark in marks) == 2
    assert len({mark.get_marker() for mark in marks}) == 2


def test_figures_of_the_probes_of_one_task_are_none(make_probed, look):
    assert list(figures([make_probed(ends=(90,), probes=[look(0, [X])])], PARTS)) == []


def test_long_names_are_broken_after_commas_and_lose_nothing():
    assert wrapped("split:dataset=mnist,class_order=0,1 er", 22) == "split:dataset=mnist,\nclass_order=0,1 er"


def test_each_layer_has_its_own_mean_cosine_at_the_end(make_probed, look):
    import dataclasses

    last = dataclasses.replace(look(1, np.stack([X, Y])), layers={"1": [0.25], "head": [-0.5]})
    *_, layers, _ = table([make_probed(probes=[last])]).sections
    assert layers.heading == "split — cos among, of each layer alone"
    assert rows(layers) == {"er": {"strategy": "er", "1": "0.2500", "head": "-0.5000"}}
