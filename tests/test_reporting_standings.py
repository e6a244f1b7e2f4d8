"""The answer in words, and the note on a strategy that forgets least because it learned least."""

import pytest

from retrograde.metrics.frames import cell_labels
from retrograde.parts.registry import Registry
from retrograde.records.presentation import Presentation
from retrograde.reporting.report import report
from retrograde.reporting.request import Request
from retrograde.reporting.standings import answer, lead_in_words, notes_on_learning, standings

PARTS = Registry()


def ends(make_record, strategy, scores, **fields):
    """Records with these final accuracies in percent, one for each seed."""
    return [
        make_record(strategy, seed, ((10, 10), (90, 10), (score, score)), **fields)
        for seed, score in enumerate(scores)
    ]


def sentence(records):
    label = cell_labels(tuple(records))
    found = standings(tuple(records), label)
    return "; ".join(strategy + said for strategy, said in answer(found, label))


def test_a_lead_is_significant_as_in_the_table_of_significance(make_record):
    records = [
        *ends(make_record, "er", (80, 81, 82, 80, 83)),
        *ends(make_record, "finetune", (20, 22, 21, 20, 24)),
        *ends(make_record, "joint", (95,) * 5, upper_bound=True),
    ]
    assert sentence(records) == (
        "er is best on split (ACC 81.20 ± 1.62 % over 5 seeds; "
        "lead over finetune significant, p < 0.001)"
    )
    table = report(records, Request(only=("significance",)), PARTS, Presentation()).tables
    rows = [section.rows[1] for section in table["significance"].sections]
    assert rows[0][-1].text == "worse"


def test_a_lead_within_chance_is_not_significant_with_the_p_of_the_table(make_record):
    records = [
        *ends(make_record, "er", (80, 70, 82, 60, 83)),
        *ends(make_record, "der", (79, 72, 81, 58, 80)),
        *ends(make_record, "si", (20, 40, 21, 20, 24)),
    ]
    table = report(records, Request(only=("significance",)), PARTS, Presentation()).tables
    holm = float(table["significance"].sections[0].rows[1][4].text)
    assert f"lead over der not significant, p = {holm:.3f})" in sentence(records)


@pytest.mark.parametrize(
    ("scores", "seeds"), [((80,), "80.00 % over a single seed"), ((80, 82), "% over 2 seeds")]
)
def test_few_seeds_are_not_tested(make_record, scores, seeds):
    records = [*ends(make_record, "er", scores), *ends(make_record, "si", (20,) * len(scores))]
    assert seeds in sentence(records)
    assert "lead over si not tested, which takes 5 shared seeds" in sentence(records)


def test_a_strategy_with_fewer_replicates_cannot_lead(make_record):
    records = [
        *ends(make_record, "er", (80, 81)),
        make_record("der", 0, ((1, 1), (99, 1), (99, 99))),
        make_record("der", 1, (), status="diverged"),
        *(make_record("si", seed, (), status="failed") for seed in range(2)),
    ]
    assert sentence(records).startswith("er is the only competitor on split (ACC 80.50")
    assert sentence(records).endswith("2 strategies with fewer replicates left out)")


def test_in_regression_and_in_few_shot_tasks_the_lowest_is_best(make_record, make_adapted):
    waves = {"benchmark": "waves", "test_examples": [10, 10]}
    records = [
        *(
            make_record(
                name, s, (), squared_errors=[[5.0, 5.0], [last, 5.0], [last, last]], **waves
            )
            for name, last in (("er", 1.0), ("si", 2.0))
            for s in range(2)
        ),
        *(make_adapted("maml", s) for s in range(2)),
        *(make_adapted("fomaml", s, ((4, 2), (5, 3))) for s in range(2)),
    ]
    text = sentence(records)
    assert "er is best on waves (MSE 0.1 ± 0 over 2 seeds, lower is better" in text
    assert "maml is best on sinusoid (loss 2 ± 0 over 2 seeds, lower is better" in text


def test_of_many_benchmarks_the_best_are_counted(make_record):
    records = [
        record
        for number in range(5)
        for strategy, score in (("er", 80), ("si", 90 if number == 0 else 20))
        for record in ends(make_record, strategy, (score, score), benchmark=f"b{number}")
    ]
    assert sentence(records) == (
        "er is best on 4 of 5 benchmarks; si on 1; the lead over the next is significant on 0"
    )
    records += ends(make_record, "er", (80, 80), benchmark="b5")
    assert sentence(records) == (
        "er is best on 4 of 6 benchmarks; si on 1; on 1 no two strategies compete; "
        "the lead over the next is significant on 0"
    )


def test_benchmarks_of_one_winner_stand_together(make_record):
    records = [
        record
        for name in ("a", "b", "c")
        for strategy, score in (("er", 80), ("si", 20))
        for record in ends(make_record, strategy, (score,), benchmark=name)
    ]
    whole = sentence(records)
    assert whole.startswith("er is best on a (ACC 80.00 % over a single seed; ")
    assert whole.count(", on b (") == whole.count(" and on c (") == 1


def test_without_results_there_is_no_best(make_record):
    failed = [make_record("er", 0, (), status="failed")]
    none = "no strategy that competes has a finished replicate"
    assert sentence(failed) == f"{none} on split"
    assert sentence([]) == none
    (standing,) = standings(tuple(failed), cell_labels(tuple(failed)))
    assert lead_in_words(standing) == ""


def learners(make_record, *learned):
    """Strategies with these accuracies right after learning; the first ones forget less."""
    return tuple(
        make_record(f"s{place}", seed, ((0, 0), (after, 0), (after - 5 * place, after)))
        for place, after in enumerate(learned)
        for seed in range(2)
    )


@pytest.mark.parametrize(
    ("learned", "noted"),
    [
        ((26, 95, 90), True),
        ((85, 90, 90), True),
        ((86, 90, 90), False),
        ((90, 26, 90), False),
        ((26,), False),
    ],
)
def test_the_strategy_that_forgets_least_is_noted_if_it_learned_clearly_less(
    make_record, learned, noted
):
    records = learners(make_record, *learned)
    notes = notes_on_learning(records, cell_labels(records))
    assert [*notes] == (["split"] if noted else [])
    for note in notes.values():
        assert note.startswith("s0 forgets least (0.00 %), but has also learned less")
        assert f"(LA) is {learned[0]}.00 %" in note


def test_an_upper_bound_that_forgets_least_is_no_reason_for_a_note(make_record):
    bound = make_record("joint", 0, ((0, 0), (10, 0), (10, 10)), upper_bound=True)
    records = (bound, *learners(make_record, 90, 90)[::2])
    assert notes_on_learning(records, cell_labels(records)) == {}
