"""The table `choices`: rankings of strategies whose settings were chosen in several ways."""

import pytest

import retrograde as rg
from retrograde.parts.registry import Registry

WITHIN = "tuned (within, grid by ACC, 9 trials of 1 seed: lr=0.1)"
OTHER = "tuned (other-order, grid by ACC, 9 trials of 1 seed: lr=0.1)"


@pytest.fixture
def chosen(make_record):
    """Five records of a strategy with scores around one number, and how its settings were chosen."""

    def make(strategy, score, how, **overrides):
        more = make_record().how | {"chosen": how}
        return [
            make_record(
                strategy,
                seed,
                [[10, 10], [50, 10], [score + seed % 2, score - seed % 2]],
                how=more,
                overrides=overrides,
            )
            for seed in range(5)
        ]

    return make


def table(*groups):
    return rg.report([record for group in groups for record in group]).tables.get("choices")


def test_each_way_has_a_column_with_scores_and_ranks(chosen):
    found = table(
        chosen("er", 80, "published", lr=0.1),
        chosen("der", 85, "published", lr=0.1),
        chosen("er", 90, WITHIN, lr=0.2),
        chosen("der", 86, WITHIN, lr=0.2),
    )
    (section,) = found.sections
    assert section.columns == ("strategy", "published", "tuned (within)")
    rows = {row[0].text: [entry.text for entry in row[1:]] for row in section.rows}
    assert rows == {
        "DER": ["85.00 ± 0.00 (1)", "86.00 ± 0.00 (2)"],
        "ER": ["80.00 ± 0.00 (2)", "90.00 ± 0.00 (1)"],
    }
    assert "tau -1.00; of 1 pairs of strategies, 1 change their order" in found.notes[1]


def test_settings_that_several_ways_have_chosen_count_for_each(chosen):
    found = table(
        chosen("er", 80, f"published; {WITHIN}; {OTHER}"),
        chosen("der", 85, "published", lr=0.1),
        chosen("der", 70, f"{WITHIN}; {OTHER}", lr=0.2),
    )
    scores = found.tidy.query("strategy == 'ER'").set_index("chosen").ACC
    assert scores.index.tolist() == ["published", "tuned (other-order)", "tuned (within)"]
    assert scores.tolist() == pytest.approx([0.8] * 3)


def test_a_strategy_that_lacks_a_way_is_left_out(chosen):
    ways = [chosen(name, 80, f"published; {WITHIN}") for name in ("er", "der")]
    found = table(*ways, chosen("gem", 90, "published"))
    assert set(found.tidy.strategy) == {"ER", "DER"}


def test_without_a_choice_there_is_no_table(chosen):
    assert table(chosen("er", 80, ""), chosen("der", 80, "published")) is None


def test_pairs_that_turn_significantly_are_counted(make_record):
    def records(strategy, how, base, lr):
        more = make_record().how | {"chosen": how}
        rows = [[[10, 10], [50, 10], [base + seed, base + seed * 2]] for seed in range(5)]
        return [
            make_record(strategy, seed, row, how=more, overrides={"lr": lr})
            for seed, row in enumerate(rows)
        ]

    found = table(
        records("er", "published", 50, 1.0),
        records("der", "published", 60, 1.0),
        records("er", WITHIN, 70, 2.0),
        records("der", WITHIN, 55, 2.0),
    )
    # Equal differences reach p = 1/16 at least, so none of them is significant.
    assert "0 of these differ significantly" in found.notes[1]


def test_the_figure_has_a_point_for_each_strategy_and_way(chosen):
    records = [
        *chosen("er", 80, "published", lr=0.1),
        *chosen("der", 85, "published", lr=0.1),
        *chosen("er", 90, WITHIN, lr=0.2),
        *chosen("der", 86, WITHIN, lr=0.2),
    ]
    figure = Registry().get("results", "choice_scores").figure(records)
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.get_yticklabels()] == ["er", "der"]
    drawn = {bars.get_label(): bars.lines[0].get_xdata().tolist() for bars in axis.containers}
    assert drawn["published"] == pytest.approx([80, 85])
    assert drawn["tuned (within)"] == pytest.approx([90, 86])
