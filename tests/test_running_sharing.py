"""Several runs on one store: each replicate is trained once, whoever is killed."""

import os
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from retrograde import benchmark, strategy
from retrograde.records.store import Store
from retrograde.running.cell import Job, StreamCell
from retrograde.running.sharing import Heard, Share

CELLS, SEEDS = 8, 3
ROUNDS = int(os.environ.get("RETROGRADE_ROUNDS", "3"))
"""Rounds of four commands on one store; 20 take two minutes."""
LOGGED = """
import os
from dataclasses import dataclass
from retrograde.strategies.er import ER

@dataclass(frozen=True)
class Logged(ER):
    def end_experience(self, net, state, finished):
        with open("log", "a") as file:
            file.write(f"{os.getpid()} {self.buffer_size}\\n")
        return super().end_experience(net, state, finished)
"""
SERVER = """
import os, sys
from retrograde.running import console, sharing, workers
from retrograde.cli import main

for line in sys.stdin:  # a command, after the file for its output; answers with its process id, or reaps one
    word, *words = line.split()
    if word == "reap":
        print(os.waitstatus_to_exitcode(os.waitpid(int(words[0]), 0)[1]), flush=True)
    elif pid := os.fork():
        print(pid, flush=True)
    else:
        log = os.open(word, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1), os.dup2(log, 2)
        sys.argv = ["retrograde", *words]
        try:
            main()
        except SystemExit as end:
            os._exit(end.code or 0)
        finally:
            os._exit(70)
"""
SILENT = Heard(lambda *_: None, lambda *_: None, lambda *_: None)


@pytest.fixture
def records(make_record):
    """Records of several cells, by their cell's memory and their seed."""
    return {
        (memory, seed): make_record(buffer_size=memory, seed=seed)
        for memory in range(CELLS)
        for seed in range(SEEDS)
    }


@pytest.fixture
def jobs(records):
    """A job for each cell."""
    parts, seeds = (benchmark("split"), strategy("er")), tuple(range(SEEDS))
    cells = [StreamCell(records[memory, 0].cell, *parts) for memory in range(CELLS)]
    return [Job(cell, seeds, seeds, 10) for cell in cells]


@pytest.fixture
def share(tmp_path):
    """Share jobs in a store that has been looked at before."""
    made = []

    def share_(jobs, *, any_version=False, **heard):
        store = Store(tmp_path / "store")
        store.begin()
        made.append(Share(store, jobs, SILENT._replace(**heard), any_version=any_version))
        return made[-1]

    yield share_
    for each in made:
        each.close()


def ended(share, job, records):
    """Do what a run does with a job that has been trained."""
    for seed in job.missing:
        share.write(
            job,
            next(
                record
                for record in records.values()
                if (record.cell, record.seed) == (job.spec, seed)
            ),
        )
    share.done(job)


def test_two_runs_get_different_jobs_and_each_hears_what_the_other_made(share, jobs, records):
    heard = []
    one, other = (
        share(jobs[:2], made=lambda job, records: heard.append((job.missing, len(records)))),
        share(jobs[:2]),
    )
    ours, theirs = iter(one), iter(other)
    first, second = next(ours), next(theirs)
    assert first.spec != second.spec
    ended(other, second, records)
    ended(one, first, records)
    assert list(ours) == []
    assert heard == [((), SEEDS)]


def test_a_run_that_has_nothing_left_says_once_for_whom_it_waits_and_takes_over_what_is_given_up(
    share, jobs
):
    waits = []
    one, other = (
        share(jobs[:1]),
        share(jobs[:1], waits=lambda count, holders: waits.append((count, len(holders)))),
    )
    held, waiting = iter(one), iter(other)
    assert next(held)
    assert [next(waiting), next(waiting)] == [None, None]
    one.close()
    assert next(waiting).missing == (0, 1, 2)
    assert waits == [(SEEDS, 1)]


def test_a_record_that_comes_between_look_and_claim_is_not_trained_again(
    share, jobs, records, monkeypatch
):
    mine, other = share(jobs[:1]), share(jobs[:1])
    claim = mine.claims.claim

    def late(*args):
        ended(other, next(iter(other)), records)
        return claim(*args)

    monkeypatch.setattr(mine.claims, "claim", late)
    assert list(mine) == []


@pytest.mark.parametrize("before", ["failed", "damaged"])
def test_what_failed_or_was_damaged_before_is_tried_once_by_all_runs_together(
    share, jobs, records, before
):
    store = Store(share(()).store.folder)
    path = store.path(jobs[0].spec, 0)
    path.parent.mkdir(parents=True)
    path.write_text(
        replace(records[0, 0], status="failed", reason="x").to_json() if before == "failed" else "{"
    )
    time.sleep(0.02)  # a tick of the file system's clock
    job = replace(jobs[0], missing=(0,))
    one, other = share([job]), share([job])
    taken = next(iter(one))
    one.write(taken, replace(records[0, 0], status="failed", reason="y"))
    one.done(taken)
    assert list(other) == []
    assert store.read(path).reason == "y"


@pytest.mark.parametrize("before", ["{", ""])
def test_a_record_that_was_being_written_as_this_run_began_is_not_trained_again(
    share, jobs, records, monkeypatch, before
):
    other, fsync, late = share([replace(jobs[0], missing=(0,))]), os.fsync, []
    path = other.store.path(jobs[0].spec, 0)
    path.parent.mkdir(parents=True)
    path.write_text(before or "{")
    before or path.unlink()

    def begin(handle):
        fsync(handle)
        time.sleep(0.02)  # a tick of the file system's clock
        late.append(Store(other.store.folder))
        late[0].begin()

    monkeypatch.setattr(os, "fsync", begin)
    ended(other, next(iter(other)), records)
    assert list(Share(late[0], [replace(jobs[0], missing=(0,))], SILENT)) == []


def test_a_record_that_another_run_made_with_other_files_is_not_taken_for_ones_own(
    share, jobs, records
):
    job = replace(jobs[0], missing=(0,), sources={"strategy": {"mine.py": "1" * 12}})
    mine = share([job])
    keeping = share([job], any_version=True)
    time.sleep(0.02)  # a tick of the file system's clock
    mine.store.write(replace(records[0, 0], sources={"strategy": {"mine.py": "2" * 12}}))
    assert next(iter(mine)).missing == (0,)
    assert list(keeping) == []


def test_the_failure_of_a_run_that_lost_its_claim_is_not_written(share, jobs, records, monkeypatch):
    mine = share(jobs[:1])
    job = next(iter(mine))
    monkeypatch.setattr(mine.claims, "lost", lambda *_: True)
    mine.write(job, replace(records[0, 0], status="failed", reason="x"))
    mine.write(job, records[0, 1])
    assert [record.seed for record in mine.store] == [1]


def drive(folder, jobs, records, log):
    """A driver whose training takes milliseconds and is logged: a line as it begins, and one as its records are written."""
    store = Store(folder)
    store.begin()
    missing = [
        tuple(seed for seed in job.missing if store.finished(job.spec, seed) is None)
        for job in jobs
    ]
    todo = [replace(job, missing=left) for job, left in zip(jobs, missing, strict=True) if left]
    with closing(Share(store, todo, SILENT)) as share:
        for job in share:
            if job is None:
                time.sleep(0.01)
                continue
            os.write(log, f"{os.getpid()} begins {job.spec.path}\n".encode())
            time.sleep(0.01)
            ended(share, job, records)
            os.write(log, f"{os.getpid()} ends {job.spec.path}\n".encode())


def forked(run):
    """Run in a process of its own; returns its id."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # it computes nothing that could be harmed by a fork amid threads
        pid = os.fork()
    if pid:
        return pid
    try:
        run()
        os._exit(0)
    except BaseException:
        os._exit(1)


def compete(folder, jobs, records, random, kills):
    """Four drivers on one store, some of which are killed and begin again; returns who was killed, and the log."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    killed = set()

    def start():
        return forked(lambda: drive(folder / "store", jobs, records, log))

    drivers = [start() for _ in range(4)]
    for _ in range(kills):
        time.sleep(random.uniform(0, 0.05))
        victim = drivers.pop(random.integers(4))
        os.kill(victim, signal.SIGKILL)
        if os.waitstatus_to_exitcode(os.waitpid(victim, 0)[1]) == -signal.SIGKILL:
            killed.add(victim)
        drivers.append(start())
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in drivers] == [0] * 4
    os.close(log)
    return killed, [line.split() for line in (folder / "log").read_text().splitlines()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("seed", "kills"), [(0, 0), (1, 6), (2, 12)])
def test_four_drivers_with_kills_train_each_replicate_once_and_set_nothing_good_aside(
    jobs, records, tmp_path, seed, kills
):
    path = Store(tmp_path / "store").path(jobs[0].spec, 1)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    killed, log = compete(tmp_path, jobs, records, np.random.default_rng(seed), kills)
    assert {(record.cell, record.seed) for record in Store(tmp_path / "store")} == {
        (r.cell, r.seed) for r in records.values()
    }
    assert [aside.read_text() for aside in tmp_path.rglob("*.damaged*")] == ["{"]
    ends = Counter(cell for _, what, cell in log if what == "ends")
    begins = Counter(cell for pid, what, cell in log if what == "begins" and int(pid) not in killed)
    assert set(ends.values()) == {1} or kills
    assert max(ends.values()) == max(begins.values()) == 1
    assert kills or not list(tmp_path.rglob("*.claim-*"))


@pytest.fixture
def commands(tmp_path):
    """Start `retrograde` in processes that need not import it first, or wait for one's exit code."""
    (tmp_path / "logged.py").write_text(LOGGED)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], cwd=tmp_path, text=True, **pipes
    ) as server:

        def ask(*words):
            print(*words, file=server.stdin, flush=True)
            return int(server.stdout.readline())

        yield ask
        server.stdin.close()


LONG = [f"--strategy logged:buffer_size={size}" for size in range(10, 10 + CELLS)]
RUN = f"run --plugin logged.py --benchmark split:tasks=2,train_examples=60,test_examples=20 {' '.join(LONG)} --seeds 3 --compile off --jobs 1"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_four_commands_with_kills_train_what_one_command_trains(commands, tmp_path):
    random = np.random.default_rng(0)
    for round_ in range(ROUNDS):
        (tmp_path / "log").write_text("")
        command = f"out-{round_} {RUN} --out {round_}"
        drivers, killed = [commands(command) for _ in range(4)], set()
        for share in range(4):
            while len((tmp_path / "log").read_text().splitlines()) < 4 * share:  # amid their work
                time.sleep(0.01)
            time.sleep(random.uniform(0, 0.1))
            victim = drivers.pop(random.integers(4))
            os.kill(victim, signal.SIGKILL)
            killed |= {victim} if commands("reap", victim) == -signal.SIGKILL else set()
            drivers.append(commands(command))
        assert [commands("reap", pid) for pid in drivers] == [0] * 4
        check_round(tmp_path, round_, killed)


def check_round(folder, round_, killed):
    """Every record is there once, nothing is set aside, and nobody who lived trained what another had."""
    found = list(Store(folder / str(round_)))
    trained = Counter(line.split()[1] for line in (folder / "log").read_text().splitlines())
    alive = Counter(
        memory
        for pid, memory in map(str.split, (folder / "log").read_text().splitlines())
        if int(pid) not in killed
    )
    seconds = sum(record.clocks["train"] / record.how["replicates"] for record in found)
    print(
        f"round {round_}: {len(killed)} killed, {len(found)} records, task ends {trained.total()}, training {seconds:.2f} s"
    )
    assert len(found) == CELLS * SEEDS
    assert not list((folder / str(round_)).rglob("*.damaged*"))
    assert max(alive.values()) == 2  # a line for each of two tasks
    assert trained.total() <= 2 * (CELLS + len(killed))
