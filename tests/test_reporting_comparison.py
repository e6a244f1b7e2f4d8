import sys

import numpy as np
import pytest

from retrograde.cli import main
from retrograde.errors import UserError
from retrograde.records.store import Store
from retrograde.reporting.cell_pairs import CellPair, compared
from retrograde.reporting.comparison import compare, summary

NAMES = ("before", "after")
ACC = (80, 83, 81, 84, 82)


@pytest.fixture
def ending(make_record):
    """Records of one cell whose accuracies at the end are given in percent, seed by seed."""
    return lambda *accuracies, strategy="er", **more: [
        make_record(strategy, seed, ((10,), (value,)), **more)
        for seed, value in enumerate(accuracies)
    ]


def rows(a, b):
    table, _ = compare(a, b, NAMES)
    (section,) = table.sections
    return [
        dict(zip(section.columns, (entry.text for entry in row), strict=True))
        for row in section.rows
    ]


def test_a_store_is_identical_to_itself_and_nothing_is_tested(ending, make_adapted):
    records = [*ending(*ACC), make_adapted()]
    table, changed = compare(records, records, NAMES)
    assert (
        table.notes[0] == "2 cells in both: 2 identical, 0 changed within noise, 0 really changed."
    )
    assert not changed
    assert {row["verdict"] for row in rows(records, records)} == {"identical"}


@pytest.mark.parametrize(
    ("after", "verdict", "changed"),
    [
        ((70, 74, 71, 73, 72), "worse", True),
        ((90, 94, 91, 93, 92), "better", True),
        ((81, 82, 81, 85, 81), "changed within noise", False),
    ],
)
def test_a_change_is_distinguished_from_noise(ending, after, verdict, changed):
    (row,) = rows(ending(*ACC), ending(*after))
    assert row["verdict"] == verdict
    assert (row["A"], row["B"], row["n"]) == ("82.00", f"{np.mean(after):.2f}", "5")
    assert compare(ending(*ACC), ending(*after), NAMES)[1] == changed


@pytest.mark.parametrize("n", [1, 2])
def test_with_few_replicates_nothing_is_said_of_a_change(ending, n):
    (row,) = rows(ending(*ACC[:n]), ending(*[10] * n))
    assert row["verdict"] == "changed, too few replicates to say"
    assert row["p (Holm)"] == "–"


def test_of_many_cells_that_changed_by_chance_hardly_any_is_said_to_have_changed(ending):
    draw = np.random.default_rng(0)
    stores = [
        [
            r
            for i in range(100)
            for r in ending(
                *draw.normal(5000, 100, 5).astype(int).tolist(), of=10_000, strategy=f"s{i}"
            )
        ]
        for _ in range(2)
    ]
    cells = compared(*stores)
    uncorrected = sum(change.p < 0.05 for cell in cells for change in cell.changes)
    assert uncorrected >= 3
    assert sum(cell.verdict in ("worse", "better") for cell in cells) == 0


def test_a_status_that_changed_is_the_worst_news_and_said_seed_by_seed(ending):
    before = ending(*ACC, 80) + ending(*ACC, strategy="sgd")
    after = (
        ending(*ACC)
        + ending(*ACC, 80, status="failed")[5:]
        + ending(*(v - 20 - v % 2 for v in ACC), strategy="sgd")
    )
    found = rows(before, after)
    assert found[0]["cell"] == "er on split"
    assert found[0]["verdict"] == "status changed, changed within noise"
    assert found[0]["remarks"] == "seed 5: done → failed"
    assert (
        "2 really changed: er on split (status changed), sgd on split (worse)."
        in compare(before, after, NAMES)[0].notes[0]
    )


def test_replicates_and_cells_in_one_store_alone_are_said(ending):
    before = ending(*ACC) + ending(*ACC, strategy="old")
    after = ending(*ACC[:3]) + ending(*ACC, strategy="new")
    found = {row["cell"]: row for row in rows(before, after)}
    assert (found["er on split"]["verdict"], found["er on split"]["n"]) == ("identical", "3")
    assert found["er on split"]["remarks"] == "seeds 3, 4 only in A"
    assert [found[f"{name} on split"]["verdict"] for name in ("old", "new")] == [
        "only in A",
        "only in B",
    ]
    assert summary(compared(before, after)).endswith("Besides: 1 only in A, 1 only in B.")


def test_the_scores_of_a_cell_are_paired_by_seed_whatever_their_order(ending):
    before, after = ending(*ACC), ending(*(value - 5 for value in ACC))
    (row,) = rows(before[::-1], after)
    assert row["B − A"] == "-5.00 ± 0.00"


def test_few_shot_cells_are_compared_after_their_last_step(make_adapted):
    before, after = (
        [make_adapted(seed=s, values=((4, 2), (3 + x * s, 1))) for s in range(5)] for x in (9, 10)
    )
    (row,) = rows(before, after)
    assert (row["score"], row["verdict"]) == ("loss", "worse")
    assert row["B − A"] == "+1.000 ± 0.982"  # of 0, 0.5, ... 2: 2.7764 x 0.7906 / sqrt(5)
    assert row["p (t)"] == "0.0474"  # of t = 2.828 with 4 degrees of freedom


def test_equal_differences_of_five_replicates_are_within_noise(ending):
    (row,) = rows(ending(*ACC), ending(*(value - 1 for value in ACC)))
    assert row["verdict"] == "changed within noise"
    assert row["p (t)"] == row["p (sign flip)"] == row["least p"] == "0.0625"


def test_code_and_environment_that_differ_are_named(make_record):
    before = [make_record(seed=s) for s in range(3)]
    after = [make_record(seed=s, machine={"torch": "3"}) for s in range(3)]
    notes = compare(before, after, NAMES)[0].notes
    assert notes[1] == "The environment differs: torch 2 in A, 3 in B."
    assert not any("code" in note for note in notes)


def test_an_edited_strategy_is_named(make_record):
    before, after = (
        [make_record(sources={"strategy": {"er.py": digit * 12}})] for digit in ("1", "2")
    )
    notes = compare(before, after, NAMES)[0].notes
    assert notes[1] == "The code of B is not that of A: strategy er.py (1111111 -> 2222222)."


def test_seeds_of_two_versions_in_one_store_are_compared_apart(ending):
    old, new = ({"strategy": {"er.py": digest * 12}} for digest in "12")
    before = ending(*ACC, sources=old)
    after = [*ending(*ACC, sources=old)[:3], *ending(*[10] * 6, sources=new)[3:]]
    assert [(row["cell"], row["n"], row["remarks"]) for row in rows(before, after)] == [
        ("er (B: er.py 2222222) on split", "2", "seed 5 only in B"),
        ("er (B: er.py 1111111) on split", "3", ""),
    ]


@pytest.mark.parametrize(
    ("machine", "expected"), [({}, "2.00"), ({"cpu": "Other"}, "–"), ({"threads": 1}, "–")]
)
def test_times_are_compared_on_one_machine_alone(make_record, machine, expected):
    slow = make_record(machine=machine, clocks={"train": 4.0, "evaluate": 1.0})
    (row,) = rows([make_record()], [slow])
    assert row["time B / A"] == expected


def test_the_csv_has_the_interval_and_every_p_value(ending):
    table, _ = compare(ending(*ACC), ending(70, 74, 71, 73, 72), NAMES)
    (row,) = table.tidy.itertuples()
    assert row.ci_low < row.difference < row.ci_high < 0
    assert (row.n, row.p_sign_flip, row.least_p_sign_flip) == (5, 0.0625, 0.0625)
    assert row.p_t == row.p_holm < 0.05


def test_replicates_that_ended_alike_without_scores_are_identical(make_record):
    lost = [make_record(correct=(), status="failed")]
    (cell,) = compared(lost, lost)
    assert isinstance(cell, CellPair)
    assert cell.verdict == "identical"


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ({}, None, "after holds none"),
        ({}, {"benchmark": "rotated"}, "'split  er'.*'rotated  er'"),
        ({}, {"buffer_size": 9}, "share none"),
    ],
)
def test_stores_without_records_or_a_common_cell_are_not_compared(make_record, a, b, said):
    with pytest.raises(UserError, match=said):
        compare([make_record(**a)], [] if b is None else [make_record(**b)], NAMES)


# The command line


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    def run(*words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["retrograde", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code or 0, *capsys.readouterr()

    return run


@pytest.mark.parametrize(("after", "flag", "code"), [(70, True, 1), (70, False, 0), (80, True, 0)])
def test_the_exit_code_tells_of_a_change_where_that_is_asked_for(
    call, ending, tmp_path, after, flag, code
):
    for folder, low, last in (("a", 80, 80), ("b", after, after + (after < 80))):
        for record in ending(low, low + 1, low + 3, low + 2, last):
            Store(tmp_path / folder).write(record)
    found, out, _ = call("compare", "a", "b", *["--fail-on-change"] * flag)
    assert found == code
    assert "1 cell in both" in out


def test_a_folder_that_is_not_there_is_one_clear_line_and_a_damaged_record_a_warning(
    call, ending, tmp_path
):
    for folder in "ab":
        for record in ending(80, 81):
            Store(tmp_path / folder).write(record)
    assert call("compare", "a", "nowhere")[::2] == (
        2,
        "error: A store is a folder of records; there is none at nowhere. Name one that `retrograde run` has written.\n",
    )
    next((tmp_path / "b").rglob("seed-1.json")).write_text("{")
    code, out, err = call("compare", "a", "b")
    assert (code, "seed 1 only in A" in out, "damaged" in err) == (0, True, True)
