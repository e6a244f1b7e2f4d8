"""The table of published numbers: differences, their intervals, and verdicts."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import ttest_ind

from retrograde.parts.registry import Registry
from retrograde.parts.spec import as_text, parse
from retrograde.reporting.formats import FORMATS
from retrograde.reporting.published import published_numbers


def table(records):
    return Registry().get("results", "published").table(records)


@pytest.fixture
def beside(make_record, make_published, literature):
    """The one row, by column, of records whose ACC is 84, 85 and 86 percent, or as given, beside a printed number."""

    def row(printed, accuracies=(84, 85, 86), metric="ACC", statuses=(), **source):
        literature("published", make_published({metric: printed}, **source))
        records = [
            make_record("er", seed, ((10,), (accuracy,)))
            for seed, accuracy in enumerate(accuracies)
        ]
        records += [
            make_record("er", 9 + seed, ((10,),), status=status)
            for seed, status in enumerate(statuses)
        ]
        (section,) = table(records).sections
        (only,) = section.rows
        return dict(zip(section.columns, (entry.text for entry in only), strict=True))

    return row


def test_a_row_has_theirs_with_its_spread_and_ours_with_its_interval(beside):
    row = beside("83.00 ± 1.00", spread="standard deviation", n=3, checked="memory")
    assert list(row.values()) == [
        *(
            "er",
            "A, B 2020, table 1, unverified",
            "ACC",
            "83.00 ± 1.00 (s.d., n = 3)",
            "85.00 ± 2.48",
            "3",
        ),
        *("+2.00 ± 2.27", "+0.26 to +3.74", "3", "unknown", "cannot tell"),
        # t(0.975, 4) = 2.7764, t(0.95, 4) = 2.1318; sqrt(1 / 3 + 1 / 3) = 0.8165
    ]


def test_a_standard_error_is_taken_as_it_is(beside):
    assert beside("83.00 ± 0.00", spread="standard error", n=3)["difference"] == "+2.00 ± 2.48"


@pytest.mark.parametrize(
    ("n", "half"), [(None, "4.97"), (1, "4.97"), (3, "3.51")]
)  # t(0.975, 2) = 4.3027 x sqrt(1/3 + 1/n)
def test_runs_of_which_no_spread_is_printed_are_taken_to_scatter_as_ours(beside, n, half):
    assert beside("83.00", n=n)["difference"] == f"+2.00 ± {half}"


# With 84, 85 and 86 beside a mean without error, half of the intervals is 2.484 at 95 % and 1.686 at 90 %.


@pytest.mark.parametrize(
    ("printed", "margin", "verdict"),
    [
        ("85.00", 3, "reproduced"),
        (
            "83.70",
            3,
            "reproduced",
        ),  # the 90 % interval ends at 2.986, and at 2.991 with the rounding
        ("83.68", 3, "cannot tell"),  # at 3.006
        ("86.30", 3, "reproduced"),
        ("86.32", 3, "cannot tell"),
        ("85.00", 1.6, "cannot tell"),
        ("85.0", 1.7, "cannot tell"),  # half a unit of the last digit is 0.05
        ("82.52", 3, "cannot tell"),
        ("82.50", 3, "differs"),
        ("87.50", 3, "differs"),
        ("82.50", 5, "reproduced"),  # although they differ
        ("79.52", 3, "differs"),  # the 95 % interval begins at 2.996
        ("79.50", 3, "differs: by more than the margin"),
        ("90.50", 3, "differs: by more than the margin"),
    ],
)
def test_the_verdict_follows_from_both_intervals_and_the_margin(beside, printed, margin, verdict):
    row = beside(f"{printed} ± 0.00", spread="standard error", n=99, margin=margin)
    assert (row["margin"], row["verdict"]) == (f"{margin:g}", verdict)


def test_a_number_is_reproduced_just_where_two_one_sided_tests_reject_that_it_is_off_by_the_margin(
    beside,
):
    draw, verdicts = np.random.default_rng(2), set()
    for _ in range(60):
        ours, theirs = (
            draw.integers(83, 88, size=4) + draw.integers(-4, 5),
            draw.normal(85, 1.5, size=6),
        )
        printed = f"{theirs.mean():.6f} ± {theirs.std(ddof=1):.6f}"
        verdict = beside(printed, ours, spread="standard deviation", n=6)["verdict"]
        above = ttest_ind(ours, theirs - 3, equal_var=False, alternative="greater").pvalue
        below = ttest_ind(ours, theirs + 3, equal_var=False, alternative="less").pvalue
        assert (verdict == "reproduced") == (max(above, below) < 0.05)
        if verdict != "reproduced":
            apart = ttest_ind(ours, theirs, equal_var=False).pvalue < 0.05
            assert verdict.startswith("differs" if apart else "cannot tell")
        verdicts.add(verdict.partition(":")[0])
    assert verdicts == {"reproduced", "differs", "cannot tell"}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"differs": "their dice are loaded"}, "their dice are loaded"),
        ({"needs": "task_size=5"}, "task_size=2, theirs 5"),
        ({"statuses": ("diverged",)}, "1 of our replicates diverged or failed"),
        ({"metric": "BWT"}, "we have no such number"),  # of one task there is none
    ],
)
def test_numbers_are_not_comparable_for_a_reason_that_is_given(beside, given, reason):
    assert beside("85.00", **given)["verdict"] == f"not comparable: {reason}"


def test_one_replicate_has_a_difference_without_an_interval_and_none_has_none(beside):
    one, none = beside("83.00", (85,)), beside("83.00", (), statuses=("failed",))
    columns = ("ours", "n", "difference", "90 % interval", "verdict")
    assert [one[name] for name in columns] == [
        "85.00",
        "1",
        "+2.00",
        "–",
        "cannot tell: a single replicate of ours",
    ]
    assert [none[name] for name in columns[:4]] == ["–", "0 (1 failed)", "–", "–"]


@pytest.mark.parametrize(
    ("printed", "verdict"),
    [
        ("10.50", "cannot tell"),
        ("11.00", "reproduced"),
        ("5.00", "differs: by more than the margin"),
    ],
)
def test_losses_keep_their_unit_and_their_margin_is_a_share(
    make_adapted, make_published, literature, printed, verdict
):
    entry = make_published(
        {"loss@1": f"{printed} ± 0.00"},
        benchmark="sinusoid",
        strategy="maml",
        spread="standard error",
        n=99,
    )
    literature("published", entry)
    made = [
        make_adapted(seed=s, values=((4, 2), (loss, 11))) for s, loss in enumerate((10, 11, 12))
    ]
    ((row,),) = (section.rows for section in table(made).sections)
    margin = (
        f"{float(printed) / 10:.3g}"  # half of the 90 % interval is 2.92 x 0.5 / sqrt(3) = 0.843
    )
    assert [entry.text for entry in (row[4], row[8], row[10])] == ["11.00 ± 1.24", margin, verdict]


# Informative rows


@pytest.fixture
def informative(make_record, make_published, literature):
    """The column of an entry of er on split, 85.00 printed, beside baselines run here or printed; and the line of counts."""

    def column(ours=(), printed=(), scenario="class", **more):
        split = f"split:scenario={scenario}"
        source = dict(benchmark=split, **more)
        settings = {"settings": {"scenario": scenario}}
        entry = make_published({"ACC": "85.00"}, n=99, **source)
        others = [
            make_published({"ACC": value}, strategy=name, **(source | {"benchmark": spec or split}))
            for name, value, spec in printed
        ]
        table_of = entry.source
        literature("published", entry, *(other._replace(source=table_of) for other in others))
        records = [make_record("er", s, ((10,), (84 + s,)), **settings) for s in range(3)]
        for name, value, other in ours:
            records += [
                make_record(name, s, ((10,), (value,)), benchmark_overrides=other, **settings)
                for s in range(2)
            ]
        made = table(records)
        rows = [row for section in made.sections for row in section.rows if row[0].text == "er"]
        return rows[0][9].text, made.notes[0]

    return column


@pytest.mark.parametrize(
    ("ours", "printed", "expected"),
    [
        ([], [], "unknown"),
        ([("finetune", 20, {})], [], "yes: joint training is unknown"),
        ([("finetune", 20, {}), ("joint", 95, {})], [], "yes"),
        ([("finetune", 82, {}), ("joint", 95, {})], [], "no: finetune has 82.00"),
        ([("finetune", 20, {}), ("joint", 88, {})], [], "no: joint has 88.00"),
        ([("finetune", 20, {}), ("joint", 89, {})], [], "yes"),
        ([("joint", 95, {})], [], "unknown"),
        (
            [],
            [("finetune", "84.00", ""), ("joint", "95", "")],
            "no: finetune has 84.00 in their table",
        ),
        ([], [("finetune", "20.00", ""), ("joint", "95", "")], "yes"),
        (
            [("finetune", 20, {})],
            [("finetune", "84.00", "")],
            "yes: joint training is unknown",
        ),  # ours goes first
        (
            [("finetune", 20, {"probe_examples": 5})],
            [],
            "yes: joint training is unknown",
        ),  # another stream in the same protocol
        ([("finetune", 85, {"scenario": "task"})], [], "unknown"),
        ([], [("finetune", "85.00", "split:scenario=task")], "unknown"),
        (
            [],
            [("finetune", "85.00", "split:scenario=class,steps=9")],
            "no: finetune has 85.00 in their table",
        ),
    ],
)
def test_a_row_that_a_baseline_would_pass_is_not_informative(informative, ours, printed, expected):
    assert informative(ours, printed)[0] == expected


def test_the_first_note_counts_verdicts_by_what_a_row_can_tell(informative):
    assert informative()[1] == "Informative numbers: none; unknown: 1 reproduced."
    both = [("finetune", 20, {}), ("joint", 95, {})]
    assert informative(both)[1] == "Informative numbers: 1 reproduced."
    assert informative(both, [("finetune", "24.00", ""), ("joint", "95.00", "")])[1] == (
        "Informative numbers: 1 reproduced; baselines: 1 reproduced, 1 differs."
    )
    assert (
        informative([("finetune", 84, {})], differs="dice")[1]
        == "Informative numbers: none; uninformative: 1 not comparable."
    )


def test_a_loss_that_all_but_diverged_is_put_shortly(make_adapted, make_published, literature):
    literature(
        "published", make_published({"loss@0": "0.5"}, benchmark="sinusoid", strategy="maml")
    )
    ((row,),) = (
        section.rows for section in table([make_adapted(values=((4e6, 2), (3, 1)))]).sections
    )
    assert (row[4].text, row[6].text) == ("2e+06", "+2e+06")


def test_accuracies_after_inner_steps_are_percentages_over_replicates(
    make_adapted, make_published, literature
):
    literature(
        "published", make_published({"accuracy@1": "80"}, benchmark="sinusoid", strategy="maml")
    )
    made = [
        make_adapted(seed=seed, values=((2, 3), (8 + seed, 8)), classified=True)
        for seed in range(2)
    ]
    ((row,),) = (section.rows for section in table(made).sections)
    assert row[4].text == "82.50 ± 31.77"  # of 80 and 85; t(0.975, 1) = 12.706


def test_the_tidy_row_holds_the_protocol_the_definition_and_the_reason(
    make_record, make_published, literature
):
    literature("published", make_published({"ACC": "83.0"}, differs="loaded dice"))
    (row,) = table([make_record(seed=seed) for seed in (0, 1)]).tidy.itertuples()
    assert (row.protocol, row.definition, row.checked, row.theirs, row.spread_is) == (
        "C",
        "D",
        "paper",
        "83.0",
        "none",
    )
    assert (row.mean, row.difference) == pytest.approx((85, 2))
    assert (row.verdict, row.reason) == ("not comparable", "loaded dice")


def test_a_cell_in_another_protocol_is_not_comparable_and_has_no_published_row_among_scores(
    make_record, make_published, literature
):
    for name in ("published", "scores"):
        literature(name, make_published())
    records = [make_record(seed=seed) for seed in (0, 1)]
    other = dataclasses.replace(records[0].cell.benchmark, overrides={"test_examples": 9})
    moved = [
        dataclasses.replace(r, cell=dataclasses.replace(r.cell, benchmark=other)) for r in records
    ]
    assert [
        len(Registry().get("results", "scores").table(of).sections[0].rows)
        for of in (records, moved)
    ] == [2, 1]
    assert table(moved).tidy.reason.tolist() == ["test_examples=9, theirs 0"]


def test_cells_that_the_literature_has_not_are_not_in_the_table(
    make_record, make_published, literature
):
    literature("published", make_published())
    assert table([make_record("sgd"), make_record(benchmark="rotated")]).sections == ()
    assert "No records" in FORMATS["md"](table([]))


def test_published_rows_write_numbers_as_settings_are_written():
    """A row with growth=0 would never meet a record with 0.0."""
    registry = Registry()
    for entry in published_numbers():
        for kind, spec in (("benchmarks", entry.benchmark), ("strategies", entry.row.strategy)):
            name, given = parse(spec)
            settings = registry.get(kind, name, given).settings()
            assert {key: as_text(settings[key]) for key in given} == given, spec
