"""The literature's numbers: what a row says, which cells it stands beside, and what the shipped file must hold."""

import dataclasses
import re

import numpy as np
import pytest
from pydantic import ValidationError

from retrograde.metrics.matrix import METRICS
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.reporting.published import OBSERVED, matcher, published_numbers

PARTS = Registry()
SHIPPED = pytest.mark.parametrize(
    "entry",
    published_numbers(),
    ids=lambda entry: f"{entry.row.strategy} {entry.benchmark} {entry.source.paper}",
)


@pytest.mark.parametrize(
    ("spread", "printed", "error"),
    [
        ("standard deviation", "-5.60 ± 0.70", 0.35),  # 0.70 / sqrt(4)
        ("standard error", "-5.60 ± 0.70", 0.70),
        ("95 % interval", "-5.60 ± 0.70", np.nan),  # over test tasks: nothing about other runs
        ("none", "-5.60", np.nan),
    ],
)
def test_the_error_of_a_printed_mean_follows_from_what_its_spread_is(
    make_published, spread, printed, error
):
    number = make_published({"BTI": printed}, spread=spread, n=4).number("BTI")
    assert number == pytest.approx((-5.6, error, 0.005), nan_ok=True)


@pytest.mark.parametrize(
    ("printed", "rounding"), [("97", 0.5), ("98.7", 0.05), ("0.67", 0.005), ("-5.60", 0.005)]
)
def test_a_number_is_known_to_half_a_unit_of_the_last_digit_printed(
    make_published, printed, rounding
):
    assert make_published({"ACC": printed}).number("ACC").rounding == pytest.approx(rounding)


@pytest.mark.parametrize("printed", ["", "about 5", "5 +- 1", "5 ± ", "5,0", ".5"])
def test_what_is_no_number_is_refused(make_published, printed):
    with pytest.raises(ValidationError, match="pattern"):
        make_published({"ACC": printed})


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"benchmark": "sinusoid"}, True),
        ({"benchmark": "sinusoid:test_shots=10"}, False),
        ({"benchmark": "omniglot"}, False),
        ({"strategy": "fomaml"}, False),
        ({"strategy": "maml:inner_lr=0.2"}, False),
        ({"strategy": "maml:unknown=1"}, False),
    ],
)
def test_published_numbers_stand_with_cells_that_have_every_setting_they_name(
    make_published, make_adapted, change, fits
):
    entry = make_published(
        **({"benchmark": "sinusoid:test_shots=5", "strategy": "maml:inner_lr=0.1"} | change)
    )
    assert (matcher([entry])(make_adapted().cell) == [entry]) == fits


def test_a_title_says_what_a_reader_of_the_number_has_to_know(make_published):
    entry = make_published(
        {"ACC": "9.5 ± 0.1"}, needs="shots=1", spread="standard error", n=3, checked="memory"
    )
    assert (
        entry.title == "– published: A, B 2020, table 1, unverified, shots=1, ± standard error of 3"
    )
    assert make_published().title == "– published: A, B 2020, table 1"


@pytest.mark.parametrize(
    ("given", "differs"),
    [
        ({}, ""),
        ({"needs": "test_shots=5,transductive=true"}, ""),
        ({"needs": "shots=1,test_shots=2"}, "shots=10, theirs 1; test_shots=5, theirs 2"),
        ({"needs": "unknown=1"}, "unknown=none, theirs 1"),
        (
            {"differs": "their dice are loaded", "needs": "shots=1"},
            "their dice are loaded; shots=10, theirs 1",
        ),
    ],
)
def test_what_differs_is_what_the_row_says_and_every_needed_setting_that_a_cell_has_not(
    make_published, make_adapted, given, differs
):
    assert make_published(**given).differs(make_adapted().cell) == differs


@pytest.mark.parametrize(
    ("overrides", "differs"),
    [
        ({"test_shots": 5}, ""),  # the row names it
        ({"test_shots": 5, "evaluations": 3}, ""),  # it changes no result
        ({"test_shots": 5, "meta_batch_size": 4}, "meta_batch_size=4, theirs 25"),
        (
            {"test_shots": 5, "meta_batch_size": 4, "model": "mlp-9"},
            "meta_batch_size=4, theirs 25; model=mlp-9, theirs mlp-40-40",
        ),
    ],
)
def test_a_setting_that_the_protocol_does_not_name_is_as_by_default_or_the_numbers_are_not_comparable(
    make_published, make_adapted, overrides, differs
):
    entry, cell = (
        make_published(benchmark="sinusoid:test_shots=5", strategy="maml"),
        make_adapted().cell,
    )
    cell = dataclasses.replace(
        cell, benchmark=dataclasses.replace(cell.benchmark, overrides=overrides)
    )
    assert matcher([entry])(cell) == [entry]
    assert entry.differs(cell) == differs


@pytest.mark.parametrize("name", Registry().names("benchmarks"))
def test_every_setting_of_a_benchmark_is_part_of_the_protocol_but_those_that_only_look(
    make_published, make_record, name
):
    part = PARTS.find("benchmarks", name)
    for field in dataclasses.fields(part):
        cell = make_record(benchmark=name).cell
        cell = dataclasses.replace(
            cell, benchmark=dataclasses.replace(cell.benchmark, overrides={field.name: 77})
        )
        looks = field.name in OBSERVED
        assert bool(make_published(benchmark=name).differs(cell)) != looks


def test_what_one_method_of_a_table_needs_is_needed_beside_what_all_do(
    make_published, make_adapted
):
    entry = make_published(needs="shots=10", own={"needs": "test_shots=2"})
    assert entry.differs(make_adapted().cell) == "test_shots=5, theirs 2"
    assert entry.title == "– published: A, B 2020, table 1, shots=10, test_shots=2"


@pytest.mark.parametrize(
    ("metric", "source", "own", "margin"),
    [
        ("ACC", None, None, 3),
        ("BTI", 2, None, 2),
        ("ACC", 2, 1.5, 1.5),
        ("loss@1", None, None, 0.4),  # 10 % of 4
        ("loss@1", 25, None, 1.0),
    ],
)
def test_the_margin_is_in_points_or_a_share_of_a_loss_and_a_row_has_the_last_word(
    make_published, metric, source, own, margin
):
    entry = make_published({metric: "4.00"}, margin=source, own={"margin": own})
    assert entry.margin(metric) == pytest.approx(margin)


def test_rows_whose_algorithm_is_another_say_so():
    theirs = [
        e.row for e in published_numbers() if e.source.table == "S-MNIST in Mammoth's first README"
    ]
    assert {row.method for row in theirs if row.differs} == {"SI", "LwF", "GSS", "MER"}
    assert all(row.differs for row in theirs if row.method in ("SI", "LwF", "GSS", "MER"))


@SHIPPED
def test_every_shipped_row_names_a_benchmark_a_strategy_and_settings_that_exist(entry):
    (benchmark, settings), (strategy, own) = parse(entry.benchmark), parse(entry.row.strategy)
    PARTS.get(
        "benchmarks",
        benchmark,
        settings | parse(f":{entry.source.needs}")[1] | parse(f":{entry.row.needs}")[1],
    )
    PARTS.get("strategies", strategy, own)


@SHIPPED
def test_every_shipped_number_has_a_definition_and_a_spread_where_its_source_says_what_that_is(
    entry,
):
    source, spreads = entry.source, ["±" in text for text in entry.row.values.values()]
    assert all(spreads) if source.spread != "none" else not any(spreads)
    assert source.n is not None or "standard" not in source.spread
    assert set(entry.row.values) <= set(source.metrics)
    assert all(
        re.fullmatch(r"(loss|accuracy)@\d+", m) or m in {metric.name for metric in METRICS}
        for m in source.metrics
    )


def test_no_two_shipped_rows_of_one_table_are_of_the_same_cells():
    cells = [
        (entry.source.paper, entry.source.table, entry.benchmark, entry.row.strategy)
        for entry in published_numbers()
    ]
    assert len(set(cells)) == len(cells)
