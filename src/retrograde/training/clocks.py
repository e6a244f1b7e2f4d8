"""Clocks that add up seconds by the activity on which they were spent."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from statistics import median
from typing import NamedTuple

import torch

News = int | str
"""The number of steps that were just taken, or the name of the clock that runs from now on."""
Progress = Callable[[News], None]


class Clocks:
    """Seconds by name, synchronised with the device.

    A clock that runs inside another one stops the outer one meanwhile.

    Args:
        device: The device.
        progress: Called with the name of each clock that begins to run.
    """

    carries = ("seconds",)

    def __init__(self, device: torch.device, progress: Progress = lambda _: None) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._running: list[str] = []  # the clocks around the running one, and itself
        self._inside = 0.0  # seconds of the clocks inside the running one

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time inside the block to clock `name`."""
        self._synchronise()
        outer = self._inside
        self._inside = 0.0
        self._running.append(name)
        self._progress(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._synchronise()
            taken = time.perf_counter() - start
            self._add(name, taken - self._inside)
            # To the surrounding clock, this whole block is time inside.
            self._inside = outer + taken
            self._running.pop()
            if self._running:
                self._progress(self._running[-1])

    def rename(self, name: str, other: str) -> None:
        """Move the seconds of clock `name` to clock `other`.

        For blocks whose clock is known only when they end.
        """
        self._add(other, self.seconds.pop(name))

    def _add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def each(self, calls: Iterable[Callable[[], object]]) -> float:
        """Median seconds per call, after one warm-up call.

        At most 20 calls are timed, or those that begin within `TIMING_SECONDS` seconds.
        """
        taken: list[float] = []
        for call in islice(calls, 21):
            with self("each"):
                call()
            taken.append(self.seconds.pop("each"))
            if len(taken) > 1 and sum(taken) > TIMING_SECONDS:
                break
        # With a single call the warm-up is all there is.
        timed = taken[1:] or taken or [0.0]
        return median(timed)

    def _synchronise(self) -> None:
        # CUDA calls return before their kernels end.
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


TIMING_SECONDS = 0.1
"""Seconds after which no further call is timed."""


class Throughput(NamedTuple):
    """Expected seconds of training.

    Attributes:
        warm_up: Seconds until the first step, compilation included.
        step: Seconds for one step of each kind.
        training: Seconds for all steps.
        note: Why the step is not compiled, if compiling was tried.
    """

    warm_up: float
    step: float
    training: float
    note: str | None = None
