"""The table of published numbers: differences, their intervals, and verdicts."""

import pytest

from retrograde.registry import Registry
from retrograde.render import FORMATS


def table(records):
    return Registry().get("results", "published").table(records)


@pytest.fixture
def beside(make_record, make_published, literature):
    """The one row, by column, of records whose ACC is 84, 85 and 86 percent, or as given, beside a printed number."""

    def row(printed, accuracies=(84, 85, 86), metric="ACC", statuses=(), **source):
        literature("published", make_published({metric: printed}, **source))
        records = [make_record("er", seed, ((10,), (accuracy,))) for seed, accuracy in enumerate(accuracies)]
        records += [make_record("er", 9 + seed, ((10,),), status=status) for seed, status in enumerate(statuses)]
        (section,) = table(records).sections
        (only,) = section.rows
        return dict(zip(section.columns, (entry.text for entry in only), strict=True))

    return row


def test_a_row_has_theirs_with_its_spread_and_ours_with_its_interval(beside):
    row = beside("83.00 ± 1.00", spread="standard deviation", n=3, checked="memory")
    assert list(row.values()) == [
        *("er", "A, B 2020, table 1, unverified", "ACC", "83.00 ± 1.00 (s.d., n = 3)", "85.00 ± 2.48", "3"),
        *("+2.00 ± 2.27", "yes", "agrees"),  # t(0.975, 4) = 2.7764; sqrt(1 / 3 + 1 / 3) = 0.8165
    ]


def test_a_standard_error_is_taken_as_it_is(beside):
    assert beside("83.00 ± 0.00", spread="standard error", n=3)["difference"] == "+2.00 ± 2.48"


@pytest.mark.parametrize(("n", "half"), [(None, "4.97"), (1, "4.97"), (3, "3.51")])  # t(0.975, 2) = 4.3027 x sqrt(1/3 + 1/n)
def test_runs_of_which_no_spread_is_printed_are_taken_to_scatter_as_ours(beside, n, half):
    assert beside("83.00", n=n)["difference"] == f"+2.00 ± {half}"


@pytest.mark.parametrize(
    ("printed", "verdict"),
    [(p, "agrees") for p in ("82.52", "82.5", "87.5", "87.48")] + [(p, "differs") for p in ("82.50", "87.50")],
)
def test_numbers_agree_whose_difference_is_within_the_interval_and_the_rounding(beside, printed, verdict):
    assert beside(f"{printed} ± 0.00", spread="standard error", n=99)["verdict"] == verdict  # half of 4.97 / sqrt(3) is 2.48


@pytest.mark.parametrize(("printed", "within"), [("82.00", "yes"), ("81.99", "no"), ("88.00", "yes"), ("88.01", "no")])
def test_three_points_are_a_matter_of_the_means_alone(beside, printed, within):
    row = beside(f"{printed} ± 0.00", (85, 85, 85), spread="standard error", n=99)
    assert (row["within 3"], row["verdict"]) == (within, "differs")


def test_an_interval_wider_than_the_margin_is_said_to_say_little(beside):
    assert beside("85.00", (75, 85, 95))["verdict"] == "agrees: the interval is wide"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"differs": "their dice are loaded"}, "their dice are loaded"),
        ({"needs": "task_size=5"}, "task_size=2, theirs 5"),
        ({"accuracies": (85,)}, "a single replicate of ours"),
        ({"statuses": ("diverged",)}, "1 of our replicates diverged or failed"),
        ({"metric": "BWT"}, "we have no such number"),  # of one task there is none
    ],
)
def test_numbers_are_not_comparable_for_a_reason_that_is_given(beside, given, reason):
    assert beside("85.00", **given)["verdict"] == f"not comparable: {reason}"


def test_one_replicate_has_a_difference_without_an_interval_and_none_has_none(beside):
    one, none = beside("83.00", (85,)), beside("83.00", (), statuses=("failed",))
    assert [one[name] for name in ("ours", "n", "difference", "within 3")] == ["85.00", "1", "+2.00", "yes"]
    assert [none[name] for name in ("ours", "n", "difference", "within 3")] == ["–", "0 (1 failed)", "–", ""]


def test_losses_keep_their_unit_and_have_no_margin(make_adapted, make_published, literature):
    literature("published", make_published({"loss@1": "0.5"}, benchmark="sinusoid", strategy="maml"))
    ((row,),) = (section.rows for section in table([make_adapted(), make_adapted(seed=1, values=((4, 2), (30, 10)))]).sections)
    assert [entry.text for entry in row[4:]] == ["11.00 ± 114.36", "2", "+10.50 ± 198.07", "", "agrees"]


def test_a_loss_that_all_but_diverged_is_put_shortly(make_adapted, make_published, literature):
    literature("published", make_published({"loss@0": "0.5"}, benchmark="sinusoid", strategy="maml"))
    ((row,),) = (section.rows for section in table([make_adapted(values=((4e6, 2), (3, 1)))]).sections)
    assert (row[4].text, row[6].text) == ("2e+06", "+2e+06")


def test_accuracies_after_inner_steps_are_percentages_over_replicates(make_adapted, make_published, literature):
    literature("published", make_published({"accuracy@1": "80"}, benchmark="sinusoid", strategy="maml"))
    made = [make_adapted(seed=seed, values=((2, 3), (8 + seed, 8)), classified=True) for seed in range(2)]
    ((row,),) = (section.rows for section in table(made).sections)
    assert row[4].text == "82.50 ± 31.77"  # of 80 and 85; t(0.975, 1) = 12.706


def test_the_tidy_row_holds_the_protocol_the_definition_and_the_reason(make_record, make_published, literature):
    literature("published", make_published({"ACC": "83.0"}, differs="loaded dice"))
    (row,) = table([make_record(seed=seed) for seed in (0, 1)]).tidy.itertuples()
    assert (row.protocol, row.definition, row.checked, row.theirs, row.spread_is) == ("C", "D", "paper", "83.0", "none")
    assert (row.mean, row.difference) == pytest.approx((85, 2))
    assert (row.verdict, row.reason) == ("not comparable", "loaded dice")


def test_cells_that_the_literature_has_not_are_not_in_the_table(make_record, make_published, literature):
    literature("published", make_published())
    assert table([make_record("sgd"), make_record(benchmark="rotated")]).sections == ()
    assert "No records" in FORMATS["md"](table([]))
