"""Start-up.

Whole processes. The run is of five tasks of the bundled digits, one step each.
"""

import subprocess
import sys
import tempfile

import pytest
from labels import ours

TORCH = "python -c 'import torch'"
CELL = [
    "--benchmark",
    "split:steps=1,probe_examples=0",
    "--strategy",
    "finetune",
    "--compile",
    "off",
]


def started(*words):
    subprocess.run([sys.executable, *words], check=True, capture_output=True)


def test_torch(measure):
    measure(TORCH, lambda: started("-c", "import torch"), rounds=3)


@pytest.mark.parametrize("word", ["--help", "list"])
def test_a_start(measure, word):
    measure(
        f"retrograde {word}", lambda: started("-m", "retrograde", word), {TORCH: None}, rounds=3
    )


def test_a_run(measure, tmp_path):
    def run(store):
        started("-m", "retrograde", "run", *CELL, "--out", store)

    measure(
        ours("retrograde run", False, 1),
        run,
        {TORCH: None},
        setup=lambda: ((tempfile.mkdtemp(dir=tmp_path),), {}),
        rounds=3,
    )
