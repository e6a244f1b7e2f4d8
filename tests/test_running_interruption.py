"""Killed, interrupted or half dead: what had finished stays, and resuming gives the records of an undisturbed run."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

SUITE = """
title = "short cells"
seeds = 10
[[cells]]
benchmarks = ["sinusoid:iterations=100,meta_batch_size=4,test_tasks=50,evaluations=4,model=mlp-8"]
strategies = ["maml"]
[[cells]]
benchmarks = ["split:tasks=2,train_examples=300,epochs=2", "permuted:tasks=3,train_examples=100", "rotated:tasks=3,train_examples=100"]
strategies = ["finetune", "er:buffer_size=30", "er:buffer_size=30,policy=balanced", "joint"]
"""
SAME_WAY = "--compile", "off", "--jobs", "2"
"""No trial, which a busy machine could decide otherwise, and as many threads however few cells are left: the same digits."""
KILLER = """
import os, signal
from dataclasses import dataclass
from retrograde.interface.strategy import Strategy

@dataclass(frozen=True)
class Killer(Strategy):
    def step(self, net, state, data):
        return state

    def end_experience(self, net, state, finished):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start `retrograde run` on the suite, recording into a folder of that name; what still runs at the end is killed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.toml").write_text(SUITE)
    started = []

    def popen(out, *words):
        command = [sys.executable, "-m", "retrograde", "run", "short.toml", "--out", out, *words]
        with (tmp_path / f"{out}.log").open("a") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
        return started[-1]

    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a background job ignores it, and so do its children
    yield popen
    signal.signal(signal.SIGINT, before)
    for process in started:
        process.kill()
        process.wait()


def recorded(folder):
    """The paths of the records."""
    return sorted(folder.rglob("seed-*.json"))


def results(folder):
    """What the records say, but for time, memory and the way of training."""
    found = {path.relative_to(folder): json.loads(path.read_text()) for path in recorded(folder)}
    for record in found.values():
        record.pop("clocks")
        record.pop("environment")
        record.pop("how")
        record["memory"].pop("peak_bytes", None)
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kills_at_random_moments_and_a_resume_give_the_records_of_an_undisturbed_run(
    start, tmp_path
):
    assert start("whole", *SAME_WAY).wait() == 0
    random = np.random.default_rng(0)
    for _ in range(5):
        kept = results(tmp_path / "killed")
        process = start("killed", *SAME_WAY)
        while process.poll() is None and len(recorded(tmp_path / "killed")) <= len(kept):
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.25))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        after = results(tmp_path / "killed")
        assert all(after[path] == record for path, record in kept.items())
    assert start("killed", *SAME_WAY).wait() == 0
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    assert len(results(tmp_path / "whole")) == 130


def test_ctrl_c_leaves_a_store_that_resumes(start, tmp_path):
    process = start("stopped")
    while not list(tmp_path.glob("stopped/*/*/*/seed-0.json")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert "Interrupted" in (tmp_path / "stopped.log").read_text()
    assert 0 < len(results(tmp_path / "stopped")) < 130
    assert start("stopped").wait() == 0
    assert len(results(tmp_path / "stopped")) == 130


CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}


def catches(process, number):
    """Whether a process has a handler for a signal, by what Linux says of it."""
    status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt"))
    return bool(caught >> (number - 1) & 1)


def skip_if_ignored(name):
    if signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        pytest.skip(f"{name} is ignored here, as under nohup, and so by the processes of a test")


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="asks Linux when the handlers are there"
)
@pytest.mark.parametrize("name", CODES)
def test_a_signal_while_the_command_starts_is_one_line_and_a_code(start, tmp_path, name):
    skip_if_ignored(name)
    process = start("early")
    while not all(catches(process, number) for number in (signal.SIGTERM, getattr(signal, name))):
        time.sleep(0.001)
    process.send_signal(getattr(signal, name))
    assert process.wait(timeout=60) == CODES[name]
    (line,) = (tmp_path / "early.log").read_text().splitlines()
    assert line.endswith("No record is harmed; the same command begins again.")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_while_cells_train_keeps_what_had_finished_and_gives_up_the_claims(
    start, tmp_path, name
):
    skip_if_ignored(name)
    process = start("stopped", "--jobs", "1")
    while not list(tmp_path.glob("stopped/*/*/*/.seed-0.claim-1")):
        time.sleep(0.01)
    process.send_signal(getattr(signal, name))
    assert process.wait(timeout=60) == CODES[name]
    assert (
        f"({name}). What had finished is kept; the same command goes on"
        in (tmp_path / "stopped.log").read_text()
    )
    assert "Traceback" not in (tmp_path / "stopped.log").read_text()
    assert not list((tmp_path / "stopped").rglob(".*"))


def test_a_dead_worker_costs_its_cell_only(start, tmp_path):
    (tmp_path / "killer.py").write_text(KILLER)
    words = (
        "--plugin",
        "killer.py",
        "--strategy",
        "killer",
        "--jobs",
        "2",
        "--only",
        "benchmark=split",
        "--seeds",
        "5",
    )
    assert start("dead", *words).wait(timeout=200) == 1
    assert "died with exit code -9, as the one before" in (tmp_path / "dead.log").read_text()
    found = results(tmp_path / "dead")
    status = {path.parts[1]: record["status"] for path, record in found.items()}
    assert status == {"finetune": "done", "er": "done", "joint": "done", "killer": "failed"}
    assert len(found) == 25


def test_no_half_written_record_is_ever_seen(start, tmp_path):
    process = start("watched", "--only", "benchmark=split")
    while process.poll() is None:
        for path in tmp_path.glob("watched/*/*/*/seed-*.json"):
            assert json.loads(path.read_text())["status"] == "done"
        time.sleep(0.01)
    assert process.returncode == 0
    assert not list((tmp_path / "watched").rglob("*.tmp"))
