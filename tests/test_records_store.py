import errno
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from retrograde.errors import UserError
from retrograde.records.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cells")


def files(store):
    return sorted(path.name for path in store.folder.rglob("*") if path.is_file())


def place(store, record, text):
    """Put `text` where the record would lie."""
    path = store.path(record.cell, record.seed)
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_record_lies_under_its_benchmark_its_strategy_and_its_settings(store, make_record):
    record = make_record("er", seed=3)
    benchmark, strategy, settings, name = store.path(record.cell, 3).relative_to(store.folder).parts
    assert (benchmark, strategy, name) == ("split", "er", "seed-3.json")
    assert settings != store.path(make_record("er", buffer_size=1).cell, 3).parent.name


@pytest.mark.parametrize("status", ["done", "diverged", "failed"])
def test_what_is_written_is_read_back(store, make_record, status):
    record = make_record(status=status)
    store.write(record)
    assert store.read(store.path(record.cell, 0)) == record
    assert files(store) == ["seed-0.json"]


@pytest.mark.parametrize(
    ("status", "replaced"), [("done", False), ("diverged", False), ("failed", True)]
)
def test_a_finished_record_is_never_replaced_and_a_failed_one_is(
    store, make_record, status, replaced
):
    first, second = make_record(status=status), make_record(clocks={"train": 9.0, "evaluate": 1.0})
    store.write(first)
    assert (store.finished(first.cell, 0) is None) is replaced
    store.write(second)
    assert list(store) == [second if replaced else first]


def test_a_finished_record_of_other_files_is_set_aside_and_never_lost(store, make_record):
    versions = [
        make_record(sources={"strategy": {"er.py": digest}}, clocks={"train": 1.0, "evaluate": 1.0})
        for digest in "aba"
    ]
    versions[2] = replace(versions[2], reason="another replicate of the first version")
    for record in [*versions, make_record(sources={"strategy": {"er.py": "c"}})]:
        store.write(record)
    aside = sorted(store.folder.rglob("seed-0.superseded-*"))
    assert sorted(path.read_text() for path in aside) == sorted(
        record.to_json() for record in versions
    )
    assert [record.sources["strategy"]["er.py"] for record in store] == ["c"]


def test_a_replicate_that_failed_takes_the_place_of_no_finished_record(store, make_record):
    first, second = (
        make_record(status=s, sources={"strategy": {"er.py": s}}) for s in ("done", "failed")
    )
    store.write(first)
    store.write(second)
    assert list(store) == [first]
    assert files(store) == ["seed-0.json"]


def test_a_record_that_is_not_there_is_not_finished(store, make_record):
    assert store.finished(make_record().cell, 0) is None
    assert store.damaged == {}


DAMAGED = pytest.mark.parametrize(
    "harm", [lambda t: t[:-9], lambda _: "", lambda t: t.replace('"done"', '"dnoe"')]
)


@DAMAGED
def test_a_damaged_record_is_noted_passed_over_and_not_finished(store, make_record, harm):
    good, bad = make_record(seed=0), make_record(seed=1)
    path = place(store, bad, harm(bad.to_json()))
    store.write(good)
    assert list(store) == [good]
    assert set(store.damaged) == {path}
    assert store.finished(bad.cell, 1) is None


@DAMAGED
def test_writing_over_a_damaged_record_sets_the_damaged_file_aside(store, make_record, harm):
    record = make_record()
    path = place(store, record, text := harm(record.to_json()))
    store.write(record)
    assert store.read(path) == record
    assert path.with_suffix(".damaged").read_text(encoding="utf-8") == text
    assert store.damaged == {}


def test_a_second_damaged_file_does_not_destroy_the_first(store, make_record):
    record = make_record()
    path = place(store, record, "first")
    store.write(record)
    path.write_text("second", encoding="utf-8")
    store.write(record)
    kept = {p.read_text(encoding="utf-8") for p in path.parent.iterdir() if p != path}
    assert kept == {"first", "second"}


def test_a_file_that_is_not_text_is_a_damaged_record(store, make_record):
    path = place(store, make_record(), "")
    path.write_bytes(b"\xff\xfe\x00")
    assert list(store) == []
    assert set(store.damaged) == {path}


@pytest.mark.parametrize(
    "use", [lambda s, _: list(s), lambda s, r: s.finished(r.cell, 0), lambda s, r: s.write(r)]
)
def test_a_record_of_a_later_version_stops_every_use_with_a_remedy_and_stays(
    store, make_record, use
):
    record = make_record()
    path = place(store, record, text := json.dumps({"schema": record.schema + 1}))
    with pytest.raises(UserError, match="Upgrade retrograde"):
        use(store, record)
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.chmod", "pathlib.Path.replace"])
@pytest.mark.parametrize("stop", [OSError, KeyboardInterrupt])
def test_a_write_that_is_broken_off_leaves_no_file_and_the_old_record(
    store, make_record, monkeypatch, step, stop
):
    old = make_record(status="failed")
    store.write(old)

    def broken(*_):
        raise stop

    monkeypatch.setattr(step, broken)
    with pytest.raises(stop):
        store.write(make_record())
    assert files(store) == ["seed-0.json"]
    assert list(store) == [old]


def test_a_write_that_is_broken_off_keeps_the_damaged_record_it_was_to_replace(
    store, make_record, monkeypatch
):
    path = place(store, make_record(), "damaged")
    monkeypatch.setattr(os, "fsync", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.write(make_record())
    assert [p.read_text(encoding="utf-8") for p in path.parent.iterdir()] == ["damaged"]


@pytest.fixture
def meanwhile(monkeypatch):
    """Let something happen once, after a record is written in full and before it gets its name."""

    def let(happen):
        def fsync(_):
            monkeypatch.undo()
            happen()

        monkeypatch.setattr(os, "fsync", fsync)

    return let


@pytest.mark.parametrize("status", ["done", "failed"])
def test_a_good_record_that_another_run_puts_in_the_place_of_a_damaged_one_is_not_set_aside(
    store, make_record, meanwhile, status
):
    path = place(store, make_record(), "{")
    store.finished(make_record().cell, 0)  # as planning does
    others = make_record(clocks={"train": 9.0, "evaluate": 1.0}, status=status)
    meanwhile(lambda: Store(store.folder).write(others))
    store.write(make_record())
    assert files(store) == ["seed-0.damaged", "seed-0.json"]
    assert path.with_suffix(".damaged").read_text(encoding="utf-8") == "{"
    assert store.read(path) == (others if status == "done" else make_record())


@pytest.mark.parametrize("before", ["failed", "damaged", None])
def test_a_failure_never_replaces_what_another_run_has_finished_meanwhile(
    store, make_record, meanwhile, before
):
    if before:
        place(
            store,
            make_record(),
            make_record(status="failed").to_json() if before == "failed" else "{",
        )
    meanwhile(lambda: Store(store.folder).write(make_record()))
    store.write(make_record(status="failed"))
    assert list(store) == [make_record()]


@DAMAGED
def test_without_links_damaged_records_are_set_aside_and_good_ones_kept(
    store, make_record, monkeypatch, harm
):
    monkeypatch.setattr(
        os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links here"))
    )
    path = place(store, make_record(), text := harm(make_record().to_json()))
    store.write(make_record())
    store.write(make_record(status="failed"))
    assert files(store) == ["seed-0.damaged", "seed-0.json"]
    assert (store.read(path), path.with_suffix(".damaged").read_text(encoding="utf-8")) == (
        make_record(),
        text,
    )


def test_a_file_that_a_server_has_just_replaced_is_opened_again(store, make_record, monkeypatch):
    store.write(record := make_record())
    whole, errors = Path.read_bytes, [OSError(errno.ESTALE, "stale file handle")]
    monkeypatch.setattr(
        Path,
        "read_bytes",
        lambda path: whole(path) if not errors else (_ for _ in ()).throw(errors.pop()),
    )
    assert list(store) == [record]


def test_newer_is_what_was_written_after_the_run_began(store, make_record):
    store.write(old := make_record(seed=0))
    time.sleep(0.02)  # a tick of the file system's clock
    store.begin()
    time.sleep(0.02)
    store.write(new := make_record(seed=1))
    assert [store.newer(store.path(record.cell, record.seed)) for record in (old, new)] == [
        False,
        True,
    ]


def test_records_come_in_the_order_of_their_paths_however_they_were_written(store, make_record):
    for strategy, seed in [("sgd", 0), ("er", 10), ("er", 2), ("er", 1), ("er", 0)]:
        store.write(make_record(strategy, seed))
        store.write(make_record(strategy, seed, benchmark="rotated"))
    found = [store.path(record.cell, record.seed) for record in store]
    assert found == sorted(found)
    assert len(found) == 10


def test_only_whole_records_are_records(store, make_record):
    store.write(record := make_record())
    beside = store.path(record.cell, 0)
    for name in (".abc.tmp", "seed-1.damaged", "notes.txt"):
        (beside.parent / name).write_text(replace(record, seed=1).to_json(), encoding="utf-8")
    assert list(store) == [record]


def test_a_record_can_be_read_by_everyone_whom_the_folder_lets_in(store, make_record):
    store.write(record := make_record())
    assert store.path(record.cell, 0).stat().st_mode & 0o444 == 0o444


@pytest.mark.parametrize("below", ["", "cells"])
def test_a_folder_that_cannot_be_written_is_the_users_to_put_right(tmp_path, below):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="are written to a store"):
        Store(tmp_path / "file" / below).check_writable()


def test_a_folder_that_can_be_written_is_made_and_left_empty(store):
    store.check_writable()
    assert list(Path(store.folder).iterdir()) == []


def test_a_folder_that_cannot_be_listed_is_named_and_the_rest_is_read(
    store, make_record, monkeypatch
):
    store.write(good := make_record("er"))
    store.write(make_record("sgd"))
    closed, whole = store.folder / "split" / "sgd", Path.iterdir

    def iterdir(folder):
        if folder == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return whole(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert list(store) == [good]
    assert store.damaged == {closed: "the folder cannot be read: Permission denied"}


def test_a_record_that_may_not_be_read_is_named_and_the_rest_is_read(
    store, make_record, monkeypatch
):
    for seed in range(2):
        store.write(make_record(seed=seed))
    closed, whole = store.path(make_record().cell, 1), Path.read_bytes

    def read_bytes(path):
        if path == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert [record.seed for record in store] == [0]
    assert store.damaged == {closed: "it cannot be read: Permission denied"}
    with pytest.raises(
        UserError, match="cannot be read"
    ):  # a run does not replace what it cannot see
        store.finished(make_record().cell, 1)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_no_record_and_is_not_waited_for(store, make_record, make):
    path = store.path(make_record().cell, 0)
    path.parent.mkdir(parents=True)
    make(path)
    assert list(store) == []
    assert store.damaged == {path: "it is no file"}
