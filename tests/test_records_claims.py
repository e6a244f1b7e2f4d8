"""Claims: one holder at a time, whoever dies."""

import errno
import os
import subprocess
import sys
import threading

import pytest

from retrograde.records import claims
from retrograde.records.claims import EXPIRY, Claims


@pytest.fixture
def there(monkeypatch):
    """Make the claims of a process on another machine, of which this one sees the files only."""

    def make():
        with monkeypatch.context() as patch:
            patch.setattr(claims, "_machine", lambda: "elsewhere")
            return Claims()

    return make


@pytest.fixture
def dead():
    """The process id of one that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def altered(folder, **fields):
    """Change what the only claim in a folder says of its holder."""
    (path,) = folder.iterdir()
    said = claims._parsed(path.read_bytes())._replace(**fields)
    path.write_text(claims.json.dumps(said._asdict()))


def test_a_claim_has_one_holder_whom_others_can_name(tmp_path):
    first, second = Claims(), Claims()
    assert first.claim(tmp_path, [0, 1]) == (True, [])
    ours, [holder] = second.claim(tmp_path, [0, 1])
    assert not ours
    assert f"process {os.getpid()} on " in holder.text


def test_replicates_are_claimed_all_or_none(tmp_path):
    first, second = Claims(), Claims()
    first.claim(tmp_path, [2])
    assert not second.claim(tmp_path, [0, 1, 2]).ours
    assert names(tmp_path) == [".seed-2.claim-1"]
    assert second.claim(tmp_path, [0, 1]).ours


@pytest.mark.parametrize(
    "give_up",
    [lambda claims, folder: claims.release(folder, [0, 1]), lambda claims, _: claims.close()],
)
def test_a_claim_that_is_given_up_leaves_nothing_and_is_free(tmp_path, give_up):
    first = Claims()
    first.claim(tmp_path, [0, 1])
    give_up(first, tmp_path)
    assert names(tmp_path) == []
    assert Claims().claim(tmp_path, [0, 1]).ours


def test_the_claim_of_a_process_that_has_ended_here_is_free_at_once(tmp_path, dead):
    Claims().claim(tmp_path, [0])
    altered(tmp_path, pid=dead)
    second = Claims()
    ours, [holder] = second.claim(tmp_path, [0])
    assert (ours, holder.pid) == (True, dead)
    assert names(tmp_path) == [".seed-0.claim-2"]
    second.close()
    assert names(tmp_path) == []


@pytest.mark.skipif(not claims._machine(), reason="the system does not tell when a process started")
def test_a_process_id_that_is_used_again_is_another_process(tmp_path):
    Claims().claim(tmp_path, [0])
    altered(tmp_path, started="1")
    assert Claims().claim(tmp_path, [0]).ours


def test_a_claim_from_another_machine_is_void_when_it_has_not_changed_for_a_minute_of_our_clock(
    tmp_path, there
):
    now = [1000.0]
    here = Claims(clock=lambda: now[0])
    there().claim(tmp_path, [0])
    for later in (0, EXPIRY, 1):
        now[0] += later
        ours = here.claim(tmp_path, [0]).ours
        assert ours == (later == 1)


def test_signs_of_life_keep_a_claim_from_another_machine(tmp_path, there):
    now = [1000.0]
    here, other = Claims(clock=lambda: now[0]), there()
    other.claim(tmp_path, [0])
    for _ in range(5):
        assert not here.claim(tmp_path, [0]).ours
        other.beat()
        now[0] += EXPIRY + 1


def test_a_claim_that_was_never_finished_is_void_after_a_minute(tmp_path):
    now = [1000.0]
    here = Claims(clock=lambda: now[0])
    (tmp_path / ".seed-0.claim-1").touch()
    assert not here.claim(tmp_path, [0]).ours
    now[0] += EXPIRY + 1
    assert here.claim(tmp_path, [0]).ours


def test_who_comes_to_life_again_knows_that_its_claim_is_lost_and_leaves_the_new_one(
    tmp_path, there
):
    now = [1000.0]
    here, slow = Claims(clock=lambda: now[0]), there()
    slow.claim(tmp_path, [0])
    here.claim(tmp_path, [0])
    now[0] += EXPIRY + 1
    assert here.claim(tmp_path, [0]).ours
    slow.beat()
    slow.close()
    assert (slow.lost(tmp_path, 0), here.lost(tmp_path, 0)) == (True, False)
    assert names(tmp_path) == [".seed-0.claim-2"]


def test_of_many_who_take_over_a_void_claim_at_once_at_most_one_has_it(tmp_path, dead):
    for round_ in range(30):
        folder = tmp_path / str(round_)
        Claims().claim(folder, [0])
        altered(folder, pid=dead)
        together, many, won = threading.Barrier(8), [Claims() for _ in range(8)], []

        def take(claims, folder=folder, together=together, won=won):
            together.wait()
            if claims.claim(folder, [0]).ours:
                won.append(claims)

        threads = [threading.Thread(target=take, args=[each]) for each in many]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert len(won) <= 1
        assert won or Claims().claim(folder, [0]).ours  # they gave way to one another


def test_a_claim_that_cannot_be_created_leaves_none(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Claims().claim(tmp_path, [0])
    assert names(tmp_path) == []


def test_without_links_a_claim_has_one_holder_too(tmp_path, monkeypatch):
    monkeypatch.setattr(
        os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links here"))
    )
    assert Claims().claim(tmp_path, [0]).ours
    assert not Claims()._create(tmp_path, 0, tmp_path / ".seed-0.claim-1")
    assert names(tmp_path) == [".seed-0.claim-1"]
