"""Requests for less: some tables, metrics, benchmarks and strategies, in one form."""

import re

import pandas as pd
import pytest

import retrograde as rg
from retrograde.errors import UserError
from retrograde.reporting.request import Request, patterns


@pytest.fixture
def records(make_record):
    return [
        make_record(strategy, seed, ((10, 10), (90, 20), (end + seed, 90)), benchmark=benchmark)
        for benchmark in ("split", "rotated")
        for strategy, end in (("er", 80), ("mine", 70), ("sgd", 10))
        for seed in range(5)
    ]


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        ({"metrics": ("ACCC",)}, "There is no metric 'ACCC'. Did you mean ACC"),
        ({"across": "strategies"}, "across is benchmarks, or left out; it was 'strategies'"),
        ({"spread": "se"}, "spread is ci .* or sd .*; it was 'se'"),
        ({"decimals": -1}, "decimals is a whole number from 0 to 10; it was -1"),
        ({"decimals": 1.5}, "decimals is a whole number from 0 to 10; it was 1.5"),
        ({"width": 0}, "width is a number of inches from 2 to 20; it was 0"),
        ({"label": "tab main", "formats": ("tex",)}, "A label for LaTeX has letters, digits"),
        ({"label": "tab:main"}, "tex is not among the formats. Add tex"),
        ({"caption": "Mine"}, "A caption is for LaTeX; it was 'Mine', and tex is not among"),
        ({"caption": 3, "formats": ("tex",)}, "caption is text; it was 3"),
        ({"convention": "mammut"}, "no convention 'mammut'"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused(wish, why):
    with pytest.raises(UserError, match=why):
        Request(**wish)


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        ({"only": "score"}, "no table or figure 'score'. Did you mean scores"),
        ({"metrics": "AUC"}, "No record has the metric 'AUC'. They have ACC, "),
        ({"strategies": "err"}, "The records have no strategy 'err'. Did you mean ER or er"),
        ({"benchmarks": ["splat"]}, "The records have no benchmark 'splat'. Did you mean split"),
        ({"only": "tasks", "label": "tab:x", "formats": "tex"}, "none is made of these records"),
        ({"only": "tasks", "caption": "x", "formats": "tex"}, "A caption is for the table of sco"),
        ({"names": {"err": "ER"}}, "'err' is none. Did you mean er"),
        ({"names": ["er"]}, "names is a dictionary of names"),
        ({"only": 3}, "only are names, as text or as a list; it was 3"),
    ],
)
def test_a_wish_for_what_the_records_lack_is_refused(records, wish, why):
    with pytest.raises(UserError, match=why):
        rg.report(records, **wish)


def test_an_unknown_table_is_a_key_error_with_the_nearest_names(records):
    made = rg.report(records)
    with pytest.raises(KeyError, match="has no 'score'. Did you mean scores"):
        made.tables["score"]
    assert "score" not in made.tables


def test_the_caption_of_the_scores_in_latex_is_the_one_that_is_given(records, tmp_path):
    rg.report(
        records, tmp_path, "tex", only="scores", across="benchmarks", caption="ER wins at 5 %."
    )
    assert r"\caption{ER wins at 5 \%.}" in (tmp_path / "scores.tex").read_text()
    rg.report(records, tmp_path, "tex", only="scores", caption="All.")
    text = (tmp_path / "scores.tex").read_text()
    assert re.findall(r"\\caption\{(.*)\}", text) == ["All. rotated.", "All. split."]


def test_benchmarks_are_columns_in_the_order_asked_for(records):
    for order in (["split", "rotated"], ["rotated", "split"]):
        table = rg.report(records, across="benchmarks", benchmarks=order).tables["scores"]
        groups = [name for name, _ in table.sections[0].groups]
        assert [name.split()[0].lower() for name in groups] == order


def test_only_what_is_asked_for_is_made(records, tmp_path):
    made = rg.report(records, tmp_path, "md,svg", only="scores,forgetting")
    assert (set(made.tables), set(made.figures)) == ({"scores"}, {"forgetting"})
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"scores.md", "scores.csv", "forgetting.svg"}


def test_strategies_are_rows_in_the_order_asked_for_by_name_or_pattern(records):
    made = rg.report(records, strategies="sgd,Replay,mine", names={"er": "Replay"})
    for section in made.tables["scores"].sections:
        assert [row[0].text for row in section.rows] == ["sgd", "Replay", "mine"]
    with_settings = rg.report(records, strategies=["er:buffer_size=200"])
    assert {record.cell.strategy.name for record in with_settings.records} == {"er"}


def test_metrics_decimals_and_spread_are_those_asked_for(records):
    made = rg.report(
        records, metrics=["forgetting", "ACC"], decimals=1, spread="sd", benchmarks="split"
    )
    (section,) = made.tables["scores"].sections
    assert section.columns == ("strategy", "forgetting", "ACC", "n")
    # forgetting is 10, 9, ... 6 percent; the deviation of five successive numbers is 1.58
    assert [entry.text for entry in section.rows[0]] == ["ER", "8.0 ± 1.6", "86.0 ± 0.8", "5"]


def test_an_interval_wider_than_all_accuracies_says_that_replicates_are_too_few(make_record):
    ends = ((10, 90), (60, 90))
    records = [make_record("er", n, ((5, 5), (90, 5), end)) for n, end in enumerate(ends)]
    made = rg.report(records, metrics="ACC").tables["scores"]
    assert made.sections[0].rows[0][1].text == "62.50 ± > 50"
    assert made.tidy.ci_low.item() < 0  # the CSV is exact
    by_deviation = rg.report(records, metrics="ACC", spread="sd").tables["scores"]
    assert by_deviation.sections[0].rows[0][1].text == "62.50 ± 17.68"


def test_numbers_may_have_no_decimals(records):
    made = rg.report(records, metrics="ACC", decimals=0, benchmarks="split")
    assert made.tables["scores"].frame().loc["ER", "ACC"] == "86 ± 1"


def test_a_table_across_benchmarks_has_a_gap_where_a_strategy_was_not_run(records, make_record):
    alone = [make_record("gem", seed) for seed in range(5)]
    made = rg.report([*records, *alone], across="benchmarks", metrics="ACC")
    frame = made.tables["scores"].frame()
    assert frame.loc["GEM", ("rotated", "ACC")] == "–"
    assert frame.loc["GEM", ("split", "ACC")] == "85.00 ± 0.00"


def test_numbers_of_replicates_that_differ_have_columns_of_their_own(records):
    made = rg.report(records[1:], across="benchmarks", metrics="ACC")
    frame = made.tables["scores"].frame()
    assert frame[("split", "n")].tolist() == ["4", "5", "5"]


def test_replicates_have_a_row_each_with_seed_status_and_exact_settings(records, tmp_path):
    lost = records[0].__class__(**{**vars(records[0]), "status": "diverged", "reason": "x"})
    rg.report([lost, *records[1:]], tmp_path, only="replicates", names={"er": "Replay"})
    frame = pd.read_csv(tmp_path / "replicates.csv")
    assert len(frame) == len(records)
    of_er = frame[(frame.strategy == "Replay") & (frame.benchmark == "split")]
    assert of_er.strategy_spec.unique().tolist() == ["er"]
    assert of_er.status.tolist() == ["diverged", *["done"] * 4]
    assert of_er.ACC.tolist()[1:] == pytest.approx([0.855, 0.86, 0.865, 0.87])


def test_a_table_of_several_benchmarks_is_one_frame_with_their_headings(records):
    frame = rg.report(records).tables["scores"].frame()
    assert frame.loc[("split", "ER"), "ACC"].startswith("86.00 ±")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("er,mine", ("er", "mine")),
        ("er:lr=0.1,buffer_size=5, mine", ("er:lr=0.1,buffer_size=5", "mine")),
        ("", ()),
    ],
)
def test_commas_separate_strategies_and_their_settings(text, expected):
    assert patterns(text) == expected
