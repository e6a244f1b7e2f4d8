"""Freed arrays stay in the process, in one of its own: what is set holds for all that comes after."""

import gc
import subprocess
import sys

import pytest

from retrograde.process import uncollected

FAULTS = """
import sys, resource
import numpy as np
from retrograde.process import keep_memory

def arrays():
    return [np.ones(80_000, np.float32) for _ in range(40)]

if sys.argv[1] == "kept":
    keep_memory()
arrays()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    arrays()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that is told")
def test_memory_is_not_mapped_anew_at_every_step():
    run = [
        subprocess.run(
            [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True
        ).stdout
        for how in ("kept", "given back")
    ]
    kept, given_back = map(int, run)
    assert kept < given_back / 10


def test_cycles_are_looked_for_again_afterwards_even_where_something_is_raised():
    @uncollected()
    def fail():
        raise ValueError(f"amid, collecting: {gc.isenabled()}")

    with pytest.raises(ValueError, match="amid, collecting: False"):
        fail()
    assert gc.isenabled()
