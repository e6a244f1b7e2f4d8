from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from retrograde.errors import UserError
from retrograde.parts.registry import Registry
from retrograde.records.presentation import Presentation
from retrograde.records.store import Store
from retrograde.reporting.files import write
from retrograde.reporting.report import Report, report, tables
from retrograde.reporting.request import Request, formats

PARTS = Registry()

CSV = Request(("csv",))


def made_of(records, *forms, title="mine", parts=PARTS, faults=None):
    return report(records, Request(forms), parts, Presentation(title), faults)


@pytest.fixture
def records(make_record):
    return [make_record(strategy, seed) for strategy in ("er", "sgd") for seed in range(3)]


@pytest.fixture
def made(records):
    return made_of(records, "csv")


def only_scores(made):
    return made._replace(tables={"scores": made.tables["scores"]})


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("md", {"md", "csv"}),
        ("csv", {"csv"}),
        ("", {"csv"}),
        (" tex , md,", {"md", "csv", "tex"}),
        ("svg", {"svg", "csv"}),
        ("md,md", {"md", "csv"}),
    ],
)
def test_the_formats_are_those_asked_for_once_each_and_always_csv(asked, expected):
    found = formats(asked)
    assert set(found) == expected
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("asked", "remedy"),
    [("mdd", "Did you mean md"), ("md,docx", "docx.*Known: csv, html, md, pdf, png, svg, tex")],
)
def test_an_unknown_format_names_the_known_ones(asked, remedy):
    with pytest.raises(UserError, match=remedy):
        formats(asked)


def test_every_table_with_something_to_show_comes_under_its_name(made, make_adapted):
    assert list(made.tables) == ["scores", "significance", "tasks", "timing"]
    few_shot = [name for name, _ in tables([make_adapted()], PARTS)]
    assert few_shot == ["adaptation", "published", "timing"]
    assert all(table.sections and len(table.tidy) for table in made.tables.values())


def test_every_table_is_written_in_every_format_and_the_paths_are_returned(made, tmp_path):
    written = write(tmp_path / "a" / "b", Request(("md", "csv")), made, PARTS)
    tables_of = {f"{name}.{form}" for name in made.tables for form in ("md", "csv")}
    assert {path.name for path in written} == tables_of | {"replicates.csv"}
    assert set(written) == set((tmp_path / "a" / "b").iterdir())


def test_figures_are_drawn_for_the_formats_that_need_them_alone(records):
    assert made_of(records, "md", "csv", "tex").figures == {}
    assert set(made_of(records, "html").figures) == {
        "accuracy_cost",
        "accuracy_seen",
        "accuracy_tasks",
        "forgetting",
    }


def test_the_same_records_give_the_same_bytes(records, tmp_path):
    asked = ["md", "csv", "tex", "svg", "png", "pdf", "html"]
    made = [
        write(tmp_path / name, Request(asked), made_of(order, *asked), PARTS)
        for name, order in (("a", records), ("b", records[::-1]))
    ]
    for first, second in zip(*made, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_a_table_written_again_replaces_the_old_one(made, tmp_path):
    old, _ = write(tmp_path, CSV, only_scores(made), PARTS)
    old.write_text("old " * 10_000, encoding="utf-8")
    write(tmp_path, CSV, only_scores(made), PARTS)
    assert "old" not in old.read_text(encoding="utf-8")


@pytest.mark.parametrize("below", ["", "tables"])
def test_a_folder_that_cannot_be_written_is_the_users_to_put_right(made, tmp_path, below):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="are written to a folder"):
        write(tmp_path / "file" / below, CSV, made, PARTS)


def test_a_table_that_cannot_be_written_is_the_users_to_put_right(made, tmp_path):
    (tmp_path / "scores.csv").mkdir()
    with pytest.raises(UserError, match="are written to a folder"):
        write(tmp_path, CSV, only_scores(made), PARTS)


def test_nothing_is_written_of_nothing(tmp_path):
    assert write(tmp_path, CSV, Report("mine", [], {}, {}), PARTS) == []


@pytest.fixture(scope="module")
def odd(make_record, make_adapted):
    """A store of oddities: names that are markup, mixed machines, replicates missing or alone."""
    name = "a|*_`<b>&%$#{}~^\\±é"
    return [
        *(make_record(name, s, benchmark=f"on {name}", overrides={"x": name}) for s in range(3)),
        *(
            make_record(
                "er", s, benchmark=f"on {name}", machine={"cpu": f"CPU {s}", "torch": str(s)}
            )
            for s in range(3)
        ),
        *(make_record("er", s) for s in (0, 2)),
        make_record("alone", 7),
        make_record("lost", 0, (), status="failed"),
        make_record("joint", 0, upper_bound=True, benchmark="bounded"),
        make_record("one_task", 0, ((10,), (90,)), benchmark="of one task"),
        make_adapted(name),
    ]


def test_whatever_a_store_holds_is_written_in_every_format(odd, tmp_path):
    asked = ["md", "csv", "tex", "svg", "png", "pdf", "html"]
    written = write(tmp_path, Request(asked), made_of(odd, *asked, title="odd <b>"), PARTS)
    assert {path.suffix for path in written} == {f".{form}" for form in asked}
    assert all(path.stat().st_size for path in written)


@pytest.mark.parametrize("number", range(13))
def test_any_one_record_alone_makes_a_report(odd, number):
    made = made_of([odd[number]], "html")
    assert ("scores" in made.tables) == (not odd[number].cell.episodic)
    assert (
        made.tables["timing"].sections
        if odd[number].status == "done"
        else "timing" not in made.tables
    )


PART = """
from dataclasses import dataclass
import sys
import pandas as pd
from matplotlib.figure import Figure
from retrograde import FigureResult, TableResult
from retrograde.reporting import Entry, Section, Table

ROWS = ((Entry("a"),),)

class Late:
    def __str__(self):
        raise ValueError("late")

class Broken(Figure):
    def draw(self, renderer):
        1 / 0

@dataclass(frozen=True)
class Mine({base}):
    def {method}(self, records):
        {body}
"""
TABLES = {
    "raises": ("1 / 0", ":22: ZeroDivisionError: division by zero"),
    "leaves": ("sys.exit(3)", ":22: SystemExit: 3"),
    "gives nothing": (
        "pass",
        ":21: TypeError: a table is a retrograde.reporting.Table, and this is nothing (None)",
    ),
    "gives text": ("return 'text'", "this is of type str"),
    "ragged": (
        'return Table("T", (), (Section("s", ("a", "b"), ROWS),), pd.DataFrame())',
        "of 2 columns, a row is 1 entries",
    ),
    "number": (
        'return Table("T", (), (Section("s", ("a",), ((Entry(1),),)),), pd.DataFrame())',
        "no retrograde.reporting.Entry",
    ),
    "nothing in a place": (
        'return Table("T", (), (Section("s", ("a",), ((None,),)),), pd.DataFrame())',
        "no retrograde.reporting.Entry of text: None",
    ),
    "a note that is none": (
        'return Table("T", (None,), (), pd.DataFrame())',
        "are text, and one is nothing (None)",
    ),
    "no columns": (
        'return Table("T", (), (Section("s", (), ()),), pd.DataFrame())',
        "at least one column",
    ),
    "not UTF-8": (r'return Table("\ud800", (), (), pd.DataFrame())', "are text"),
    "no frame": ('return Table("T", (), (), [])', "are a pandas DataFrame"),
    "late": (
        'return Table("T", (), (Section("s", ("a",), ROWS),), pd.DataFrame({"a": [Late()]}))',
        ":13: ValueError: late",
    ),
}
FIGURES = {
    "raises": ("1 / 0", ":22: ZeroDivisionError"),
    "gives text": (
        "return 'text'",
        ":21: TypeError: a figure is a matplotlib.figure.Figure or None",
    ),
    "late": ("return Broken()", ":17: ZeroDivisionError"),
}


class Few(Registry):
    """Two of the built-in results beside one's own."""

    def names(self, kind):
        return (
            sorted({"forgetting", "scores", *self.own})
            if kind == "results"
            else super().names(kind)
        )


def files_of(folder, records, plugins=(), faults=None):
    """The files of a report in every format, by name, as it is made with some plugins."""
    asked, parts = ["md", "csv", "tex", "svg", "html"], Few(tuple(plugins))
    write(
        folder, Request(asked), made_of(records, *asked, parts=parts, faults=faults), parts, faults
    )
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_results_that_fail_are_named_with_their_lines_and_all_else_is_as_without_them(
    records, tmp_path
):
    bodies = {
        f"r{i}": ("TableResult", "table", body) for i, (body, _) in enumerate(TABLES.values())
    }
    bodies |= {
        f"f{i}": ("FigureResult", "figure", body) for i, (body, _) in enumerate(FIGURES.values())
    }
    for name, (base, method, body) in bodies.items():
        (tmp_path / f"{name}.py").write_text(PART.format(base=base, method=method, body=body))
    faults = {}
    whole = files_of(tmp_path / "whole", records)
    found = files_of(
        tmp_path / "found", records, [tmp_path / f"{name}.py" for name in bodies], faults
    )
    assert {name for name in found if found[name] != whole.get(name)} - {"r11.md", "r11.tex"} == {
        "report.html"
    }
    assert whole.keys() <= found.keys()
    page = found["report.html"].decode()
    for name, (_, why) in zip(bodies, [*TABLES.values(), *FIGURES.values()], strict=True):
        assert f"{name}.py:" in faults[name]
        assert why in faults[name]
        assert f"The result {name} failed and is left out: {name}.py:" in page


def test_a_result_that_fails_is_an_error_where_nobody_notes_it(records, tmp_path):
    (tmp_path / "mine.py").write_text(PART.format(base="TableResult", method="table", body="1 / 0"))
    with pytest.raises(ZeroDivisionError):
        made_of(records, "csv", parts=Few((tmp_path / "mine.py",)))


BAD = {
    "cut off": lambda text: text[:-20],
    "no replicates": lambda text: text.replace('"replicates":5', '"replicates":0'),
    "steps as text": lambda text: text.replace('"steps":1000}', '"steps":"many"}'),
    "time that is no number": lambda text: text.replace('"train":2.0', '"train":NaN'),
    "time without end": lambda text: text.replace('"train":2.0', '"train":1e999'),
    "negative count": lambda text: text.replace('"replayed":6000', '"replayed":-1'),
    "more right than tested": lambda text: text.replace("[80,90]", "[80,101]"),
    "another seed": lambda text: text.replace('"seed":2', '"seed":3'),
    "a version that is not its own": lambda text: text.replace('"version":1', '"version":2'),
}


def test_one_bad_record_of_each_kind_costs_itself_alone_and_all_else_is_the_same(records, tmp_path):
    whole, store = Store(tmp_path / "whole"), Store(tmp_path / "store")
    for record in records:
        whole.write(record)
        store.write(record)
    for number, harm in enumerate(BAD.values()):
        bad = replace(records[2], cell=replace(records[2].cell, data=str(number)))
        store.write(bad)
        path = store.path(bad.cell, 2)
        path.write_text(harm(text := path.read_text()))
        assert path.read_text() != text
    tables_of = [
        files_of(tmp_path / name, list(each)) for name, each in (("a", whole), ("b", store))
    ]
    assert tables_of[0] == tables_of[1]
    assert len(store.damaged) == len(BAD)


MARKUP = "<script>x()</script><img src=x onerror=x()>\"'>{{7*7}}&lt;\x1b[2J\x00\n,-->"


class Tags(HTMLParser):
    """The tags of a page with their attributes' names, and the addresses that they name."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, *(name for name, _ in attributes)))
        self.addresses += [
            value for name, value in attributes if name in ("src", "href", "action", "style")
        ]


def test_a_record_full_of_markup_makes_the_page_and_the_figures_of_a_plain_one(
    make_record, tmp_path
):
    made = {}
    for word in ("plain", MARKUP):
        named = {
            "benchmark": word,
            "overrides": {"x": word},
            "machine": {"cpu": word, "commit": word},
        }
        records = [make_record(word, seed, **named) for seed in range(2)]
        records.append(
            replace(make_record(word, 2, status="failed", **named), reason=word.replace("\n", ""))
        )
        faults = {word: word}
        made[word] = files_of(tmp_path / str(len(made)), records, faults=faults)
    assert faults == {MARKUP: MARKUP}
    plain, odd = (Tags(files["report.html"].decode()) for files in made.values())
    assert [tag for tag in odd.tags if tag[0] != "wbr"] == [
        tag for tag in plain.tags if tag[0] != "wbr"
    ]
    assert all(address.startswith(("#", "data:")) for address in odd.addresses)
    drawings = [ElementTree.fromstring(files["forgetting.svg"]) for files in made.values()]
    kinds = [{each.tag for each in drawing.iter()} for drawing in drawings]
    assert kinds[0] == kinds[1]
