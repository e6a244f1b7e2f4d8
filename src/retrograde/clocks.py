"""Clocks: seconds by what they were spent on."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

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

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
