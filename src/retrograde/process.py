"""Memory of this process: freed arrays are kept, and garbage collection is paused."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

# The names and numbers of options in glibc's malloc.h.
TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3


@cache
def keep_memory() -> None:
    """On Linux, keep up to 64 MB of freed arrays of up to 32 MB each, for the next step to use.

    The C library (glibc) adopts these thresholds by itself once an array of 32 MB has been freed.
    Before that, a step may return all of its memory to the system, and the next step has it mapped
    again page by page, which took a quarter of the time of La-MAML's update.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # Without the function, or if it refuses, steps are slower and nothing else changes.
    if mallopt:
        mallopt(TRIM_THRESHOLD, 64 << 20)
        mallopt(MMAP_THRESHOLD, 32 << 20)


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the collection of cyclic garbage inside the block.

    Repeated passes over many live objects took a third of the time of a large report.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
