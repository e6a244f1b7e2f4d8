"""Workers are forked from a process that has loaded what they need, and are none the worse for it."""

import subprocess
import sys

import pytest

from retrograde.workers import load_ahead, start

TELL = """
import os, signal
open(os.environ["OUT"], "w").write(f"{signal.getsignal(signal.SIGINT) is signal.SIG_IGN} {os.environ}")
"""


def test_a_worker_has_the_environment_that_the_driver_has_when_it_starts(monkeypatch, tmp_path):
    load_ahead()
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    worker = start(exec, TELL)
    worker.join()
    told = (tmp_path / "out").read_text()
    assert worker.exitcode == 0
    assert told.startswith("True")
    assert "PYTHONSAFEPATH" not in told


@pytest.mark.skipif(sys.version_info < (3, 11), reason="before, Python always looks there")
def test_what_workers_are_forked_from_takes_no_file_of_the_folder_for_a_module(tmp_path):
    (tmp_path / "statistics.py").write_text("raise SystemExit")
    words = ("--benchmark", "split:steps=1,probe=0", "--strategy", "finetune", "--strategy", "joint", "--jobs", "2")
    main = "import sys; sys.path.remove(''); from retrograde.cli import main; main()"
    command = [sys.executable, "-c", main, "run", *words, "--compile", "off"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("done ")) == (0, 3)  # two cells, and the count of those done already
