"""Records are made to be shared: they name no folder, user or host, and keep their cells."""

import json
import socket
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from retrograde.interface.strategy import Strategy
from retrograde.metrics.frames import cell_labels
from retrograde.records import privacy
from retrograde.records.cell import CellSpec, PartSpec
from retrograde.records.privacy import scrubbed, without_folder
from retrograde.records.record import Damaged, Record
from retrograde.records.store import Store


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("/home/alice/x.npz", "…/x.npz"),
        ("~/x.npz", "…/x.npz"),
        ("~alice/images/", "…/images"),
        ("../alice/x.npz", "…/x.npz"),
        (r"C:\Users\alice\x.npz", "…/x.npz"),
        ("//host/share/x.npz", "…/x.npz"),
        ("/home/alice/net.py:make", "…/net.py:make"),
        (["/home/alice/a", 1], ["…/a", 1]),
        ({"a": {"b": ["/home/alice/a"]}}, {"a": {"b": ["…/a"]}}),
        *(
            (same, same)
            for same in (
                "digits",
                "data/x.npz",
                "1/2",
                "/",
                "~",
                "package.module:attribute",
                3,
                None,
                [1, 2],
            )
        ),
    ],
    ids=str,
)
def test_a_setting_names_a_file_without_its_folder_and_all_else_as_it_was(value, left):
    assert without_folder(value) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("[Errno 2] No such file: '/data/alice/x.npz'", "[Errno 2] No such file: '…/x.npz'"),
        (r"C:\Users\alice\x.py failed", "…/x.py failed"),
        ("/tmp/torchinductor_alice/ab/cd.so: undefined", "…/cd.so: undefined"),
        (
            "see https://pytorch.org/docs/stable, 1/2 and and/or",
            "see https://pytorch.org/docs/stable, 1/2 and and/or",
        ),
        ("  avalanche.training.lamaml:210 in f", "  avalanche.training.lamaml:210 in f"),
    ],
)
def test_a_reason_keeps_its_sense_and_names_no_folder(text, left):
    assert scrubbed(text) == left


@pytest.fixture
def alice(monkeypatch):
    """Let this be the machine of Alice."""
    monkeypatch.setenv("HOME", "/home/alice smith")
    monkeypatch.setattr(privacy.getpass, "getuser", lambda: "asmith")
    monkeypatch.setattr(socket, "gethostname", lambda: "nemo.example")
    privacy._names.cache_clear()
    yield
    privacy._names.cache_clear()


def private(make_record, folder="/home/alice smith"):
    """A failed record that tells all that it can."""
    benchmark = PartSpec("split", {"dataset": f"{folder}/x.npz"}, {"dataset": f"{folder}/x.npz"})
    weights = {"weights": f"{folder}/w.pt"}
    strategy = PartSpec("er", weights | {"lr": 0.1}, weights)
    reason = f"OSError on nemo.example (nemo) of asmith: '/home/alice smith/a b/x.npz' and {Path.cwd()}/runs"
    cell, how = CellSpec(benchmark, strategy, "digest"), {"note": "/tmp/asmith/x: no"}
    return replace(make_record(status="failed"), cell=cell, reason=reason, how=how)


def test_no_file_of_a_store_holds_a_local_path_a_user_or_a_host(alice, make_record, tmp_path):
    store, record = Store(tmp_path), private(make_record)
    store.write(record)
    (path,) = tmp_path.glob("*/*/*/*.json")
    text = path.read_text(encoding="utf-8")
    assert [
        word
        for word in ("alice", "asmith", "nemo", "/home", "/tmp", str(Path.cwd()))
        if word in text
    ] == []
    document = json.loads(text)
    assert document["cell"]["benchmark"] == {
        "name": "split",
        "settings": {"dataset": "…/x.npz"},
        "overrides": {"dataset": "…/x.npz"},
        "version": 1,
    }
    assert document["how"] == {"note": "…/x: no"}


def test_a_cell_without_folders_is_the_cell_that_it_was(make_record, tmp_path):
    record = private(make_record)
    back = Record.from_json(record.to_json())
    assert back.cell == record.cell
    assert back.cell.path == record.cell.path
    assert back.cell.stream == record.cell.stream
    assert Record.from_json(back.to_json()) == back


@dataclass(frozen=True, kw_only=True)
class Pairs(Strategy):
    """A strategy with pairs among its settings."""

    pairs: tuple[tuple[int, ...], ...] = ((1, 2), (3,))

    def step(self, net, state, data):
        return state


def test_a_cell_with_tuples_in_tuples_is_read_again_as_it_was(make_record, tmp_path):
    strategy = PartSpec.of("pairs", Pairs(pairs=((4,), (5, 6))))
    record = make_record()
    cell = replace(record.cell, strategy=strategy)
    Store(tmp_path).write(replace(record, cell=cell))
    (back,) = Store(tmp_path)
    assert back.cell == cell
    assert back.cell.strategy.differing(strategy) == []


def test_files_of_one_name_from_two_folders_are_told_apart(make_record):
    records = [
        Record.from_json(private(make_record, f"/home/{name}").to_json()) for name in ("a", "b")
    ]
    label = cell_labels(records)
    assert len(set(label.values())) == len({name.benchmark for name in label.values()}) == 2
    assert all(name.benchmark.startswith("split:dataset=…/x.npz #") for name in label.values())


def test_a_cell_cannot_claim_another_place_than_its_settings_have(make_record):
    document = json.loads(make_record().to_json())
    document["cell"] |= {"given": "0" * 12, "given_stream": "0" * 12}
    with pytest.raises(Damaged, match="no setting leaves out the folder"):
        Record.from_json(json.dumps(document))
