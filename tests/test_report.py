import pytest

from retrograde.errors import UserError
from retrograde.registry import Registry
from retrograde.report import formats, tables, write


@pytest.fixture
def made(make_record):
    records = [make_record(strategy, seed) for strategy in ("er", "sgd") for seed in range(3)]
    return list(tables(records, Registry()))


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


@pytest.mark.parametrize(("asked", "remedy"), [("mdd", "Did you mean md"), ("md,html", "html.*Known: csv, md, png, svg, tex")])
def test_an_unknown_format_names_the_known_ones(asked, remedy):
    with pytest.raises(UserError, match=remedy):
        formats(asked)


def test_every_table_with_something_to_show_comes_under_its_name(made, make_adapted):
    assert [name for name, _ in made] == ["scores", "timing"]
    assert [name for name, _ in tables([make_adapted()], Registry())] == ["adaptation", "timing"]
    assert all(table.sections and len(table.tidy) for _, table in made)


def test_every_table_is_written_in_every_format_and_the_paths_are_told(made, tmp_path):
    written = write(tmp_path / "a" / "b", ["md", "csv"], made)
    assert {path.name for path in written} == {f"{name}.{form}" for name, _ in made for form in ("md", "csv")}
    assert set(written) == set((tmp_path / "a" / "b").iterdir())


def test_the_same_records_give_the_same_bytes(make_record, tmp_path):
    records = [make_record(strategy, seed) for strategy in ("er", "sgd") for seed in range(3)]
    written = [write(tmp_path / name, ["md", "csv", "tex"], tables(iter(records), Registry())) for name in "ab"]
    for first, second in zip(*written, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_a_table_written_again_replaces_the_old_one(made, tmp_path):
    (old,) = write(tmp_path, ["csv"], made[:1])
    old.write_text("old " * 10_000, encoding="utf-8")
    write(tmp_path, ["csv"], made[:1])
    assert "old" not in old.read_text(encoding="utf-8")


@pytest.mark.parametrize("below", ["", "tables"])
def test_a_folder_that_cannot_be_written_is_the_users_to_put_right(made, tmp_path, below):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="--out"):
        write(tmp_path / "file" / below, ["csv"], made)


def test_a_table_that_cannot_be_written_is_the_users_to_put_right(made, tmp_path):
    (tmp_path / f"{made[0][0]}.csv").mkdir()
    with pytest.raises(UserError, match="--out"):
        write(tmp_path, ["csv"], made)
