"""What may go wrong amid a run: nothing that has finished is lost, every other cell runs, and what happened is said."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from retrograde.cli import main

CELL = (
    "--benchmark",
    "split:tasks=2,train_examples=30,test_examples=20",
    "--strategy",
    "finetune",
    "--strategy",
    "joint",
)
BAD = """
import os, resource, signal, sys, time, torch
from dataclasses import dataclass
from retrograde.interface.strategy import Strategy

@dataclass(frozen=True)
class Bad(Strategy):
    def step(self, net, state, data):
        return state

    def end_experience(self, net, state, finished):
        {fault}
        return state
"""


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run two good cells and, if a fault is given, a bad one between them; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")

    def run(*words, fault=None):
        if fault:
            (tmp_path / "bad.py").write_text(BAD.format(fault=fault))
            words = ("--strategy", "bad", *CELL, "--plugin", "bad.py", *words)
        return called("run", *(words if fault else (*CELL, *words)))

    def called(*words):
        monkeypatch.setattr(sys, "argv", ["retrograde", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code or 0, *capsys.readouterr()

    run.report = lambda: called("report", "runs/cells")
    return run


def recorded(tmp_path):
    """The records by the name of their strategy."""
    return {
        path.parts[-3]: json.loads(path.read_text())
        for path in tmp_path.rglob("runs/**/seed-0.json")
    }


def running(pid):
    """Whether a process is there, and not only its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def within(seconds, what):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.05)
    return what()


ENDLESS = {"asleep": "time.sleep(10**6)", "busy": "\n        while True: pass"}


@pytest.mark.parametrize(("fault", "jobs"), [("asleep", 1), ("busy", 2)])
def test_a_cell_that_never_ends_is_stopped_when_its_time_is_over_and_the_others_run(
    call, tmp_path, fault, jobs
):
    code, out, err = call("--timeout", 25, "--jobs", jobs, fault=ENDLESS[fault])
    found = recorded(tmp_path)
    assert (code, out.count("done ")) == (1, 3)  # two cells, and the count of those done already
    assert {name: record["status"] for name, record in found.items()} == {
        "finetune": "done",
        "joint": "done",
        "bad": "failed",
    }
    assert "may take 25 s (timeout)" in found["bad"]["reason"]
    assert "may take 25 s (timeout)" in err
    assert {record["environment"]["jobs"] for record in found.values()} == {jobs}
    assert within(10, lambda: not multiprocessing.active_children())


LIMITED = "\n        resource.setrlimit(resource.RLIMIT_AS, (2**34, -1))\n        "
GREEDY = {
    "of PyTorch's": (f"{LIMITED}torch.ones(2**36)", "can't allocate memory"),
    "of the whole machine's": (
        "os.kill(os.getpid(), signal.SIGKILL)",
        "stops what wants more memory than there is",
    ),
}


@pytest.mark.parametrize("fault", GREEDY)
def test_a_cell_that_wants_more_than_there_is_fails_alone_and_the_report_says_so(
    call, tmp_path, fault
):
    harm, reason = GREEDY[fault]
    code, _, err = call("--jobs", 2, fault=harm)
    found = recorded(tmp_path)
    assert (code, reason in err, reason in found["bad"]["reason"]) == (1, True, True)
    assert {name: record["status"] for name, record in found.items()} == {
        "finetune": "done",
        "joint": "done",
        "bad": "failed",
    }
    assert "1 failed" in call.report()[1]


def test_a_worker_that_is_killed_once_costs_its_cell_a_second_try(call, tmp_path):
    once = "Path('tried').exists() or (Path('tried').touch(), os.kill(os.getpid(), signal.SIGKILL))"
    code, _, _ = call("--jobs", 2, fault=f"from pathlib import Path\n        {once}")
    assert (code, {record["status"] for record in recorded(tmp_path).values()}) == (0, {"done"})


@pytest.mark.parametrize("fault", ["bytearray(2**60)", "sys.exit()"])
def test_a_cell_that_asks_for_too_much_or_for_the_end_spares_the_others_in_the_same_process(
    call, tmp_path, fault
):
    assert call(fault=fault)[0] == 1
    assert sorted(record["status"] for record in recorded(tmp_path).values()) == [
        "done",
        "done",
        "failed",
    ]


@pytest.fixture
def fill(monkeypatch, tmp_path):
    """Let a folder take so many records and no more."""
    whole = tempfile.mkstemp
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()

    def filled(folder, room, code=errno.ENOSPC):
        def mkstemp(*args, dir=None, **options):  # noqa: A002 - the name that is called
            nonlocal room
            if str(folder) in str(dir):
                room -= 1
                if room < 0:
                    raise OSError(code, os.strerror(code), str(dir))
            return whole(*args, dir=dir, **options)

        monkeypatch.setattr(tempfile, "mkstemp", mkstemp)

    return filled


@pytest.mark.parametrize(("code", "jobs"), [(errno.ENOSPC, 1), (errno.EROFS, 1), (errno.ENOSPC, 2)])
def test_a_store_that_takes_no_more_ends_the_run_with_one_line_and_keeps_what_it_has(
    call, fill, tmp_path, code, jobs
):
    fill("runs", 1, code)
    exit_code, _, err = call("--jobs", jobs)
    assert (exit_code, len(err.strip().splitlines())) == (2, 1)
    assert os.strerror(code) in err
    assert "What was written before is kept" in err
    assert [record["status"] for record in recorded(tmp_path).values()] == ["done"]
    assert not list(tmp_path.rglob("*.tmp"))
    assert within(10, lambda: not multiprocessing.active_children())


def test_what_a_full_store_did_not_take_lies_elsewhere_and_can_be_copied_back(call, fill, tmp_path):
    fill("runs", 1)
    _, _, err = call()
    (rescued,) = (tmp_path / "elsewhere").iterdir()
    assert str(rescued) in err
    subprocess.run(["cp", "-r", f"{rescued}/.", "runs/cells"], check=True)
    fill("runs", 9)
    code, out, _ = call()
    assert (code, "0 replicates to run, 2 done already" in out) == (0, True)
    assert "ACC" in call.report()[1]


def test_where_nothing_can_be_written_at_all_what_is_lost_is_named_and_trained_again(
    call, fill, tmp_path
):
    fill("", 1)
    _, _, err = call()
    assert (
        "Lost, and to be trained again: split:train_examples=30,test_examples=20,tasks=2  joint seed 0."
        in err
    )
    fill("", 9)
    code, out, _ = call()
    assert (code, "1 replicates to run, 1 done already" in out) == (0, True)
    assert len(recorded(tmp_path)) == 2


JUMPS = """
import random, time
from dataclasses import dataclass
from retrograde.interface.strategy import Strategy

time.time = lambda: random.uniform(-1e9, 1e10)

@dataclass(frozen=True)
class Jumps(Strategy):
    def step(self, net, state, data):
        return state
"""


def test_a_clock_that_jumps_stops_nothing_and_is_in_no_record(call, monkeypatch, tmp_path):
    monkeypatch.setattr(time, "time", time.time)  # to be put back
    (tmp_path / "jumps.py").write_text(JUMPS)
    code, _, _ = call("--jobs", 2, "--timeout", 60, "--strategy", "jumps", "--plugin", "jumps.py")
    found = recorded(tmp_path)
    assert (code, len(found)) == (0, 3)
    assert all(
        0 <= seconds < 60 for record in found.values() for seconds in record["clocks"].values()
    )


def test_workers_of_a_killed_driver_end_and_the_run_goes_on_from_there(call, tmp_path):
    endless = f'open("pid", "w").write(str(os.getpid())){ENDLESS["busy"]}'
    (tmp_path / "bad.py").write_text(BAD.format(fault=endless))
    command = [
        sys.executable,
        "-m",
        "retrograde",
        "run",
        "--strategy",
        "bad",
        *CELL,
        "--plugin",
        "bad.py",
        "--jobs",
        "2",
    ]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert within(
        60,
        lambda: (
            (tmp_path / "pid").exists()
            and (tmp_path / "pid").read_text()
            and len(recorded(tmp_path)) == 2
        ),
    )
    worker = int((tmp_path / "pid").read_text())
    assert running(worker)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert within(10, lambda: not running(worker))
    code, out, _ = call(fault="pass")
    assert (code, "1 replicates to run, 2 done already" in out) == (0, True)
