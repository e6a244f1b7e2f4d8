"""Significant differences on one benchmark and over several: two tables, and the diagram of ranks."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from retrograde.metrics.frames import Label
from retrograde.metrics.ranking import Ranking, Tally, display_names, rank_strategies, tallies
from retrograde.parts.registry import Registry

PARTS = Registry()
ACC = {"best": (90, 92, 91, 94, 93), "near": (89, 93, 91, 92, 94), "far": (50, 55, 52, 49, 51)}


def table(name, records):
    return PARTS.get("results", name).table(records)


def rows(section):
    return {
        row[0].text: dict(zip(section.columns, (entry.text for entry in row), strict=True))
        for row in section.rows
    }


@pytest.fixture
def ending(make_record):
    """Records whose accuracies at the end are given by strategy, in percent, seed by seed."""
    return lambda accuracies, **more: [
        make_record(name, seed, ((10,), (value,)), **more)
        for name, values in accuracies.items() for seed, value in enumerate(values)
    ]  # fmt: skip


@pytest.fixture
def suite(ending):
    """The same three strategies on three benchmarks, and an upper bound."""
    benchmarks = ("permuted", "rotated", "split")
    bound = {"joint": (99, 99, 99, 99, 98)}
    return [
        r
        for b in benchmarks
        for r in (*ending(ACC, benchmark=b), *ending(bound, benchmark=b, upper_bound=True))
    ]


# Significance


def test_each_strategy_stands_against_the_best_with_its_tests_and_a_verdict(ending):
    (section,) = table("significance", ending(ACC)).sections
    found = rows(section)
    assert list(found) == ["best", "near", "far"]
    assert {name: row["verdict"] for name, row in found.items()} == {
        "best": "best mean",
        "near": "tied",
        "far": "worse",
    }
    low, high = ttest_rel(ACC["far"], ACC["best"]).confidence_interval()
    assert found["far"]["difference from the best"] == f"-40.60 ± {(high - low) / 2:.2f}"
    assert found["far"]["p (sign flip)"] == found["far"]["least p"] == "0.0625"
    p = ttest_rel(ACC["near"], ACC["best"]).pvalue
    assert (
        found["near"]["p (t)"] == found["near"]["p (Holm)"] == f"{p:.3g}"
    )  # the largest p is multiplied by 1


def test_the_csv_has_every_pair_with_the_difference_and_both_intervals(ending):
    tidy = table("significance", ending(ACC)).tidy.set_index(["strategy", "than_strategy"])
    assert set(tidy.index) == {("near", "best"), ("far", "best"), ("far", "near")}
    row = tidy.loc["far", "near"]
    differences = np.subtract(ACC["far"], ACC["near"]) / 100
    assert row.difference == pytest.approx(differences.mean())
    assert row.ci_low < row.bootstrap_low < row.difference < row.bootstrap_high < row.ci_high
    assert row.verdict == "worse"


@pytest.mark.parametrize("seeds", [1, 2])
def test_with_few_replicates_nothing_is_said(ending, seeds):
    (section,) = table(
        "significance", ending({name: values[:seeds] for name, values in ACC.items()})
    ).sections
    assert [row[-1].text for row in section.rows[1:]] == ["too few replicates to say"] * 2


def test_a_strategy_that_lacks_a_replicate_is_left_out_and_an_upper_bound_is_not_there(ending):
    records = ending({**ACC, "lost": (95, 96, 97)}) + ending({"joint": (99,) * 5}, upper_bound=True)
    found = rows(table("significance", records).sections[0])
    assert list(found) == ["best", "near", "far", "lost"]
    assert found["lost"]["verdict"] == "left out: 3 of 5 replicates"


def test_the_best_is_the_lowest_where_less_is_better(make_record, make_adapted):
    drop = [
        make_record(n, s, ((0, 0), (90, 0), (b + s, 90 - s)))
        for n, b in (("keeps", 80), ("drops", 20))
        for s in range(5)
    ]
    losses = [
        make_adapted(n, s, ((4, 2), (x + s, 1)))
        for n, x in (("fast", 1), ("slow", 9))
        for s in range(5)
    ]
    sections = {s.heading: list(rows(s)) for s in table("significance", drop + losses).sections}
    assert sections["split — forgetting"] == ["keeps", "drops"]
    assert sections["sinusoid — loss"] == ["fast", "slow"]


def test_many_strategies_are_each_compared_with_the_best_alone(ending):
    draw = np.random.default_rng(0)
    crowd = {f"s{i}": draw.integers(0, 100, size=3).tolist() for i in range(21)}
    made = table("significance", ending(crowd))
    assert len(made.tidy) == 20
    assert len(made.sections[0].rows) == 21


def test_of_very_many_strategies_the_best_have_rows_and_the_csv_has_all(ending):
    found = table("significance", ending({f"s{n:03}": (n // 2, n - n // 2) for n in range(130)}))
    assert list(rows(*found.sections)) == [f"s{n:03}" for n in range(129, 29, -1)]
    assert len(found.tidy) == 129
    assert found.notes[-1].startswith("Of more than 100 strategies the best 100 have a row")


def test_two_equal_strategies_differ_significantly_in_one_of_twenty_stores_at_most(ending):
    draw, verdicts = np.random.default_rng(3), []
    for _ in range(40):
        common = draw.normal(70_000, 4000, size=5)
        values = {
            name: (common + draw.normal(0, 2000, size=5)).round().astype(int).tolist()
            for name in ("er", "sgd")
        }
        (section,) = table("significance", ending(values, of=100_000)).sections
        verdicts.append(section.rows[1][-1].text)
    assert (
        verdicts.count("tied") >= 40 * 0.95 - 2
    )  # and a standard deviation and a half of that count
    assert set(verdicts) <= {"tied", "worse"}


# Standing


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([("a", "er", "lr=1"), ("b", "er", "lr=2")], {"er"}),
        ([("a", "er", ""), ("a", "er", "lr=2"), ("b", "er", "")], {"er", "er lr=2"}),
        (
            [("a", "er", "lr=1"), ("a", "er", "lr=2"), ("a", "sgd", "lr=3")],
            {"er lr=1", "er lr=2", "sgd"},
        ),
    ],
)
def test_a_strategy_is_called_by_its_name_where_no_benchmark_has_it_twice(labels, expected):
    assert set(display_names(Label(*label) for label in labels).values()) == expected


def contests(accuracies):
    return {
        b: {n: dict(enumerate(map(float, v))) for n, v in values.items()}
        for b, values in accuracies.items()
    }


def test_ranked_are_the_strategies_on_every_benchmark_that_has_a_rivalry():
    found = contests(
        {"a": ACC, "b": {"best": (9,) * 5, "near": (10,) * 5}, "c": {"near": (1,) * 5}}
    )
    board = rank_strategies(found)
    assert (board.strategies, board.benchmarks) == (("best", "near"), ("a", "b"))
    assert board.average == {"best": 1.5, "near": 1.5}
    assert not board.tested


def test_nothing_is_ranked_on_one_benchmark_or_where_no_two_are_on_all():
    alone, apart = {"a": ACC}, {"a": {"x": (1, 2), "y": (2, 3)}, "b": {"x": (1, 2), "z": (2, 3)}}
    assert [rank_strategies(contests(each)).strategies for each in (alone, apart, {})] == [
        (),
        (),
        (),
    ]


def test_wins_ties_and_losses_count_rivals_on_every_benchmark():
    found = tallies(contests({"a": ACC, "b": {name: ACC[name] for name in ("best", "far")}}))
    assert found == {"best": Tally(2, 1, 0), "near": Tally(1, 1, 0), "far": Tally(0, 0, 3)}
    assert tallies(contests({"a": {name: values[:2] for name, values in ACC.items()}})) == {}


# Leaderboard


def test_the_leaderboard_has_ranks_means_wins_and_counts(suite):
    made = table("leaderboard", suite)
    found = rows(made.sections[0])
    assert list(found) == ["best", "near", "far", "joint †"]
    assert found["best"] == {
        "strategy": "best", "average rank": "1.00", "mean ACC": "92.00", "mean forgetting": "–",
        "win / tie / loss": "3 / 3 / 0", "benchmarks": "3 of 3", "n": "5",
    }  # fmt: skip
    assert found["joint †"]["average rank"] == found["joint †"]["win / tie / loss"] == "–"
    assert found["joint †"]["mean ACC"] == "98.80"
    assert "3 strategies over 3 benchmarks" in made.notes[-1]


def test_a_strategy_on_one_benchmark_or_with_lost_replicates_is_shown_and_not_ranked(suite, ending):
    records = (
        suite
        + ending({"rare": (95,) * 5}, benchmark="split")
        + ending({"lost": (95,) * 4}, benchmark="split")
    )
    found = rows(table("leaderboard", records).sections[0])
    assert list(found) == ["best", "near", "far", "lost", "rare", "joint †"]
    assert [
        found["rare"][column] for column in ("average rank", "mean ACC", "benchmarks", "n")
    ] == ["–", "–", "1 of 3", "5"]
    assert (found["lost"]["benchmarks"], found["lost"]["n"], found["lost"]["win / tie / loss"]) == (
        "0 of 3",
        "4",
        "–",
    )


def test_ranks_are_bold_if_they_differ_significantly_from_some_other(ending):
    draw, many = np.random.default_rng(0), [f"b{i}" for i in range(12)]
    values = {
        b: {n: draw.normal(m, 1, 3).round() for n, m in (("x", 80), ("y", 80), ("z", 40))}
        for b in many
    }
    records = [
        r
        for b in many
        for r in ending({n: v.astype(int).tolist() for n, v in values[b].items()}, benchmark=b)
    ]
    made = table("leaderboard", records)
    assert {row[0].text for row in made.sections[0].rows if row[1].bold} == {"x", "y"}
    assert "p < 0.001" in made.notes[-1]


def test_friedmans_p_value_is_exact_on_two_benchmarks(ending):
    values = {f"s{place}": (90 - 5 * place,) * 5 for place in range(6)}
    made = table(
        "leaderboard", [r for b in ("permuted", "rotated") for r in ending(values, benchmark=b)]
    )
    assert (
        "Friedman's chi-squared 10.00, p = 0.001 (exact, over all orders of the ranks)"
        in made.notes[-1]
    )  # 1 in 720
    assert "Nemenyi's test finds no significant difference" in made.notes[-1]  # 5 is less than 5.33


def test_the_leaderboard_says_that_nemenyis_test_is_mute_of_three_strategies_on_two_benchmarks(
    suite,
):
    two = [record for record in suite if record.cell.benchmark.name != "split"]
    made = table("leaderboard", two)
    assert "Nemenyi's test finds no significant difference" in made.notes[-1]
    assert not any(entry.bold for row in made.sections[0].rows for entry in row)


def test_there_is_no_leaderboard_where_no_strategy_is_on_two_benchmarks(ending):
    apart = ending({"er": (1, 2, 3)}, benchmark="split") + ending(
        {"sgd": (1, 2, 3)}, benchmark="rotated"
    )
    assert table("leaderboard", ending(ACC)).sections == table("leaderboard", apart).sections == ()


def test_one_replicate_gives_ranks_and_no_wins(suite):
    single = [record for record in suite if record.seed == 0]
    found = rows(table("leaderboard", single).sections[0])
    assert {row["win / tie / loss"] for row in found.values()} == {"–"}
    assert found["best"]["average rank"] == "1.00"


# The critical-difference diagram


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def bars(figure):
    return [line.get_xdata() for line in figure.axes[0].lines if line.get_linewidth() == 3]


def test_the_diagram_of_the_published_example_has_its_ranks_its_critical_difference_and_one_bar(
    demsar,
):
    drawn = PARTS.find("results", "critical_difference").figure.__globals__["_drawn"]
    figure = drawn(
        Ranking(("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"), tuple(map(str, range(14))), -demsar)
    )
    assert {"CD = 1.25", "C4.5+m+cf  1.96", "C4.5+m  2.00", "2.89  C4.5+cf", "3.14  C4.5"} <= set(
        texts(figure)
    )
    (bar,) = bars(figure)
    assert bar == pytest.approx([1.964, 3.143], abs=0.04)


def test_the_diagram_shows_the_ranked_strategies_of_a_store(suite):
    figure = PARTS.get("results", "critical_difference").figure(suite)
    assert {"best  1.00", "near  2.00", "3.00  far"} <= set(texts(figure))
    assert "over 3 benchmarks" in figure.get_suptitle()


@pytest.mark.parametrize(("strategies", "benchmarks"), [(3, 1), (2, 3), (0, 0)])
def test_there_is_no_diagram_of_few_strategies_or_benchmarks(suite, strategies, benchmarks):
    kept = [r for r in suite if r.cell.strategy.name in list(ACC)[:strategies]]
    kept = [
        r for r in kept if r.cell.benchmark.name in ("permuted", "rotated", "split")[:benchmarks]
    ]
    assert PARTS.get("results", "critical_difference").figure(kept) is None
