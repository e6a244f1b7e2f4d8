"""Records of several versions of a file, told apart in every table of a report."""

import numpy as np
import pytest

from retrograde.parts.registry import Registry
from retrograde.records.presentation import Presentation
from retrograde.records.versions import told_apart
from retrograde.reporting.report import report
from retrograde.reporting.request import Request


def sources_of(strategy="1", benchmark="2", model="", aid=""):
    """The sources of a record, by the digests of its files."""
    own = {"mine.py": strategy * 12} | ({"aid.py": aid * 12} if aid else {})
    return {"strategy": own, "benchmark": {"split.py": benchmark * 12}} | (
        {"model": {"net.py": model * 12}} if model else {}
    )


def versions(records):
    """The versions of benchmark and strategy of each record."""
    return [
        (record.cell.benchmark.files, record.cell.strategy.files)
        for record in told_apart(records)[0]
    ]


def test_records_of_one_version_are_left_as_they_are(make_record):
    records = [make_record("mine", seed, sources=sources_of()) for seed in range(3)]
    assert told_apart(records) == (tuple(records), ())


def test_records_that_name_no_files_count_as_of_the_only_version_and_a_note_says_so(make_record):
    records = [make_record("mine", 0, sources=sources_of()), make_record("er")]
    note = "1 replicates of the benchmark split do not name its files; they are taken to be of split.py 2222222."
    assert told_apart(records) == (tuple(records), (note,))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"strategy": "3"}, [("", "mine.py 1111111"), ("", "mine.py 3333333")]),
        ({"aid": "3"}, [("", "aid.py 4444444"), ("", "aid.py 3333333")]),
        ({"benchmark": "3"}, [("split.py 2222222", ""), ("split.py 3333333", "")]),
        ({"model": "3"}, [("net.py 5555555", ""), ("net.py 3333333", "")]),
    ],
)
def test_a_version_is_named_by_the_file_that_differs(make_record, change, expected):
    whole = {"aid": "4", "model": "5"}
    records = [
        make_record("mine", 0, sources=sources_of(**whole)),
        make_record("mine", 1, sources=sources_of(**whole | change)),
    ]
    assert versions(records) == expected
    assert all(text in told_apart(records)[1][0] for pair in expected for text in pair)


def test_versions_of_a_benchmark_make_several_benchmarks_of_it_for_every_strategy(make_record):
    records = [
        make_record("mine", sources=sources_of()),
        make_record("er", sources=sources_of(benchmark="3")),
    ]
    made = report(records, Request(), Registry(), Presentation("t"))
    assert [section.heading for section in made.tables["scores"].sections] == [
        "split (split.py 2222222)",
        "split (split.py 3333333)",
    ]


def test_no_mean_no_rank_and_no_test_is_over_seeds_of_two_versions(make_record):
    old = [make_record("mine", s, ((10,), (20 + s,)), sources=sources_of()) for s in range(3)]
    new = [make_record("mine", s, ((10,), (80 + s,)), sources=sources_of("3")) for s in range(3, 8)]
    other = [make_record("er", s, ((10,), (60,))) for s in range(8)]
    made = report([*old, *new, *other], Request(), Registry(), Presentation("t"))
    scores = made.tables["scores"].tidy.query("metric == 'ACC'").set_index("settings")
    assert np.allclose(scores.loc["(mine.py 1111111)", ["mean", "n"]].astype(float), [0.21, 3])
    assert np.allclose(scores.loc["(mine.py 3333333)", ["mean", "n"]].astype(float), [0.85, 5])
    assert set(made.tables["significance"].tidy.n) <= {3, 5, 8}
    assert all(made.versions[0] in table.notes for table in made.tables.values())


def test_a_strategy_that_changed_between_benchmarks_has_no_row_over_both(make_record):
    records = [
        make_record("mine", sources=sources_of()),
        make_record("mine", sources=sources_of("3"), benchmark="rotated"),
    ]
    assert [strategy for _, strategy in versions(records)] == ["mine.py 1111111", "mine.py 3333333"]


def test_records_that_do_not_know_their_files_join_the_one_version_that_they_fit(make_record):
    known = make_record("mine", 0, sources=sources_of())
    unknown = make_record("mine", 1)
    assert versions([known, unknown]) == [("", "")] * 2
    names = versions([known, make_record("mine", 2, sources=sources_of(benchmark="3")), unknown])
    assert names == [("split.py 2222222", ""), ("split.py 3333333", ""), ("files not recorded", "")]


def test_versions_that_differ_in_many_files_or_in_files_of_one_name_have_names_of_their_own(
    make_record,
):
    many = [{"strategy": {f"{name}.py": f"{digest}" * 12 for name in "mabc"}} for digest in (1, 2)]
    alike = [
        {"benchmark": {"b.py": f"{digest}" * 12}, "model": {"b.py": "9" * 12}} for digest in (1, 2)
    ]
    for pair in (many, alike):
        names = versions(
            [make_record("mine", seed, sources=sources) for seed, sources in enumerate(pair)]
        )
        assert len(set(names)) == 2
        assert all(len(text) < 40 for name in names for text in name)


def test_every_table_is_made_where_versions_share_no_seed(make_probed, make_adapted):
    for make in (make_probed, make_adapted):
        records = [make("mine", 0, sources=sources_of()), make("mine", 1, sources=sources_of("3"))]
        made = report(records, Request(), Registry(), Presentation("t"))
        assert "timing" in made.tables
        assert set(made.tables["timing"].tidy.settings) == {
            "(mine.py 1111111)",
            "(mine.py 3333333)",
        }
