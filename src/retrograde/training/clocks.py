"""Clocks: seconds by what they were spent on."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from statistics import median
from typing import NamedTuple

import torch


class Clocks:
    """Seconds by name, device-synchronised; a clock inside another stops the outer one."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside = 0.0  # seconds that clocks inside the running one took

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time inside the block to clock `name`."""
        self._synchronise()
        start, outer, self._inside = time.perf_counter(), self._inside, 0.0
        try:
            yield
        finally:
            self._synchronise()
            taken = time.perf_counter() - start
            self.seconds[name] += taken - self._inside
            self._inside = outer + taken

    def rename(self, name: str, other: str) -> None:
        """Add the seconds of clock `name` to clock `other`, for blocks whose clock is known when they end."""
        self.seconds[other] += self.seconds.pop(name)

    def each(self, calls: Iterable[Callable[[], object]]) -> float:
        """The median seconds of the first calls but one: of twenty, or of as many as begin within a tenth of a second."""
        taken: list[float] = []
        for call in islice(calls, 21):
            with self("each"):
                call()
            taken.append(self.seconds.pop("each"))
            if len(taken) > 1 and sum(taken) > ENOUGH:
                break
        return median(taken[1:] or taken or [0.0])

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


ENOUGH = 0.1
"""Seconds that calls are timed for."""


class Pace(NamedTuple):
    """How fast replicates would train, in seconds: until the first step, for one step of each kind, and for all steps."""

    ready: float
    step: float
    rest: float
    note: str | None = None  # why it is not compiled, where that was tried
