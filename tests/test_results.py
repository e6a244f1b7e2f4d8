import random
from dataclasses import replace

import pandas as pd
import pytest

from retrograde.metrics.matrix import METRICS
from retrograde.parts.registry import Registry
from retrograde.records.cell import PartSpec
from retrograde.records.class_counts import ClassCounts
from retrograde.records.experiences import Experiences
from retrograde.records.online_accuracy import OnlineAccuracy
from retrograde.records.record import Record
from retrograde.records.store import Store
from retrograde.records.validation import Validation
from retrograde.reporting.cells import format_percent, score_cells
from retrograde.reporting.formats import FORMATS
from retrograde.reporting.result import TableResult
from retrograde.reporting.table import Table

SEEDS = range(5)
TIDY = ["benchmark", "strategy", "settings", "metric", "mean", "ci_low", "ci_high", "n"]
TABLES = [
    name
    for name in Registry().names("results")
    if issubclass(Registry().find("results", name), TableResult)
]
ELSEWHERE = (
    "calibration",
    "choices",
    "plasticity",
)  # tables of records that only their own test files have
PARTLY = (
    *ELSEWHERE,
    "account",
    "adaptation",
    "alignment",
    "anytime",
    "class_sequence",
    "classes",
    "compatibility",
)  # tables of some records only
OVER = (
    "leaderboard",
    "significance",
)  # tables over benchmarks or strategies, for which one is too few
PART = pytest.mark.parametrize("name", TABLES)


@pytest.fixture(autouse=True)
def _printed(make_published, literature):
    """Published numbers of every strategy of the made-up records, so that the table `published` is one of the others."""
    literature(
        "published",
        *(
            make_published(benchmark=b, strategy=s)
            for b in ("rotated", "split")
            for s in ("er", "sgd", "joint")
        ),
    )


def part(name):
    return Registry().get("results", name)


def scores(records) -> Table:
    return part("scores").table(records)


def rendered(name, records):
    return {form: render(part(name).table(records)) for form, render in FORMATS.items()}


def column(table, metric, benchmark="split"):
    """The entries of one metric by the rows' titles."""
    (section,) = [section for section in table.sections if section.heading == benchmark]
    place = section.columns.index(metric)
    return {row[0].text: row[place] for row in section.rows}


def bold(table, metric):
    return {title for title, entry in column(table, metric).items() if entry.bold}


def numbers(table, benchmark, strategy, metric):
    """The tidy row: mean, bounds and n."""
    tidy = table.tidy
    rows = tidy[
        (tidy.benchmark == benchmark) & (tidy.strategy == strategy) & (tidy.metric == metric)
    ]
    return rows[TIDY[4:]].to_numpy().tolist()


@pytest.fixture
def ending(make_record):
    """Records of one strategy on one task, whose final accuracies are given in percent, seed by seed."""
    return lambda strategy, *accuracies, **more: [
        make_record(strategy, seed, ((10,), (accuracy,)), **more)
        for seed, accuracy in enumerate(accuracies)
    ]


@pytest.fixture
def records(make_record, make_adapted, make_probe, make_account):
    """Two benchmarks: er, er with a smaller memory, and the upper bound; accuracies rise with the seed."""
    found = []
    probed = {
        "gradients": [make_probe(0, [[1, 0], [0, 1]]), make_probe(1, [[1, 0], [1, 1]], [2, 1])],
        "accounts": [make_account(1)],
    }
    along = {
        "settings": {"eval_every": 9},
        "online_accuracy": OnlineAccuracy([10, 10], [0, 0, 1], [0, 9, 18], [[1], [9, 2], [8, 9]]),
    }
    for benchmark in ("rotated", "split"):
        for s in SEEDS:
            found += [
                make_record(
                    "er",
                    s,
                    ((10, 10), (90, 20 + s), (80 + s, 90)),
                    benchmark=benchmark,
                    **probed,
                    **along,
                ),
                make_record(
                    "er",
                    s,
                    ((10, 10), (90, 30), (60, 90)),
                    benchmark=benchmark,
                    buffer_size=9,
                    **along,
                ),
                make_record(
                    "joint",
                    s,
                    ((10, 10), (95, 20), (90, 92 + s)),
                    benchmark=benchmark,
                    upper_bound=True,
                    **along,
                ),
                make_adapted("er", s, benchmark=f"few-{benchmark}"),
                make_adapted("er", s, benchmark=f"few-{benchmark}", buffer_size=9),
            ]
    return found


@pytest.fixture
def grown(make_record):
    """Records of a sequence of classes: tests after 1 class, with a third of the examples, and 3."""
    made = [
        make_record(strategy, s, ((0, 0), (50 + 10 * s, 9), (20, 40 + 10 * s)), benchmark="sequence", buffer_size=size,
                    settings={"test_after": [1, 3], "scenario": "class"})
        for strategy, size in (("er", 200), ("er", 9)) for s in range(2)
    ]  # fmt: skip
    return [replace(record, test_examples=[100, 200], classes=by_class(record)) for record in made]


def by_class(record):
    """Counts of three classes: one in the first task and two, with equally many examples, in the second."""
    rows = [[first, second // 2, second - second // 2] for first, second in record.correct]
    return ClassCounts([0, 1, 1], [0, 1, 2], [100] * 3, [0, 1, 1], rows, [[300, 0, 0]] * 3)


@pytest.fixture
def foreign(make_record):
    """Build a record of another library's class."""

    def make(name, seed=0, correct=((10, 10), (90, 20), (80, 90)), **fields):
        record = make_record(
            "theirs",
            seed,
            correct,
            **{key: fields.pop(key) for key in ("status",) if key in fields},
        )
        strategy = PartSpec("theirs", *[{"class": name, "memory": 9}] * 2)
        return replace(record, cell=replace(record.cell, strategy=strategy), **fields)

    return make


@pytest.fixture
def uneven(make_record, make_adapted):
    """Records whose scores are no round numbers: on seven test examples or with random losses, with every status."""
    draw = random.Random(5)
    cells = [("er", 200), ("er", 9), ("sgd", 200), ("joint", 200)]
    made = [
        make_record(
            strategy, s, [[draw.randint(0, 7) for _ in range(3)] for _ in range(4)], of=7, benchmark=benchmark, buffer_size=size,
            status="done" if s < 8 else "diverged", upper_bound=strategy == "joint",
            clocks={"train": draw.random(), "evaluate": draw.random()},
        )
        for benchmark in ("rotated", "split") for strategy, size in cells for s in range(9)
    ]  # fmt: skip
    adapted = [
        make_adapted(strategy, s, [[draw.random() for _ in range(7)] for _ in range(2)], benchmark=benchmark,
                     status="done" if s < 8 else "diverged", clocks={"train": draw.random(), "evaluate": draw.random()})
        for benchmark in ("lines", "waves") for strategy in ("er", "sgd") for s in range(9)
    ]  # fmt: skip
    return [*made, *adapted, make_record("er", 9, status="failed", correct=())]


# Every result part


@pytest.mark.parametrize("name", [name for name in TABLES if name not in ELSEWHERE])
@pytest.mark.parametrize("form", FORMATS)
def test_without_records_a_result_has_its_columns_and_no_row(name, form, records, grown, foreign):
    empty, full = part(name).table([]), part(name).table([*records, *grown, foreign("Theirs")])
    assert list(empty.tidy.columns) == list(full.tidy.columns)
    assert len(empty.tidy) == len(empty.sections) == 0
    assert FORMATS[form](empty) != FORMATS[form](full)


@PART
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_records_does_not_change_a_byte_of_a_result(name, seed, uneven):
    shuffled = random.Random(seed).sample(uneven, len(uneven))
    assert rendered(name, shuffled) == rendered(name, uneven)


@PART
def test_a_result_is_the_same_from_a_store_as_from_memory(name, uneven, tmp_path):
    store = Store(tmp_path)
    for record in uneven:
        store.write(record)
    back = [Record.from_json(record.to_json()) for record in uneven]
    assert rendered(name, list(store)) == rendered(
        name, sorted(back, key=lambda r: store.path(r.cell, r.seed))
    )


@pytest.mark.parametrize(
    "name", [name for name in TABLES if name not in (*ELSEWHERE, "compatibility", "leaderboard")]
)
def test_a_result_names_every_benchmark_and_every_strategy_that_finished(name, records, grown):
    table = part(name).table(records)
    streams, episodes = {"rotated", "split"}, {"few-rotated", "few-split"}
    if name in ("class_sequence", "classes"):
        table, streams = part(name).table(grown), {"sequence"}
    headings = {
        section.heading.split()[0] for section in table.sections if section.columns[0] == "strategy"
    }
    assert headings in (streams, episodes, streams | episodes)
    assert {row[0].text for s in table.sections for row in s.rows} >= {"er", "er buffer_size=9"}


@PART
def test_replicates_that_did_not_finish_give_a_result_no_numbers(name, make_record):
    table = part(name).table(
        [make_record(seed=s, status=status) for s, status in enumerate(["failed", "diverged"])]
    )
    assert len(table.tidy) == 0
    assert all(FORMATS[form](table) for form in FORMATS)


@pytest.mark.parametrize("name", [name for name in TABLES if name not in PARTLY + OVER])
def test_cells_of_other_settings_or_data_have_rows_of_their_own(name, make_record):
    twins = [
        make_record(),
        make_record(buffer_size=7),
        make_record(benchmark_overrides={"task_size": 7}),
        make_record(data="other"),
    ]
    table = part(name).table(twins)
    titles = [(section.heading, row[0].text) for section in table.sections for row in section.rows]
    assert len(set(titles)) == len(titles) == 4
    assert len(table.tidy[["benchmark", "strategy", "settings"]].drop_duplicates()) == 4
    assert (
        len({section.heading for section in table.sections}) == 3
    )  # streams that differ are never compared


@pytest.mark.parametrize("name", [name for name in TABLES if name not in PARTLY + OVER])
def test_replicates_of_one_cell_share_a_row_if_one_has_a_newer_setting_at_its_default(
    name, make_record
):
    records = [
        make_record(seed=0, settings={"task_size": 2}),
        make_record(seed=1, settings={"task_size": 2, "newer": 0}),
    ]
    assert records[0].cell.path == records[1].cell.path
    assert [len(section.rows) for section in part(name).table(records).sections] == [1]


# Scores


def test_notes_name_who_knows_the_length_and_who_masks_classes_to_come(make_record):
    settings = {"settings": {"scenario": "class"}}
    known = {
        "agem": ["length", "classes"],
        "gem": ["length", "classes"],
        "er": ["classes"],
        "lwf": [],
    }
    records = [make_record(name, knows_ahead=knows, **settings) for name, knows in known.items()]
    notes = "\n".join(scores(records).notes)
    assert "which they know ahead: agem, gem." in notes
    assert "the units of later classes are in the loss, except for lwf." in notes


def test_a_note_has_the_settings_where_others_of_the_strategy_know_less(make_record):
    records = [
        make_record(overrides={"policy": "ring"}, knows_ahead=["length"]),
        make_record(knows_ahead=[]),
    ]
    assert any(note.endswith("know ahead: er policy=ring.") for note in scores(records).notes)


def test_records_that_do_not_say_what_was_known_make_no_note(make_record, records):
    plain = len(scores(records).notes)
    assert len(scores([make_record(knows_ahead=[])]).notes) == plain
    assert len(scores([make_record(knows_ahead=None)]).notes) == plain


def test_the_scores_are_tidy_with_one_row_for_each_strategy_and_metric(records):
    tidy = scores(records).tidy
    assert list(tidy.columns) == TIDY
    assert len(tidy) == 2 * 3 * len([m for m in METRICS if not m.name.startswith("ACC_")])
    assert not tidy.duplicated(TIDY[:4]).any()
    assert set(tidy.n) == {5}


@pytest.mark.parametrize(
    ("metric", "mean", "half"),
    [
        (
            "ACC",
            0.86,
            0.0098162159,
        ),  # (80 + s + 90) / 200; t(0.975, 4) = 2.7764451, s.d. of 0..4 = 1.5811388
        ("LA", 0.90, 0.0),
        ("BWT", -0.08, 0.0196324318),
        ("BTI", -0.04, 0.0098162159),
        ("FWT", 0.12, 0.0196324318),
        ("forgetting", 0.08, 0.0196324318),
        ("intransigence", 0.045, 0.0098162159),  # ((95 - 90) + (92 + s - 90)) / 200
    ],
)
def test_the_mean_and_the_interval_of_a_score_are_those_computed_by_hand(
    records, metric, mean, half
):
    rows = scores(records).tidy.query(
        "benchmark == 'split' and strategy == 'er' and settings == ''"
    )
    (row,) = rows[rows.metric == metric].itertuples()
    assert (row.mean, row.ci_low, row.ci_high, row.n) == pytest.approx(
        (mean, mean - half, mean + half, 5), abs=1e-9
    )


def test_the_table_shows_percent_with_half_of_the_interval(records):
    accuracy = column(scores(records), "ACC", "rotated")
    assert {title: entry.text for title, entry in accuracy.items()} == {
        "er": "86.00 ± 0.98",
        "er buffer_size=9": "75.00 ± 0.00",
        "joint †": "92.00 ± 0.98",
    }


def test_a_mean_that_rounds_to_zero_is_shown_without_a_sign(make_record):
    records = [
        make_record(seed=s, correct=((0, 0), (50_000, 0), (49_999, 50_000)), of=100_000)
        for s in (0, 1)
    ]
    assert column(scores(records), "BWT")["er"].text == "0.00 ± 0.00"


def test_accuracy_with_the_task_given_is_shown_only_where_it_was_counted(make_record):
    given = [make_record(seed=s, correct_given_task=[[50, 50], [90, 60], [90, 90]]) for s in (0, 1)]
    table = scores([*given, make_record(benchmark="rotated")])
    assert column(table, "ACC_task_aware")["er"].text == "90.00 ± 0.00"
    assert [("ACC_task_aware" in s.columns) for s in table.sections] == [False, True]


def test_accuracy_on_validation_examples_is_shown_only_where_they_were_held_out(make_record):
    held_out = Validation([20, 10], [[2, 1], [20, 1], [16, 9]], [])
    records = [make_record(validation=held_out), make_record(benchmark="rotated")]
    table = scores(records)
    assert column(table, "ACC_validation")["er"].text == "85.00"
    assert [("ACC_validation" in s.columns) for s in table.sections] == [False, True]


@pytest.mark.parametrize(
    ("rival", "expected"),
    [
        ((89, 92, 91, 94, 93), {"best", "rival"}),  # differs by -1 or +1: p = 0.7
        ((88, 90, 91, 92, 93), {"best"}),  # 2, 1, 1, 1 and 1 lower: p = 0.004
        ((89, 90, 91, 92, 93), {"best", "rival"}),  # always 1 lower: p = 0.0625
        ((80, 70, 75, 60, 65), {"best"}),
        ((90, 91, 92, 93, 94), {"best", "rival"}),
        ((99, 80, 80, 99, 80), {"best", "rival"}),  # the mean is lower, but not with p < 0.05
    ],
)
@pytest.mark.parametrize("worse", [False, True])
def test_bold_marks_the_best_and_its_equals_if_a_third_differs_significantly(
    ending, rival, expected, worse
):
    third = ending("third", 10, 12, 11, 13, 15) if worse else []
    records = [*ending("best", 90, 91, 92, 93, 94), *ending("rival", *rival), *third]
    found = bold(scores([*records, *ending("joint", *[99] * 5, upper_bound=True)]), "ACC")
    assert found == (expected if worse or len(expected) == 1 else set())


def test_pairing_tells_strategies_apart_whose_intervals_overlap(ending):
    records = [*ending("best", 50, 60, 70, 80, 90), *ending("rival", 48, 59, 68, 79, 88)]
    tidy = scores(records).tidy.query("metric == 'ACC'").set_index("strategy")
    assert tidy.ci_high["rival"] > tidy.ci_low["best"]
    assert bold(scores(records), "ACC") == {"best"}


def test_strategies_whose_scores_differ_by_rounding_alone_are_both_bold(make_record):
    drop = {
        "low": (30, 10),
        "high": (50, 30),
        "worse": (90, 10),
    }  # 0.1 - 0.3 and 0.3 - 0.5 are two floats, one number
    records = [
        make_record(name, s, ((0, 0), (a - s * (name == "worse"), 0), (b, 50)))
        for name, (a, b) in drop.items()
        for s in SEEDS
    ]
    assert bold(scores(records), "BWT") == {"low", "high"}


def test_nothing_is_bold_in_19_of_20_stores_of_two_equal_strategies(make_record):
    """By a normal approximation the share may be 0.05 and two standard deviations of it."""
    draw, stores = random.Random(0), []
    for _ in range(100):
        common = [draw.gauss(70_000, 4000) for _ in SEEDS]
        ends = {
            name: [round(mean + draw.gauss(0, 2000)) for mean in common] for name in ("er", "sgd")
        }
        stores.append(
            [
                make_record(n, s, ((0,), (e,)), of=100_000)
                for n, of in ends.items()
                for s, e in enumerate(of)
            ]
        )
    assert sum(bool(bold(scores(store), "ACC")) for store in stores) <= 5 + 2 * 2.2


@pytest.mark.parametrize(
    ("metric", "best"),
    [("forgetting", "keeps"), ("BWT", "keeps"), ("intransigence", "learns"), ("LA", "learns")],
)
def test_the_best_is_the_lowest_where_less_is_better(make_record, metric, best):
    rows = {"keeps": (70, 69), "learns": (90, 40), "joint": (95, 90)}
    records = [
        make_record(name, s, ((10, 10), (a - s * (name == "keeps"), 10), (b - s, a)), upper_bound=name == "joint")
        for name, (a, b) in rows.items() for s in SEEDS
    ]  # fmt: skip
    assert bold(scores(records), metric) == {best}


@pytest.mark.parametrize(
    "accuracies",
    [
        {"er": [90], "sgd": [80]},
        {"er": [90, 91, 92]},
        {"er": [90, 91, 92], "sgd": [80]},
        {"er": [90, 91], "sgd": [80, 81]},
    ],
    ids=str,
)
def test_nothing_is_bold_where_no_two_strategies_have_three_replicates_to_compare(
    ending, accuracies
):
    table = scores(
        [record for name, values in accuracies.items() for record in ending(name, *values)]
    )
    assert bold(table, "ACC") == set()


def test_diverged_and_failed_replicates_are_counted_and_not_averaged(make_record):
    done = [make_record(seed=s) for s in range(3)]
    lost = [
        make_record(seed=3 + i, correct=((0, 0),), status=s)
        for i, s in enumerate(["diverged", "failed", "failed"])
    ]
    table = scores([*done, *lost])
    assert column(table, "n")["er"].text == "3 (1 diverged, 2 failed)"
    assert numbers(table, "split", "er", "ACC")[0] == pytest.approx([0.85, 0.85, 0.85, 3])


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_strategy_that_never_finished_is_in_the_table_with_its_count(make_record, status):
    lost = [make_record("sgd", s, correct=(), status=status) for s in SEEDS]
    table = scores([make_record(), *lost])
    assert column(table, "n")["sgd"].text == f"0 (5 {status})"
    assert column(table, "ACC")["sgd"].text == "–"


def test_a_failed_upper_bound_does_not_stand_among_the_competitors(ending):
    lost = ending("joint", *[0] * 5, status="failed", upper_bound=True)
    records = [*ending("er", 90, 90), *ending("joint", 99, upper_bound=True), *lost[1:]]
    assert set(column(scores(records), "n")) == {"er", "joint †"}


@pytest.mark.parametrize(
    ("of_er", "said"),
    [((85, 86, 85, 87, 86), True), ((85, 74, 85, 74, 86), False), ((70, 71, 70, 72, 71), False)],
    ids=["better", "not significantly better", "worse"],
)
def test_an_upper_bound_that_a_strategy_surpasses_is_said_to_be_none(ending, of_er, said):
    joint = ending("joint", 80, 81, 79, 80, 80, upper_bound=True)
    notes = " ".join(scores([*ending("er", *of_er), *joint]).notes)
    assert (
        "joint † is no upper bound on split: er is significantly better in ACC." in notes
    ) == said


def test_several_strategies_that_surpass_an_upper_bound_are_named_together(ending):
    joint = ending("joint", 80, 81, 79, 80, 80, upper_bound=True)
    two = [*ending("der", 91, 92, 90, 92, 91), *ending("er", 85, 86, 85, 87, 86)]
    notes = " ".join(scores([*two, *joint]).notes)
    assert "split: der, er are significantly better in ACC." in notes


def test_intransigence_is_paired_with_the_upper_bound_of_the_same_seed(make_record):
    own = [make_record("er", s, ((10,), (60 + 10 * s,))) for s in range(4)]
    joint = [make_record("joint", s, ((10,), (70 + 10 * s,)), upper_bound=True) for s in (2, 0)]
    table = scores([*own, *joint])
    assert numbers(table, "split", "er", "intransigence")[0] == pytest.approx([0.1, 0.1, 0.1, 2])
    assert numbers(table, "split", "er", "ACC")[0][3] == 4


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"benchmark": "rotated"},
        {"data": "other"},
        {"benchmark_overrides": {"task_size": 5}},
        {"status": "diverged"},
    ],
    ids=str,
)
def test_there_is_no_intransigence_without_an_upper_bound_on_the_same_stream(
    make_record, elsewhere
):
    table = scores([make_record(), make_record("joint", upper_bound=True, **elsewhere)])
    assert numbers(table, "split", "er", "intransigence") == []


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (
            {"joint": (80, 82), "a_bound": (99, 99)},
            [0.11, 2],
        ),  # joint it is, which is worse at test
        ({"joint": (80,), "a_bound": (99, 99)}, [0.1, 1]),  # a seed that joint lacks is dropped
        ({"b_bound": (99, 99), "a_bound": (75, 77)}, [0.06, 2]),  # else the first by name
    ],
)
def test_intransigence_is_against_one_upper_bound_that_its_name_decides(ending, bounds, expected):
    upper = [
        record for name, ends in bounds.items() for record in ending(name, *ends, upper_bound=True)
    ]
    for records in ([*ending("er", 70, 70), *upper], [*upper[::-1], *ending("er", 70, 70)]):
        ((mean, _, _, n),) = numbers(scores(records), "split", "er", "intransigence")
        assert [mean, n] == pytest.approx(expected)


def test_intransigence_is_against_joint_training_as_it_is_by_default_where_it_was_run_twice(ending):
    tuned = ending("joint", 99, 99, upper_bound=True, buffer_size=9)
    records = [*ending("er", 70, 70), *tuned, *ending("joint", 80, 80, upper_bound=True)]
    assert numbers(scores(records), "split", "er", "intransigence")[0][0] == pytest.approx(0.1)


def test_a_score_over_fewer_replicates_than_its_row_says_over_how_many(ending):
    records = [*ending("er", 70, 70, 70, 70, 70), *ending("joint", 80, 82, upper_bound=True)]
    table = scores(records)
    assert column(table, "n")["er"].text == "5"
    assert column(table, "ACC")["er"].text == "70.00 ± 0.00"
    assert (
        column(table, "intransigence")["er"].text == "11.00 ± 12.71 (n = 2)"
    )  # of 10 and 12; t(0.975, 1) = 12.706
    assert column(table, "intransigence")["joint †"].text == "0.00 ± 0.00"


@pytest.mark.parametrize(
    "other", [{"data": "other"}, {"benchmark_overrides": {"task_size": 5}}], ids=str
)
def test_strategies_that_were_run_on_different_streams_do_not_compete(ending, other):
    table = scores([*ending("er", 90, 91, 92), *ending("sgd", 50, 52, 51, **other)])
    marked = [
        row[0].text
        for section in table.sections
        for row in section.rows
        if any(entry.bold for entry in row)
    ]
    assert marked == []


# Timing


def test_the_timing_figures_are_those_computed_by_hand(make_record):
    (row,) = part("timing").table([make_record(seed=s) for s in (0, 1)]).tidy.itertuples()
    assert row.train_ms_per_step == pytest.approx(2.0)  # 2 s, 1000 steps, 5 replicates
    assert row.train_ms_per_replicate_step == pytest.approx(0.4)
    assert row.train_us_per_example == pytest.approx(25.0)  # of 16 000 examples each
    assert (row.evaluate_s, row.compile_s, row.memory_kB, row.peak_MB, row.n) == pytest.approx(
        (0.5, 3.0, 52.0, 500.0, 2)
    )


@pytest.mark.parametrize(
    "other",
    [
        {"machine": {"cpu": "Other"}},
        {"machine": {"threads": 1}},
        {"machine": {"device": "H200"}},
        {"replicates": 1},
        {"benchmark": "x"},
    ],
    ids=str,
)
def test_timings_under_other_conditions_never_share_a_section_or_a_mean(make_record, other):
    table = part("timing").table([make_record(), make_record("sgd"), make_record(seed=1, **other)])
    assert sorted(len(section.rows) for section in table.sections) == [1, 2]
    assert len({section.heading for section in table.sections}) == 2
    assert table.tidy.n.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "how",
    [{"backend": "opaque", "compiled": True}, {"backend": "pure", "compiled": False}],
    ids=str,
)
def test_timings_of_other_backends_share_a_section_but_no_mean(make_record, how):
    table = part("timing").table(
        [make_record(), make_record(seed=1, how={**how, "replicates": 5, "steps": 1000})]
    )
    ((first, second),) = (section.rows for section in table.sections)
    assert first != second
    assert table.tidy.n.tolist() == [1, 1]


def test_a_timing_is_the_mean_of_the_replicates_that_are_done(make_record):
    trained = {"evaluate": 1.0, "train": 4.0}
    lost = make_record(seed=2, clocks={"train": 900.0, "evaluate": 900.0}, status="diverged")
    tidy: pd.DataFrame = (
        part("timing").table([make_record(), make_record(seed=1, clocks=trained), lost]).tidy
    )
    assert tidy[["train_ms_per_step", "evaluate_s", "compile_s", "n"]].to_numpy().tolist() == [
        [3.0, 0.75, 1.5, 2]
    ]


def test_published_scores_stand_under_the_row_that_they_fit(
    make_record, make_published, literature
):
    literature(
        "scores",
        make_published({"ACC": "77.40 ± 0.65"}, spread="standard error", n=9, checked="memory"),
    )
    (section,) = scores([make_record(), make_record("other")]).sections
    title = "– published: A, B 2020, table 1, unverified, ± standard error of 9"
    assert [row[0].text for row in section.rows] == ["er", title, "other"]
    assert section.rows[1][section.columns.index("ACC")].text == "77.40 ± 0.65"
    assert section.rows[1][section.columns.index("BTI")].text == ""


# Accuracy on each task


def test_each_task_has_its_mean_at_the_end_and_in_the_csv_since_it_was_learned(make_record):
    made = [make_record(seed=s, correct=((10, 10), (90, 20), (80 + 2 * s, 90))) for s in (0, 1)]
    table = part("tasks").table(made)
    assert [entry.text for entry in table.sections[0].rows[0]] == ["er", "81.00", "90.00", "2"]
    assert table.tidy[["after", "task", "mean"]].to_numpy().tolist() == [
        [1, 1, 0.9],
        [2, 1, 0.81],
        [2, 2, 0.9],
    ]


def test_the_csv_has_a_task_after_each_experience_since_it_was_first_seen(make_record):
    rows = ((10, 10), (90, 20), (70, 80), (80, 60))
    comes_back = Experiences(3, [0, 1], [2, 1])
    table = part("tasks").table([make_record(correct=rows, experiences=comes_back)])
    found = table.tidy[["after", "task", "mean"]].to_numpy().tolist()
    assert found == [[1, 1, 0.9], [2, 1, 0.7], [2, 2, 0.8], [3, 1, 0.8], [3, 2, 0.6]]


def test_of_a_hundred_tasks_twenty_have_a_column_and_the_last_is_one(make_record):
    table = part("tasks").table([make_record(correct=[range(101)] * 102, of=200)])
    (section,) = table.sections
    assert section.columns[1:3] == ("task 1", "task 7")
    assert section.columns[-2] == "task 101"
    assert len(section.columns) <= 20 + 2
    assert [entry.text for entry in section.rows[0][1:3]] == ["0.00", "3.00"]


# Class sequence


def test_accuracy_on_the_classes_seen_weighs_every_test_example_alike(grown):
    table = part("class_sequence").table(grown)
    assert table.sections[0].columns == ("strategy", "1 class", "3 classes", "n")
    means = table.tidy.set_index(["settings", "classes"])["mean"]
    assert means["", 1] == pytest.approx((0.50 + 0.60) / 2)
    assert means["", 3] == pytest.approx((60 / 300 + 70 / 300) / 2)


def test_only_sequences_of_classes_are_in_their_table(records):
    assert part("class_sequence").table(records).sections == ()


# Compatibility


def test_a_foreign_class_stands_with_its_settings_its_outcome_and_its_accuracy(foreign):
    table = part("compatibility").table(
        [foreign("Theirs", 0), foreign("Theirs", 1, ((10, 10), (90, 20), (90, 100)))]
    )
    (section,) = table.sections
    assert [entry.text for entry in section.rows[0]][:3] == ["Theirs", "memory=9", "done"]
    assert section.rows[0][3].text.startswith("90.00 ± ")
    assert table.tidy[["n", "value"]].to_numpy().tolist() == [[2, pytest.approx(0.9)]]


@pytest.mark.parametrize(
    ("status", "reason", "why"),
    [
        ("failed", "Traceback:\n  theirs:3 in train\nKeyError: 'x'\nand more", "KeyError: 'x'"),
        (
            "failed",
            "Traceback:\n  a:1 in f\nKeyError: 1\nand then\nTraceback:\n  b:2 in g\nValueError: 2",
            "ValueError: 2",
        ),
        ("failed", "The rule.\nThe remedy.", "The rule."),
        (
            "diverged",
            "A parameter or a score became non-finite.",
            "A parameter or a score became non-finite.",
        ),
    ],
)
def test_a_foreign_class_that_did_not_finish_has_the_exception_in_a_line_and_no_accuracy(
    foreign, status, reason, why
):
    (section,) = (
        part("compatibility")
        .table([foreign("Theirs", correct=(), status=status, reason=reason)])
        .sections
    )
    assert [entry.text for entry in section.rows[0]] == ["Theirs", "memory=9", status, "–", why]


def test_only_classes_of_other_libraries_are_in_their_table(records):
    assert part("compatibility").table(records).sections == ()


def test_a_column_made_at_once_has_the_text_of_each_strategy_alone():
    draw = random.Random(0)
    values = {
        (False, "s", f"n={n}"): {seed: draw.random() for seed in range(n)} for n in (1, 2, 5, 3, 40)
    }
    found = score_cells(values, True, {key: len(of) for key, of in values.items()})
    assert {key: entry.text for key, entry in found.items()} == {
        key: format_percent(of) for key, of in values.items()
    }
