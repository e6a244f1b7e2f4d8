"""The frames and the table of the account of forgetting, against numbers computed by hand."""

import random

import numpy as np
import pytest

from retrograde.metrics.alignment import (
    account_frame,
    between_methods,
    matched_frame,
    matched_level,
    replicate_accounts,
    within_runs,
)
from retrograde.metrics.frames import cell_labels
from retrograde.parts.registry import Registry
from retrograde.records.record import Record
from retrograde.reporting.formats import FORMATS

PARTS = Registry()


def booked(records):
    return account_frame(records, cell_labels(records))


def replicates(records):
    return replicate_accounts(records, cell_labels(records))


def table(records):
    return PARTS.get("results", "account").table(records)


def section(records, words):
    """The rows of the one section whose heading has these words."""
    (found,) = [each for each in table(records).sections if words in each.heading]
    return {
        row[0].text: dict(zip(found.columns, (entry.text for entry in row), strict=True))
        for row in found.rows
    }


def number(records, metric, strategy=""):
    tidy = table(records).tidy
    return tidy[(tidy.metric == metric) & (tidy.strategy == strategy)]


@pytest.fixture
def made(make_probed, make_probe, make_account):
    """Three tasks: the second raises the first's loss by 1; the third that of the first by 2, and lowers the second's by 1."""
    probes = [
        make_probe(0, [[1, 0], [0.6, 0.8]]),
        make_probe(1, [[1, 0], [0, 1], [-2, 0]]),
        make_probe(2, np.eye(3)),
    ]
    accounts = [
        make_account(1, before=0.5, slope=-1, curvature=1.75, remainder=0.25, exposure=3, length=2),
        make_account(
            2,
            before=[1.5, 0.5],
            slope=[1, -3],
            curvature=[1, 1.5],
            remainder=[0, 0.5],
            exposure=[4, 6],
            length=4,
        ),
    ]
    return make_probed(probes=probes, accounts=accounts)


@pytest.fixture
def several(make_probed):
    """On two benchmarks three strategies and an upper bound, on three seeds and five tasks."""
    ends = {"er": 80, "finetune": 40, "gem": 70, "joint": 90}
    return [
        make_probed(name, seed, (end - seed, *[90] * 4), benchmark=benchmark, upper_bound=name == "joint")
        for benchmark in ("rotated", "split") for name, end in ends.items() for seed in range(3)
    ]  # fmt: skip


# The frames


def test_a_task_has_the_means_over_the_earlier_ones_and_what_the_end_before_said(made):
    second, third = booked([made]).to_dict("records")
    assert {name: second[name] for name in ("task", "old_loss", "observed", "interference", "remainder", "drop")} == {
        "task": 1, "old_loss": 0.5, "observed": 1, "interference": 0.75, "remainder": 0.25, "drop": 0,
    }  # fmt: skip
    expected = {
        "old_loss": 1, "observed": 0.5, "slope": -1, "curvature": 1.25, "interference": 0.25, "remainder": 0.25,
        "exposure": 5, "path": 4, "missed": 0.5, "changed": 3, "alignment": -0.05, "gradient": 1.25,
        "drop": 0.05, "next_task_cosine": -1 / np.sqrt(2), "transfer": -1, "conflict_rate": 0.5,
    }  # fmt: skip
    assert {name: third[name] for name in expected} == pytest.approx(expected)
    assert (
        second["next_task_cosine"],
        second["transfer"],
        second["conflict_rate"],
    ) == pytest.approx((0.6, 0.6, 0))


def test_a_replicate_has_means_over_the_tasks_trained_and_ratios_of_them(made):
    (found,) = replicates([made]).to_dict("records")
    expected = {
        "observed": 0.75, "slope": -1, "curvature": 1.5, "interference": 0.5, "remainder": 0.25, "exposure": 4, "path": 3,
        "alignment": -0.125, "gradient": 4 / 3, "explained": 1 - 0.75 / 4, "forgetting": 0.05,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_interference_is_the_product_of_its_factors_for_every_replicate(several):
    found = replicates(several)
    assert found.interference.to_numpy() == pytest.approx(
        -found.alignment * found.gradient * found.path
    )
    assert found.observed.to_numpy() == pytest.approx(
        found.slope + found.curvature + found.remainder
    )


def test_remainders_of_opposite_signs_do_not_make_up_for_one_another(make_probed, make_account):
    accounts = [
        make_account(1, slope=1, curvature=0),
        make_account(2, slope=1, curvature=0, remainder=[0.5, -0.5]),
    ]
    (explained,) = replicates([make_probed(accounts=accounts)]).explained
    assert explained == pytest.approx(1 - 1 / 3)  # and not 1


def test_records_without_a_whole_account_are_left_out(make_probed, make_record, make_account):
    broken = make_probed(seed=1, accounts=[make_account(1)])
    assert booked([make_record(), broken, make_probed(status="diverged")]).empty
    assert replicates([broken]).empty
    assert list(replicates([broken]).columns) == list(replicates([make_probed()]).columns)


def test_a_path_of_no_length_has_no_ratios(make_probed, make_account):
    still = [make_account(task, slope=0, curvature=0, exposure=0, length=0) for task in (1, 2)]
    (found,) = replicates([make_probed(accounts=still)]).to_dict("records")
    assert np.isnan([found["alignment"], found["gradient"], found["explained"]]).all()


# At matched old loss


def line_of(make_account, losses, cost):
    """Accounts whose cost is a given function of the old loss."""
    return [
        make_account(i + 1, before=loss, slope=cost(loss), curvature=0)
        for i, loss in enumerate(losses)
    ]


def test_costs_on_known_lines_are_read_off_at_the_loss_that_both_reach(make_probed, make_account):
    ends = [90] * 4
    made = [
        make_probed(
            "er", 0, ends, accounts=line_of(make_account, [0.5, 1, 1.5], lambda loss: 1 - loss / 2)
        ),
        make_probed(
            "gem", 0, ends, accounts=line_of(make_account, [1, 2, 3], lambda loss: 2 * loss)
        ),
    ]
    assert matched_level(booked(made)) == 1.25
    found = section(made, "at matched old loss 1.25")
    assert (found["er"]["cost"], found["gem"]["cost"]) == ("0.38", "2.50")  # 0.375
    assert number(made, "matched_observed", "er")["mean"].tolist() == pytest.approx([0.375])


def test_a_replicate_whose_old_losses_do_not_reach_it_counts_as_unknown(make_probed, make_account):
    reaching, beyond = (
        line_of(make_account, losses, lambda loss: loss) for losses in ([1, 2, 3], [7, 8, 9])
    )
    made = [make_probed("er", s, [90] * 4, accounts=reaching) for s in range(3)]
    made += [make_probed("gem", s, [90] * 4, accounts=reaching if s else beyond) for s in range(3)]
    made += [make_probed("agem", s, [90] * 4, accounts=beyond) for s in range(3)]
    found = section(made, "at matched old loss 2")
    assert {name: row["n"] for name, row in found.items()} == {
        "er": "3",
        "gem": "2 of 3",
        "agem": "0 of 3",
    }
    assert found["agem"]["cost"] == "n/a"
    values = matched_frame(booked(made), 2.0)
    assert values.value.isna().sum() == 4 * 4


def test_strategies_that_share_no_old_loss_are_not_compared(make_probed, make_account):
    made = [
        make_probed(name, 0, [90] * 4, accounts=line_of(make_account, losses, lambda loss: loss))
        for name, losses in (("er", [1, 2, 3]), ("gem", [4, 5, 6]))
    ]
    assert not [each for each in table(made).sections if "matched" in each.heading]


# Why one forgets less than another


def test_a_strategy_of_half_the_path_owes_all_of_it_to_the_path(make_probed, make_account):
    def of(length, exposure, slope):
        return [
            make_account(task, slope=slope, curvature=0, exposure=exposure, length=length)
            for task in (1, 2)
        ]

    made = [make_probed("er", s, accounts=of(4, 8, 2 + s)) for s in range(3)]
    made += [make_probed("gem", s, accounts=of(2, 4, 1 + s / 2)) for s in range(3)]
    row = section(made, "why one forgets less than another: against er")["gem"]
    assert row["interference"] == row["path"] == "× 0.5 [0.5, 0.5]"
    assert row["-alignment"] == row["gradient"] == "× 1 [1, 1]"
    assert row["by path"] == row["difference"] == "-1.50 ± 1.24"  # half of 2, 3 and 4
    assert row["by alignment"] == row["by gradient"] == "0.00 ± 0.00"


def test_a_strategy_that_does_not_interfere_has_no_ratio_and_still_a_difference(
    make_probed, make_account
):
    made = [make_probed("er", s) for s in range(3)]
    made += [
        make_probed(
            "gem", s, accounts=[make_account(1, slope=-1 - s), make_account(2, slope=-1 - s)]
        )
        for s in range(3)
    ]
    row = section(made, "why one forgets less")["gem"]
    assert (row["interference"], row["-alignment"]) == ("n/a", "n/a")
    assert row["path"].startswith("× ")
    assert row["difference"].startswith("-")


def test_without_replay_the_first_strategy_that_competes_is_the_reference(make_probed):
    made = [make_probed(name, 0, upper_bound=name == "a") for name in ("a", "b", "c")]
    assert list(section(made, "against b")) == ["c"]


# Within runs


def test_the_cost_of_the_next_task_falls_with_alignment_in_every_run_and_rises_between_methods(
    make_probed, make_probe, make_account
):
    cosines = [0.1, 0.3, 0.5, 0.7]

    def run(level, seed):
        shift = [cosine / 2 + level for cosine in cosines]
        looks = [
            make_probe(i, [*[[1, 0]] * (i + 1), [c, (1 - c**2) ** 0.5]])
            for i, c in enumerate(shift)
        ]
        noise = np.random.default_rng([seed, round(10 * level)]).normal(size=4) / 50
        books = [
            make_account(i + 1, slope=5 * level - c + e, curvature=0)
            for i, (c, e) in enumerate(zip(shift, noise, strict=True))
        ]
        return {"probes": [*looks, make_probe(4, np.eye(5))], "accounts": books}

    made = [
        make_probed(name, seed, [90] * 5, **run(level, seed))
        for name, level in (("er", 0), ("gem", 0.2), ("agem", 0.4)) for seed in range(3)
    ]  # fmt: skip
    accounts = booked(made)
    found = within_runs(accounts, "next_task_cosine", "observed")
    assert found.high < -0.9
    assert (found.seeds, found.runs, found.negative) == (3, 9, 9)
    assert between_methods(accounts, "next_task_cosine", "observed") == pytest.approx((1, 3))
    row = section(made, "all strategies together")["loss"]
    assert row["next_task_cosine"].endswith("negative in 9 of 9")
    assert row["n"] == "9 runs of 3 seeds"


def test_given_a_common_cause_in_old_loss_alignment_says_nothing_more(
    make_probed, make_probe, make_account
):
    def run(seed):
        draw = np.random.default_rng(seed)
        losses = draw.uniform(0.5, 1, 8)
        cosine = losses + draw.normal(size=8) / 50
        looks = [make_probe(i, [*[[1, 0]] * (i + 1), [c, 0.1]]) for i, c in enumerate(cosine)]
        noise = draw.normal(size=8) / 50
        return {
            "probes": looks,
            "accounts": [
                make_account(i + 1, before=losses[i], slope=losses[i] + noise[i]) for i in range(8)
            ],
        }

    accounts = booked([make_probed("er", seed, [90] * 9, **run(seed)) for seed in range(5)])
    assert within_runs(accounts, "transfer", "observed").low > 0.8
    given = within_runs(accounts, "transfer", "observed", ("old_loss", "task"))
    assert given.low < 0 < given.high


def test_upper_bounds_are_in_the_account_alone(several):
    made = table(several)
    with_bounds = [
        each.heading for each in made.sections if any("†" in row[0].text for row in each.rows)
    ]
    assert len(with_bounds) == 2
    assert all("windows of 5 steps" in heading for heading in with_bounds)


# The table


def test_the_account_has_every_number_with_its_interval(make_probed, make_account):
    made = [
        make_probed(
            seed=s,
            ends=(80, 90),
            accounts=[make_account(1, slope=-1, curvature=1.5 + s, exposure=4)],
        )
        for s in (0, 1)
    ]
    (row,) = section(made, "windows of 5 steps, up to 50 test examples of each task").values()
    assert row == {
        "strategy": "er", "forgetting %": "10.00 ± 0.00", "observed": "1.00 ± 6.35", "slope": "-1.00 ± 0.00",
        "curvature": "2.00 ± 6.35", "remainder": "0.00 ± 0.00", "explained %": "100.00 ± 0.00", "exposure": "4.00 ± 0.00",
        "alignment": "-0.250 ± 1.588", "gradient": "1.00 ± 0.00", "path": "4.00 ± 0.00", "n": "2",
    }  # fmt: skip


def test_replicates_without_a_whole_account_are_counted_apart(make_probed, make_account):
    made = [
        make_probed(seed=0),
        make_probed(seed=1, accounts=[make_account(1)]),
        make_probed(seed=2, status="diverged"),
    ]
    made.append(make_probed("wild", accounts=[], status="diverged"))
    rows = section(made, "windows of")
    assert (rows["er"]["n"], rows["wild"]["n"]) == ("1 of 2 (1 diverged)", "0 (1 diverged)")
    assert rows["wild"]["observed"] == "–"


def test_a_window_may_be_a_whole_task(make_probed):
    assert "windows of a whole task," in table([make_probed(every=0)]).sections[0].heading


def test_records_without_accounts_have_no_section_and_do_not_disturb_those_with_them(
    make_record, make_probed
):
    plain = [make_record(benchmark="rotated"), make_probed("gem", probes=[], accounts=[])]
    assert not table(plain).sections
    assert not table([make_probed(ends=(90,), accounts=[])]).sections
    assert {each.heading.split(" — ")[0] for each in table([*plain, make_probed()]).sections} == {
        "split"
    }
    assert section([*plain, make_probed()], "windows of")["gem"]["n"] == "0 of 1"


def test_one_seed_has_numbers_and_no_intervals(make_probed):
    made = table([make_probed("er", 0, [90] * 5), make_probed("gem", 0, [90] * 5)])
    assert not any(
        "±" in entry.text or "nan" in entry.text
        for each in made.sections
        for row in each.rows
        for entry in row
    )
    assert made.tidy[made.tidy.metric == "observed"].ci_low.isna().all()


def test_no_entry_is_nan(several):
    assert not any(
        "nan" in entry.text
        for each in table(several).sections
        for row in each.rows
        for entry in row
    )
    assert table(several).tidy["mean"].notna().all()


@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_the_records_and_a_stay_on_disk_change_no_byte(several, seed):
    shuffled = random.Random(seed).sample(several, len(several))
    again = [Record.from_json(record.to_json()) for record in shuffled]
    assert all(render(table(again)) == render(table(several)) for render in FORMATS.values())


def test_strategies_that_share_no_seed_are_not_compared_and_have_their_rows(make_probed):
    made = table([make_probed("er", 0), make_probed("finetune", 1)])
    assert [
        each.heading for each in made.sections if "forgets less than another" in each.heading
    ] == []
    assert {row[0].text for each in made.sections for row in each.rows} >= {"er", "finetune"}
