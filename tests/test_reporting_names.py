"""Names in tables and figures: titles of parts, names of a suite, and settings in the notes."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

import retrograde as rg
from retrograde.api import Records
from retrograde.errors import UserError
from retrograde.metrics.frames import cell_labels
from retrograde.parts.registry import Registry
from retrograde.records.presentation import (
    Presentation,
    read_presentation,
    write_presentation,
)
from retrograde.reporting.names import named, shipped_titles, with_names

SPLIT = {"dataset": "mnist", "scenario": "class"}


def labels(records, **names):
    """The labels of some records, as texts."""
    words = Presentation(names=names)
    shown, _ = named(records, words)
    return sorted({tuple(cell_labels(shown)[record.cell]) for record in shown})


def test_every_title_is_that_of_a_part_that_ships():
    titles = shipped_titles()
    assert titles.strategies.keys() <= set(Registry().names("strategies"))
    assert titles.benchmarks.keys() <= set(Registry().names("benchmarks"))
    assert titles.values["dataset"].keys() <= set(Registry().names("datasets"))


def test_the_title_of_a_benchmark_has_its_settings_in_words(make_record):
    made = make_record("lamaml", settings=SPLIT)
    assert labels([made]) == [("Split MNIST, class-incremental", "La-MAML", "")]
    own = make_record("mine", settings=SPLIT | {"dataset": "…/my data.npz"})
    assert labels([own]) == [("Split my data, class-incremental", "mine", "")]


def test_a_strategy_tuned_for_each_benchmark_is_shown_by_its_title_alone(make_record):
    made = [make_record("er", benchmark=f"b{n}", buffer_size=n) for n in (1, 2)]
    assert labels(made) == [("b1", "ER", ""), ("b2", "ER", "")]


def test_rows_of_one_strategy_show_the_settings_in_which_they_differ(make_record):
    shared = {"lr": 0.5}
    made = [make_record("er", overrides=shared, buffer_size=n) for n in (1, 2)]
    assert labels(made) == [("split", "ER", "buffer_size=1"), ("split", "ER", "buffer_size=2")]


def test_settings_that_no_row_shows_are_in_the_notes(make_record):
    made = [
        make_record("er", overrides={"lr": 0.5}, buffer_size=7),
        make_record("finetune", overrides={"lr": 0.5}),
    ]
    _, unsaid = named(made, Presentation())
    assert unsaid.shared == "Settings of all strategies: lr=0.5."
    assert unsaid.others == "Other settings of strategies: ER: buffer_size=7."


def test_names_are_for_all_cells_that_a_pattern_fits_and_the_closest_pattern_counts(make_record):
    made = [make_record("er", buffer_size=n, overrides={"lr": 0.5}) for n in (1, 2, 3)]
    found = labels(made, er="Replay", **{"er:buffer_size=3,lr=0.50": "Large"})
    assert [label[1:] for label in found] == [
        ("Large", ""),
        ("Replay", "buffer_size=1"),
        ("Replay", "buffer_size=2"),
    ]


def test_benchmarks_of_one_name_show_the_settings_in_which_they_differ(make_record):
    made = [make_record(benchmark_overrides={"tasks": n}, settings=SPLIT) for n in (5, 10)]
    assert [label[0] for label in labels(made, split="S-MNIST")] == [
        "S-MNIST, tasks=10",
        "S-MNIST, tasks=5",
    ]


def test_headings_show_settings_of_measurement_only_where_no_others_differ(make_record):
    first = make_record(benchmark_overrides={"tasks": 5, "probe_every": 10}, settings=SPLIT)
    other = make_record(benchmark_overrides={"tasks": 10}, settings=SPLIT)
    found = [label[0] for label in labels([first, other], split="S")]
    assert found == ["S, tasks=10", "S, tasks=5"]
    same = make_record(benchmark_overrides={"tasks": 5}, settings=SPLIT)
    found = [label[0] for label in labels([first, same], split="S")]
    assert found == ["S", "S, probe_every=10"]


def test_a_name_for_a_cell_that_the_records_lack_is_refused(make_record):
    with pytest.raises(UserError, match="'err' is none. Did you mean er"):
        with_names(Presentation(), {"err": "ER"}, [make_record("er")])


@pytest.mark.parametrize(
    ("names", "both"),
    [
        ({"er": "Mine", "si": "Mine"}, "Each strategy has .* 'Mine' is that of 'er' and 'si'"),
        ({"si": "ER"}, "'ER' is that of 'er' and 'si'"),
        ({"split": "S", "rotated": "S"}, "Each benchmark has .* 'S' is that of 'rotated' and"),
    ],
)
def test_a_name_given_twice_in_one_table_is_refused(make_record, names, both):
    records = [make_record(name, benchmark="split") for name in ("er", "si")]
    records.append(make_record("er", benchmark="rotated"))
    with pytest.raises(UserError, match=both):
        with_names(Presentation(), names, records)


def test_strategies_that_give_themselves_one_title_show_the_names_of_their_files(make_record):
    words = Presentation(titles={"mine": "ER"})
    found, _ = named([make_record("er"), make_record("mine")], words)
    assert [record.cell.strategy.shown[0] for record in found] == ["ER (er)", "ER (mine)"]


def test_scores_in_python_keep_the_exact_settings(make_record):
    frame = rg.scores([make_record("er", buffer_size=7)])
    assert (set(frame.strategy), set(frame.settings)) == ({"er"}, {"buffer_size=7"})


def test_a_store_keeps_the_words_of_its_suite_without_folders(tmp_path):
    words = Presentation("T", {"split:dataset=/home/me/x.npz": "Mine"})
    write_presentation(tmp_path, words, {"mine": "Mine"})
    found = read_presentation(tmp_path)
    assert found == Presentation("T", {"split:dataset=…/x.npz": "Mine"}, {"mine": "Mine"})
    write_presentation(tmp_path, None, {"other": "Other"})
    assert read_presentation(tmp_path).titles == {"mine": "Mine", "other": "Other"}


def test_words_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "suite.json").write_text('{"title": "T"}', encoding="utf-8-sig")
    assert read_presentation(tmp_path) == Presentation("T")


def test_words_that_cannot_be_read_are_an_error_with_a_remedy(tmp_path):
    (tmp_path / "suite.json").write_text("[")
    with pytest.raises(UserError, match="Run the suite again, or remove"):
        read_presentation(tmp_path)


CELLS = [{"benchmarks": ["split:tasks=5", "split:tasks=2"], "strategies": ["er:lr=0.1|1", "si"]}]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ({"err": "ER"}, "'err' is none. Did you mean"),
        ({"ER": "si"}, '\'ER\' is none. Write "si" = "ER"'),
        ({"er:lr=0.2": "ER"}, "'er:lr=0.2' is none"),
        ({"er:lr=0.1": "ER", "er:lr=1": "ER"}, "'ER' is given to 'er:lr=0.1' and 'er:lr=1'"),
        ({"split:tasks=5": "S", "split:tasks=2": "S"}, "Each of the benchmarks has a name of its"),
        ({"er": " "}, "A name is text on one line"),
        ({"er": 3}, "Input should be a valid string"),
        ({"er:lr": "ER"}, "Settings are written NAME:key=value"),
    ],
)
def test_names_of_a_suite_that_name_nothing_or_too_much_are_refused(names, why):
    with pytest.raises(UserError, match=why):
        rg.Suite(title="T", cells=CELLS, names=names)


def test_one_name_may_serve_different_settings_on_different_benchmarks():
    cells = [
        {"benchmarks": ["split:tasks=5"], "strategies": ["er:lr=0.1"]},
        {"benchmarks": ["split:tasks=2"], "strategies": ["er:lr=1"]},
    ]
    names = {"er:lr=0.1": "ER", "er:lr=1": "ER"}
    assert rg.Suite(title="T", cells=cells, names=names).names == names


@dataclass(frozen=True)
class Halving(rg.Strategy):
    """Fine-tuning at half of the learning rate."""

    title: ClassVar[str] = "Halving, ours"

    lr: rg.Rate = 0.1

    def step(self, net, state, data):
        return net.update(state, net.grad(state.params, data.incoming), self.lr / 2)


def test_a_run_hands_the_title_and_the_names_of_its_suite_to_the_report():
    cells = [{"benchmarks": ["split:tasks=2,probe_examples=0"], "strategies": ["finetune"]}]
    suite = rg.Suite(title="My paper", cells=cells, names={"split": "S-digits"})
    records = rg.run(suite, Halving(), seeds=1, compile="off", progress=False)
    made = rg.report(records, names={"finetune": "SGD"})
    (section,) = made.tables["scores"].sections
    assert (made.title, section.heading) == ("My paper", "S-digits")
    assert [row[0].text for row in section.rows] == ["Halving, ours", "SGD"]


def test_a_suite_with_cells_that_were_not_run_has_a_report(make_record):
    records = [make_record("er")]
    words = Presentation("My paper", names={"er": "ER (ours)", "gem": "GEM (theirs)"})
    made = rg.report(Records(records, words), only="scores")
    (section,) = made.tables["scores"].sections
    assert section.rows[0][0].text == "ER (ours)"
