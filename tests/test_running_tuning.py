"""Tuning: what is chosen, on what, and that no test example takes part."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

import retrograde as rg
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.running.search_space import SearchSpace
from retrograde.running.seeds import seeds_of
from retrograde.running.suite import Suite, all_pairs
from retrograde.running.trials import Trials

GROUND = "split:steps=15,probe_examples=0,dataset=made,model=mlp-8"


def made(seed=0, classes=6, train=30, test=10):
    """Classes that are easily told apart, so that a rate decides how much is learned."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, 12))

    def part(count):
        y = random.permutation(np.repeat(np.arange(classes), count))
        return (centres[y] + 0.5 * random.normal(size=(len(y), 12))).astype(np.float32), y

    return rg.Dataset("made", *part(train), *part(test))


DATA = made()


def tuned(data=DATA, strategy="er:lr=0.0001|0.1,buffer_size=20|40", ground=GROUND, **given):
    given = {"fresh": [7, 8], "compile": "off", "progress": False} | given
    (found,) = rg.tune(f"{ground},tasks=3", strategy, data={"made": data}, **given)
    return found


def scores_of(found):
    return dict(zip(found.trials.strategy, found.trials.ACC, strict=True))


def test_a_grid_tries_every_setting_and_measures_the_best_on_fresh_seeds(tmp_path):
    found = tuned(seeds=2, store=tmp_path)
    tried = scores_of(found)
    assert set(tried) == {
        "er:lr=0.0001,buffer_size=20",
        "er:lr=0.0001,buffer_size=40",
        "er:buffer_size=20",
        "er:buffer_size=40",
    }
    assert found.strategy == max(tried, key=tried.get)
    assert found.strategy.startswith("er:buffer")
    assert [record.seed for record in found.records] == [7, 8]
    assert {record.cell.strategy.spec for record in found.records} == {found.strategy}
    buffer_size = f"buffer_size={found.records[0].cell.strategy.settings['buffer_size']}"
    assert {record.how["chosen"] for record in found.records} == {
        f"tuned (within, grid by ACC, 4 trials of 2 seeds: lr=0.1,{buffer_size})"
    }
    # Without the held-out share, and on test examples.
    assert "validation" not in found.records[0].cell.benchmark.overrides
    assert found.records[0].test_examples == [20, 20, 20]


def test_a_trials_score_is_the_accuracy_of_its_record_on_held_out_examples(tmp_path):
    found = tuned(seeds=1, store=tmp_path)
    trials = rg.load(tmp_path / "trials")
    assert {record.cell.benchmark.overrides["evaluate_on"] for record in trials} == {"validation"}
    assert {tuple(record.test_examples) for record in trials} == {(6, 6, 6)}
    expected = {record.cell.strategy.spec: record.R[-1].mean() for record in trials}
    assert scores_of(found) == pytest.approx(expected)


def test_permuted_test_labels_leave_choice_and_scores_unchanged_and_others_change_them():
    random = np.random.default_rng(3)
    permuted = random.permutation(DATA.y_test)
    choice = tuned()
    blind = tuned(replace(DATA, y_test=permuted, x_test=np.zeros_like(DATA.x_test)))
    assert blind.strategy == choice.strategy
    assert scores_of(blind) == scores_of(choice)
    # Validation examples are some of the training examples.
    leaky = tuned(replace(DATA, y_train=random.permutation(DATA.y_train)))
    assert scores_of(leaky) != scores_of(choice)


def test_the_same_call_trains_nothing_again(tmp_path, monkeypatch):
    first = tuned(store=tmp_path)

    def never(*_):
        raise AssertionError("a finished replicate was trained again")

    monkeypatch.setattr("retrograde.running.jobs.run_job", never)
    again = tuned(store=tmp_path)
    assert scores_of(again) == scores_of(first)
    assert [record.correct for record in again.records] == [
        record.correct for record in first.records
    ]


def test_the_suite_that_it_writes_runs_to_the_same_records(tmp_path):
    found = tuned(store=tmp_path)
    suite = rg.suite(tmp_path / "tuned.toml")
    records = rg.run(suite, data={"made": DATA}, compile="off", progress=False)
    assert [record.correct for record in records] == [record.correct for record in found.records]
    assert {record.how["chosen"] for record in records} == {found.chosen}
    notes = rg.report(records).tables["scores"].notes
    assert any(note.startswith(f"Settings {found.chosen}: ") for note in notes)


def test_trials_that_cannot_win_get_no_further_seeds():
    found = tuned(seeds=3, strategy="er:lr=0.000001|0.1|0.05,buffer_size=60", ground=GROUND)
    seeds = dict(zip(found.trials.strategy, found.trials.seeds, strict=True))
    tried = scores_of(found)
    leader = found.strategy
    assert seeds[leader] == 3
    for spec, count in seeds.items():
        if count == 1:
            # With the best that its other seeds can give, it stays below.
            assert (tried[spec] + 2) / 3 <= tried[leader]


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_searches_of_a_span_repeat_and_stay_within(search):
    if search == "tpe":
        pytest.importorskip("optuna")
    one, two = (
        tuned(strategy="er:lr=0.001..0.5,buffer_size=20|40", search=search, trials=4)
        for _ in range(2)
    )
    assert scores_of(one) == scores_of(two)
    assert 1 < len(one.trials) <= 4
    rates = [record.cell.strategy.settings["lr"] for record in one.records]
    assert all(0.001 <= rate <= 0.5 for rate in rates)


def test_without_optuna_one_sentence_says_how_to_install_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(rg.UserError, match=r"pip install 'retrograde\[tune\]'"):
        tuned(search="tpe")


def test_first_chooses_on_the_first_experiences_and_measures_on_the_others():
    found = tuned(protocol="first:1")
    assert [record.test_examples for record in found.records] == [[20, 20], [20, 20]]
    assert found.records[0].cell.benchmark.overrides["skip_experiences"] == 1
    assert "within" not in found.chosen


def test_first_counts_from_where_the_stream_begins():
    found = tuned(ground=f"{GROUND},skip_experiences=1", protocol="first:1")
    assert found.records[0].cell.benchmark.overrides["skip_experiences"] == 2


def test_other_order_draws_the_class_order_that_the_benchmark_gives():
    fixed = f"{GROUND},class_order=5,4,3,2,1,0"
    found = tuned(ground=fixed, protocol="other-order")
    assert found.records[0].cell.benchmark.overrides["class_order"] == [5, 4, 3, 2, 1, 0]
    assert scores_of(found) != scores_of(tuned(ground=fixed))


def test_another_dataset_may_be_the_one_to_choose_on():
    (found,) = rg.tune(
        f"{GROUND},tasks=3",
        "er:lr=0.0001|0.1",
        protocol="other-dataset:other",
        fresh=[3],
        data={"made": DATA, "other": made(seed=5, train=20)},
        progress=False,
    )
    assert found.records[0].test_examples == [20, 20, 20]
    assert found.chosen == "tuned (other-dataset:other, grid by ACC, 2 trials of 1 seed: lr=0.1)"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"strategy": "er:lr=0.1"}, "at least two settings to choose from"),
        ({"strategy": "er:lr=0.1|0.10"}, "at least two settings to choose from"),
        ({"strategy": "er:lr=1..0.1", "search": "tpe"}, "A range is written lr=LOW..HIGH"),
        ({"trials": 3}, "A grid tries every setting"),
        ({"search": "random", "trials": 0}, "trials is a whole number"),
        ({"metric": "intransigence"}, "Settings are chosen by an accuracy"),
        ({"strategy": "redo:period=1|0"}, "period"),
        ({"ground": f"{GROUND},validation=0.1,evaluate_on=validation"}, "Leave it out"),
        ({"strategy": "er:lr=0.1|"}, "Values to choose from are written lr=A"),
        ({"strategy": "er:lr=0.01..1"}, "A grid has values"),
        ({"strategy": "er:rate=0.1|1"}, "rate"),
        ({"strategy": "er:lr=0.1|-1"}, "lr"),
        ({"search": "best"}, "A search is grid, random, tpe; it was 'best'"),
        ({"seeds": 3, "fresh": [2, 3]}, "on seeds that no trial had.*Give such as 3-7"),
        ({"metric": "acc"}, "Did you mean ACC"),
        ({"protocol": "inside"}, "A protocol is within"),
        ({"protocol": "first:0"}, "A protocol is within"),
        ({"protocol": "first:3"}, "N was 3, and the stream has 3. Give a smaller N"),
        ({"protocol": "other-order"}, "draws its own from the seed.*such as class_order=0,1,2"),
        (
            {"protocol": "other-order", "ground": GROUND.replace("split", "permuted")},
            "classes of Permuted have no order. Use within",
        ),
        ({"protocol": "other-dataset:made"}, "another dataset.*both are 'made'"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_trains(given, message, monkeypatch):
    def never(*_):
        raise AssertionError("something was trained")

    monkeypatch.setattr("retrograde.running.jobs.run_job", never)
    with pytest.raises(rg.UserError, match=message):
        tuned(**given)


def test_validation_examples_of_the_dataset_are_used_if_it_has_some(tmp_path):
    own = replace(DATA, x_val=made(seed=9).x_test, y_val=made(seed=9).y_test)
    tuned(own, store=tmp_path)
    trials = rg.load(tmp_path / "trials")
    assert {tuple(record.test_examples) for record in trials} == {(20, 20, 20)}
    assert {"validation"}.isdisjoint(trials[0].cell.benchmark.overrides)


def test_one_number_is_one_fresh_seed_and_a_result_prints_on_one_line():
    found = tuned(strategy="er:lr=0.0001|0.1", fresh="9")
    assert [record.seed for record in found.records] == [9]
    assert repr(found).startswith("<er on split")
    assert len(repr(found)) < 300


def test_regression_has_no_accuracy_to_choose_by():
    with pytest.raises(rg.UserError, match="Waves has values to predict"):
        rg.tune("waves", "er:lr=0.1|0.01")


def test_few_shot_benchmarks_have_no_validation_examples():
    with pytest.raises(rg.UserError, match="which streams have"):
        rg.tune("sinusoid", "maml:lr=0.1|0.01")


def test_a_search_in_which_everything_diverges_says_so():
    with pytest.raises(rg.UserError, match="all 2 diverged or failed. Search lower rates"):
        tuned(strategy="finetune:lr=1e30|1e31")


def test_draws_from_a_range_are_logarithmic_above_zero_and_whole_for_whole_settings():
    random = np.random.default_rng(0)

    def drawn(spec, key, count):
        space = SearchSpace.read(spec, Registry())
        return [float(parse(space.draw(random))[1][key]) for _ in range(count)]

    rates = np.array(drawn("er:lr=0.001..10", "lr", 4000))
    assert rates.min() >= 0.001
    assert rates.max() <= 10
    np.testing.assert_allclose(
        np.quantile(np.log10(rates), [0.25, 0.5, 0.75]), [-2, -1, 0], atol=0.1
    )
    assert set(drawn("er:buffer_size=1..3", "buffer_size", 100)) == {1, 2, 3}
    # Whole ends of a setting that need not be whole.
    shares = np.array(drawn("lwf:alpha=0..1", "alpha", 400))
    np.testing.assert_allclose(np.quantile(shares, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.1)


@dataclass(frozen=True)
class FakeCell:
    spec: str


class FakeTrials(Trials):
    """Trials whose scores are in a table."""

    def __init__(self, table, seeds):
        super().__init__(self.look_up, "ACC", seeds, Console(quiet=True))
        self.table = table
        self.asked = []

    def look_up(self, specs, seeds):
        self.asked += [(spec, seed) for spec in specs for seed in seeds]
        return [
            SimpleNamespace(cell=SimpleNamespace(strategy=FakeCell(spec)), seed=seed)
            for spec in specs
            for seed in seeds
        ]

    def _score(self, record):
        return self.table[record.cell.strategy.spec][record.seed]


def test_a_leader_that_diverges_on_another_seed_leaves_its_place_to_the_next():
    nan = float("nan")
    trials = FakeTrials({"a": [0.9, nan], "b": [0.8, 0.8], "c": [nan, 0.9], "d": [0.5, 0.6]}, 2)
    trials.race(["a", "b", "c", "d"])
    assert trials.best() == "b"
    # Neither can one that diverged win, nor one that stays below with 1 on its other seed.
    assert [seed for spec, seed in trials.asked if spec in "cd"] == [0, 0]


def test_a_trial_that_can_still_win_gets_its_seeds():
    trials = FakeTrials({"a": [0.9, 0.5], "b": [0.8, 0.9]}, 2)
    trials.race(["a", "b"])
    assert trials.best() == "b"


def test_records_say_how_the_last_search_chose_them(tmp_path):
    tuned(strategy="er:lr=0.0001|0.1|0.00001", store=tmp_path)
    found = tuned(strategy="er:lr=0.0001|0.1", store=tmp_path)
    chosen = {record.how["chosen"] for record in rg.load(tmp_path / "measured")}
    # Of both searches, which chose among three settings together.
    assert chosen == {found.chosen} == {"tuned (within, grid by ACC, 3 trials of 1 seed: lr=0.1)"}
    assert {record.how["chosen"] for record in found.records} == chosen


def test_a_cell_in_two_groups_of_a_suite_is_planned_once():
    cells = [
        {"benchmarks": ["split:steps=2"], "strategies": ["finetune"]},
        {"benchmarks": ["split:steps=2"], "strategies": ["finetune"], "chosen": "by hand"},
    ]
    records = rg.run(rg.Suite(title="a", seeds=1, cells=cells), compile="off", progress=False)
    assert [record.how["chosen"] for record in records] == ["by hand"]


def test_streams_of_given_tasks_can_be_tuned():
    tasks = replace(DATA, task_train=DATA.y_train // 2, task_test=DATA.y_test // 2)
    (found,) = rg.tune(
        "given:dataset=made,probe_examples=0,model=mlp-8",
        "er:lr=0.0001|0.1",
        fresh=[5],
        data={"made": tasks},
        progress=False,
    )
    assert found.strategy == "er"


def test_the_share_to_hold_out_is_that_of_the_dataset_of_the_trials():
    own = replace(DATA, x_val=DATA.x_test, y_val=DATA.y_test)
    for first, second in ((own, DATA), (DATA, own)):
        (found,) = rg.tune(
            f"{GROUND},tasks=3",
            "er:lr=0.0001|0.1",
            protocol="other-dataset:other",
            fresh=[3],
            data={"made": first, "other": second},
            progress=False,
        )
        assert found.records[0].status == "done"


def test_first_holds_out_nothing_of_tasks_that_are_not_in_it():
    stream = rg.benchmark("imbalanced:first_experiences=2,validation=0.1").stream(seed=0)
    assert len(stream) == 2


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (3, [0, 1, 2]),
        ("3", [0, 1, 2]),
        ("100-104", [100, 101, 102, 103, 104]),
        ("3,7,9-10", [3, 7, 9, 10]),
        ([9, 2], [2, 9]),
        ("5-5", [5]),
    ],
)
def test_seeds_are_a_number_a_range_or_a_list(given, expected):
    assert list(seeds_of(given)) == expected


@pytest.mark.parametrize(
    "given", [0, -1, True, 1.0, "", "a", "3-", "5-4", "1,1", [], [1, 1], [-1], "0-99999999", [0.5]]
)
def test_other_seeds_are_refused(given):
    with pytest.raises(rg.UserError, match="seeds is the number of replicates"):
        seeds_of(given)


def test_a_grid_stands_for_several_parts_anywhere():
    pairs = all_pairs(["split:tasks=2|5"], ["er:lr=0.1|1,buffer_size=5", "finetune"])
    assert [pair[:2] for pair in pairs] == [
        (f"split:tasks={tasks}", strategy)
        for tasks in (2, 5)
        for strategy in ("er:lr=0.1,buffer_size=5", "er:lr=1,buffer_size=5", "finetune")
    ]
    cells = [{"benchmarks": ["split"], "strategies": ["er:lr=0.1|1"]}]
    assert len(Suite(title="a", cells=cells).pairs()) == 2
    with pytest.raises(rg.UserError, match="values of a grid are written lr=A"):
        all_pairs(["split"], ["er:lr=0.1||1"])
    with pytest.raises(rg.UserError, match="A range is for `retrograde tune`.*has lr=0.01..1"):
        all_pairs(["split"], ["er:lr=0.01..1"])
