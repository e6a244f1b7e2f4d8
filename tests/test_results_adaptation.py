"""Results of few-shot records: the table of adaptation, its published rows, and the figures."""

import dataclasses

import matplotlib as mpl
import numpy as np
import pytest

from retrograde.metrics.frames import adaptation_frame, cell_labels, evaluations_frame
from retrograde.parts.registry import Registry
from retrograde.records.few_shot import InnerAccount
from retrograde.reporting.plotting import FORMATS
from retrograde.reporting.report import figures

PARTS = Registry()
FIGURES = ["adaptation_curves", "fits", "meta_training"]


def table(records):
    return PARTS.get("results", "adaptation").table(records)


def rows(section):
    return {row[0].text: dict(zip(section.columns, row, strict=True)) for row in section.rows}


@pytest.fixture
def replicates(make_adapted):
    """So many replicates each of maml, whose loss falls with the steps, and a rival that is worse by 1 or somewhat more."""
    falling = lambda s, worse: [[4 + worse, 2 + worse + s], [3 + worse, 1 + worse + s]]  # noqa: E731
    rivals = {"maml": 0, "rival": 1}
    return lambda n: [
        make_adapted(name, s, falling(s, worse * (1 + s / 9)))
        for s in range(n)
        for name, worse in rivals.items()
    ]


@pytest.fixture
def seeds(replicates):
    return replicates(3)


def test_losses_are_means_over_tasks_then_replicates_with_the_t_interval_over_replicates(seeds):
    (section,) = table(seeds).sections
    maml = rows(section)["maml"]
    assert section.heading == "sinusoid — loss"
    assert (maml["0 steps"].text, maml["1 step"].text) == (
        "3.500 ± 1.242",
        "2.500 ± 1.242",
    )  # 4.3027 * 0.5 / sqrt(3)
    assert (maml["cos new"].text, maml["cos train"].text, maml["n"].text) == (
        "0.500 ± 0.000",
        "-0.400 ± 0.000",
        "3",
    )


def test_accuracies_are_in_percent_and_say_whether_the_queries_shared_statistics(make_adapted):
    made = [
        make_adapted(
            values=((2, 3), (9, 8)),
            classified=True,
            benchmark=name,
            settings={"transductive": name == "shared"},
        )
        for name in ("shared", "alone")
    ]
    alone, shared = table(made).sections
    assert (alone.heading, shared.heading) == (
        "alone — accuracy %, non-transductive",
        "shared — accuracy %, transductive",
    )
    assert (
        rows(shared)["maml"]["1 step"].text == "85.00 ± 63.53"
    )  # a single replicate: 12.706 * 7.07 / sqrt(2) over tasks


def test_bold_marks_what_leads_on_paired_seeds_and_never_an_upper_bound(replicates, make_adapted):
    bounds = [make_adapted("oracle", s, [[0, 0], [0, 0]], upper_bound=True) for s in range(5)]
    (section,) = table([*replicates(5), *bounds]).sections
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
    assert (wild["1 step"].text, wild["cos new"].text, wild["n"].text) == (
        "–",
        "–",
        "0 (1 diverged)",
    )


def test_the_tidy_numbers_hold_both_intervals(seeds):
    tidy = table(seeds).tidy
    (row,) = tidy[
        (tidy.strategy == "maml") & (tidy.metric == "loss") & (tidy.step == 0)
    ].itertuples()
    halves = 12.7062047 * np.abs(
        [2 / 2, 1 / 2, 0]
    )  # of the t-interval over two tasks that lie 2, 1 and 0 apart
    assert (row.mean, row.ci_high - row.mean, row.n, row.tasks) == pytest.approx(
        (3.5, 1.2420689, 3, 2), abs=1e-6
    )
    assert row.half_over_tasks == pytest.approx(halves.mean(), abs=1e-6)


def test_published_numbers_stand_under_their_row_in_the_column_of_their_step(
    seeds, make_published, literature
):
    entry = make_published(
        {"loss@1": "0.67"}, benchmark="sinusoid:test_shots=5", strategy="maml:inner_lr=0.1"
    )
    literature("adaptation", entry)
    (section,) = table(seeds).sections
    assert [row[0].text for row in section.rows] == ["maml", entry.title, "rival"]
    assert [entry.text for entry in section.rows[1][1:3]] == ["", "0.67"]


def test_the_frames_hold_a_row_for_each_replicate_metric_and_step_or_check(seeds):
    assert (
        len(adaptation_frame(seeds, cell_labels(seeds))) == 6 * 2 * 2
    )  # loss and cosine after 0 and 1 steps
    checks = evaluations_frame(seeds, cell_labels(seeds))
    assert len(checks) == 6 * 2 * 3  # loss and two cosines, twice
    assert checks[
        (checks.metric == "cosine") & (checks.iteration == 4)
    ].value.unique().tolist() == [0.4]


def test_every_figure_is_drawn_from_episodes_and_none_from_streams(seeds, make_record):
    assert [name for name, _ in figures(seeds, PARTS)] == FIGURES
    assert not {name for name, _ in figures([make_record()], PARTS)}.intersection(FIGURES)


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


def test_the_account_adds_up_inner_steps_and_tells_the_alignment_of_the_first(make_adapted):
    made = [make_adapted(seed=s) for s in (0, 1)]
    for s, record in enumerate(made):
        steps = [InnerAccount(-2.0 - s, -3.0, 1.0, 4.0), InnerAccount(-1.0, -1.0, 0.5, 2.0)]
        object.__setattr__(
            record, "adaptation", dataclasses.replace(record.adaptation, accounts=steps)
        )
    *_, section = table(made).sections
    maml = rows(section)["maml"]
    assert section.heading == "sinusoid — account of 2 inner steps"
    assert maml["observed"].text == "-3.500 ± 6.353"  # of -3 and -4
    assert [maml[name].text for name in ("slope", "curvature", "exposure")] == [
        "-4.000 ± 0.000",
        "1.500 ± 0.000",
        "6.000 ± 0.000",
    ]
    assert maml["remainder"].text == "-1.000 ± 6.353"
    assert maml["alignment"].text == "0.417 ± 0.000"
    assert maml["of the first step"].text == "0.500 ± 0.000"


def test_records_without_accounts_have_no_section_of_them(seeds):
    assert [section.heading for section in table(seeds).sections] == ["sinusoid — loss"]
