"""What a store of episodes is turned into: the table of adaptation, its published rows, and the figures."""

import re

import matplotlib as mpl
import numpy as np
import pytest

from retrograde import published
from retrograde.figure import FORMATS
from retrograde.frame import adaptation_frame, checks_frame, labels
from retrograde.published import Published
from retrograde.registry import Registry
from retrograde.report import figures
from retrograde.result import Drawing
from retrograde.score import METRICS
from retrograde.settings import parse

PARTS = Registry()
SCORES = {metric.name for metric in METRICS}
FIGURES = [
    name for name in PARTS.names("results") if issubclass(PARTS.find("results", name), Drawing) and "alignment" not in name
]


def table(records):
    return PARTS.get("results", "adaptation").table(records)


def rows(section):
    return {row[0].text: dict(zip(section.columns, row, strict=True)) for row in section.rows}


@pytest.fixture
def seeds(make_adapted):
    """Three replicates each of maml, whose loss falls with the steps, and a rival that is always 1 worse."""
    falling = lambda s, worse: [[4 + worse, 2 + worse + s], [3 + worse, 1 + worse + s]]  # noqa: E731
    return [make_adapted(name, s, falling(s, worse)) for s in range(3) for name, worse in (("maml", 0), ("rival", 1))]


def test_losses_are_means_over_tasks_then_replicates_with_the_t_interval_over_replicates(seeds):
    (section,) = table(seeds).sections
    maml = rows(section)["maml"]
    assert section.heading == "sinusoid — loss"
    assert (maml["0 steps"].text, maml["1 step"].text) == ("3.500 ± 1.242", "2.500 ± 1.242")  # 4.3027 * 0.5 / sqrt(3)
    assert (maml["cos new"].text, maml["cos train"].text, maml["n"].text) == ("0.500 ± 0.000", "-0.400 ± 0.000", "3")


def test_accuracies_are_in_percent_and_say_whether_the_queries_shared_statistics(make_adapted):
    made = [
        make_adapted(values=((2, 3), (9, 8)), classified=True, benchmark=name, settings={"transductive": name == "shared"})
        for name in ("shared", "alone")
    ]
    alone, shared = table(made).sections
    assert (alone.heading, shared.heading) == ("alone — accuracy %, non-transductive", "shared — accuracy %, transductive")
    assert rows(shared)["maml"]["1 step"].text == "85.00 ± 63.53"  # a single replicate: 12.706 * 7.07 / sqrt(2) over tasks


def test_bold_marks_what_leads_on_paired_seeds_and_never_an_upper_bound(seeds, make_adapted):
    bounds = [make_adapted("oracle", s, [[0, 0], [0, 0]], upper_bound=True) for s in range(3)]
    (section,) = table([*seeds, *bounds]).sections
    assert {title for title, row in rows(section).items() if row["1 step"].bold} == {"maml"}
    assert "oracle †" in rows(section)


def test_a_column_stands_for_each_usual_step_and_for_the_last_of_every_strategy(make_adapted):
    long = make_adapted("long", values=[[1, 1]] * 8, cosines=[0] * 8)
    (section,) = table([long, make_adapted("short")]).sections
    assert section.columns[1:6] == ("0 steps", "1 step", "3 steps", "5 steps", "7 steps")
    assert rows(section)["short"]["3 steps"].text == "–"


def test_what_diverged_has_a_row_without_numbers(make_adapted):
    (section,) = table([make_adapted(), make_adapted("wild", status="diverged")]).sections
    wild = rows(section)["wild"]
    assert (wild["1 step"].text, wild["cos new"].text, wild["n"].text) == ("–", "–", "0 (1 diverged)")


def test_the_tidy_numbers_hold_both_intervals(seeds):
    tidy = table(seeds).tidy
    (row,) = tidy[(tidy.strategy == "maml") & (tidy.metric == "loss") & (tidy.step == 0)].itertuples()
    halves = 12.7062047 * np.abs([2 / 2, 1 / 2, 0])  # of the t-interval over two tasks that lie 2, 1 and 0 apart
    assert (row.mean, row.ci_high - row.mean, row.n, row.tasks) == pytest.approx((3.5, 1.2420689, 3, 2), abs=1e-6)
    assert row.half_over_tasks == pytest.approx(halves.mean(), abs=1e-6)


ENTRY = {
    "source": "A 2017", "where": "table 1", "checked": "paper", "benchmark": "sinusoid:test_shots=5", "strategy": "maml:lr=0.1",
    "values": {"loss@1": 0.67}, "spread": {"loss@1": 0.1},
}  # fmt: skip


def test_published_numbers_stand_under_their_row_in_the_column_of_their_step(seeds, monkeypatch):
    entry = Published(**ENTRY)
    monkeypatch.setitem(PARTS.find("results", "adaptation").table.__globals__, "published", lambda: (entry,))
    (section,) = table(seeds).sections
    assert [row[0].text for row in section.rows] == ["maml", "– published: A 2017, table 1", "rival"]
    assert [entry.text for entry in section.rows[1][1:3]] == ["", "0.67 ± 0.1"]


@pytest.mark.parametrize(
    ("change", "beside"),
    [
        ({}, True),
        ({"benchmark": "sinusoid"}, True),
        ({"benchmark": "sinusoid:test_shots=10"}, False),
        ({"benchmark": "omniglot"}, False),
        ({"strategy": "fomaml"}, False),
        ({"strategy": "maml:lr=0.2"}, False),
        ({"strategy": "maml:unknown=1"}, False),
    ],
)
def test_published_numbers_stand_beside_cells_that_have_every_setting_they_name(make_adapted, change, beside):
    assert Published(**ENTRY | change).beside(make_adapted().cell) == beside


@pytest.mark.parametrize("entry", published.published(), ids=lambda entry: f"{entry.strategy} {entry.benchmark}")
def test_every_published_entry_names_a_benchmark_a_strategy_and_settings_that_exist(entry):
    for kind, spec in (("benchmarks", entry.benchmark), ("strategies", entry.strategy)):
        PARTS.get(kind, *parse(spec))
    assert set(entry.spread) <= set(entry.values)
    assert all(re.fullmatch(r"(loss|accuracy)@\d+", metric) or metric in SCORES for metric in entry.values)


def test_the_frames_hold_a_row_for_each_replicate_metric_and_step_or_check(seeds):
    assert len(adaptation_frame(seeds, labels(seeds))) == 6 * 2 * 2  # loss and cosine after 0 and 1 steps
    checks = checks_frame(seeds, labels(seeds))
    assert len(checks) == 6 * 2 * 3  # loss and two cosines, twice
    assert checks[(checks.metric == "cosine") & (checks.iteration == 4)].value.unique().tolist() == [0.4]


def test_every_figure_is_drawn_from_episodes_and_none_from_streams(seeds, make_record):
    assert [name for name, _ in figures(seeds, PARTS)] == FIGURES
    assert list(figures([make_record()], PARTS)) == []


@pytest.mark.parametrize("form", FORMATS)
def test_a_figure_has_the_same_bytes_again_whatever_the_users_style(seeds, form, monkeypatch):
    first = {name: FORMATS[form](figure) for name, figure in figures(seeds, PARTS)}
    monkeypatch.setitem(mpl.rcParams, "font.size", 20.0)
    assert {name: FORMATS[form](figure) for name, figure in figures(seeds[::-1], PARTS)} == first


def test_a_line_is_the_mean_and_its_band_the_interval(seeds):
    figure = PARTS.get("results", "adaptation_curves").figure(
        [record for record in seeds if record.cell.strategy.name == "maml"]
    )
    axis = figure.axes[0]
    assert axis.get_ylabel() == "loss"
    assert axis.lines[0].get_ydata().tolist() == [3.5, 2.5]
    band = axis.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((2.5 - 1.2420689, 3.5 + 1.2420689), abs=1e-6)
