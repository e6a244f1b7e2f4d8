"""The figure of the statistics that strategies log, against means by hand."""

import numpy as np
import pytest

from retrograde.metrics.intervals import t_interval
from retrograde.parts.registry import Registry
from retrograde.records.statistics import Statistics
from retrograde.reporting.plotting import FORMATS, style

PARTS = Registry()


def draw(records):
    return PARTS.get("results", "statistics").figure(records)


def panels(records):
    """The lines of each panel by benchmark and statistic: points, without the marks of switches."""
    found, benchmark = {}, ""
    for axis in draw(records).axes:
        # the first panel of a benchmark bears its name
        benchmark = axis.get_title(loc="left").strip() or benchmark
        lines = [line.get_xydata() for line in axis.lines if line.get_color() != "0.6"]
        found[benchmark, axis.get_ylabel()] = lines
    return found


def logged(means, steps=(5, 10), **more):
    """Statistics of one window for each experience."""
    return Statistics([*range(len(steps))], [*steps], {"penalty": [*means], **more})


@pytest.fixture
def records(make_record):
    """On two benchmarks EWC logs a penalty, on one of them SI logs it too, with a share; ER logs nothing."""
    made = []
    for seed in range(3):
        for benchmark in ("rotated", "split"):
            penalty = logged([seed, 2.0 * seed + 1])
            made.append(make_record("ewc", seed, benchmark=benchmark, statistics=penalty))
            made.append(make_record("er", seed, benchmark=benchmark))
        own = logged([4.0, 5.0], share=[0.25, 0.5])
        made.append(make_record("si", seed, statistics=own))
    return made


def test_a_panel_for_each_benchmark_and_statistic_has_a_line_for_each_strategy(records):
    found = panels(records)
    assert {panel: len(lines) for panel, lines in found.items()} == {
        ("rotated", "penalty"): 1,
        ("split", "penalty"): 2,
        ("split", "share"): 1,
    }
    assert found["split", "share"][0].tolist() == [[1, 0.25], [2, 0.5]]


def test_a_line_is_the_mean_over_replicates_with_its_interval(records):
    axis = draw(records).axes[0]
    assert axis.lines[0].get_xydata().tolist() == [[1, 1], [2, 3]]
    band = axis.collections[0].get_paths()[0].vertices
    spans = [t_interval(np.array(values)) for values in ([0.0, 1, 2], [1.0, 3, 5])]
    for x, span in zip((1, 2), spans, strict=True):
        at = band[band[:, 0] == x, 1]
        assert (at.min(), at.max()) == pytest.approx((span.low, span.high))


def test_the_legend_names_those_that_log_alone(records):
    (legend,) = draw(records).legends
    assert [text.get_text() for text in legend.get_texts()] == ["ewc", "si"]


def test_windows_stand_at_one_place_for_replicates_of_other_lengths(make_record):
    """Windows of four steps: experiences of eight and four steps, and of ten and two."""
    short = Statistics([0, 0, 1], [4, 8, 12], {"penalty": [1.0, 2.0, 3.0]})
    long = Statistics([0, 0, 0, 1], [4, 8, 10, 12], {"penalty": [3.0, 4.0, 6.0, 5.0]})
    pair = [make_record("ewc", s, statistics=each) for s, each in enumerate((short, long))]
    ((line,),) = panels(pair).values()
    # The last window of the short one ends with its experience.
    assert line.tolist() == [[0.4, 2], [0.8, 4], [1, 4], [2, 4]]


def test_a_mean_that_was_not_finite_is_left_out(make_record):
    ((line,),) = panels([make_record(statistics=logged([None, 2.0]))]).values()
    assert line.tolist() == [[2, 2]]
    assert draw([make_record(statistics=logged([None, None]))]) is None


def test_a_line_has_at_most_a_hundred_points_an_experience(make_record):
    steps = [*range(1, 1001)]
    many = Statistics([0] * 1000, steps, {"penalty": [float(step) for step in steps]})
    ((line,),) = panels([make_record(statistics=many)]).values()
    assert line[:2].tolist() == [[0.01, 5.5], [0.02, 15.5]]
    assert len(line) == 100


def test_records_without_statistics_have_no_figure(make_record, make_adapted):
    statistics = logged([1.0, 2.0])
    failed = make_record(status="failed", correct=(), statistics=statistics)
    assert draw([make_record(), make_adapted(), failed]) is None


def test_names_that_mathtext_would_read_are_shown_as_they_are(make_record):
    odd = Statistics([0], [5], {"$a_b$ <é>": [1.0]})
    with style():
        drawn = FORMATS["svg"](draw([make_record("$y^2$", statistics=odd)])).decode()
    assert "$a_b$" in drawn
    assert "$y^2$" in drawn


def test_the_order_of_the_records_changes_no_byte(records):
    first, again = (FORMATS["svg"](draw(some)) for some in (records, records[::-1]))
    assert first == again
