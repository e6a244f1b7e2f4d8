"""What the process does with memory: of arrays that are freed, and of many small objects."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # as in malloc.h


@cache
def keep_memory() -> None:
    """On Linux, keep up to 64 MB of freed arrays of up to 32 MB each, for the next step to use.

    It is what glibc comes to by itself once an array of 32 MB was freed. Before that, a step may give all of its memory back to
    the system, and the next one have it mapped anew, page by page: that took a quarter of La-MAML's update.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:  # where it is missing or refuses, steps are slower, no more
        for parameter, megabytes in ((TRIM_THRESHOLD, 64), (MMAP_THRESHOLD, 32)):
            mallopt(parameter, megabytes << 20)


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage in cycles meanwhile: to go over many live objects again and again took a third of a large report."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
