"""Compare a GPU with the CPU: numbers, seconds of a step, memory; for replay, La-MAML, a ResNet.

    python tools/compare_devices.py OUT.md [--device cuda] [--minutes 12]

A row is written as soon as it is measured. "apart" is the largest difference of a parameter from
that of one replicate on the CPU after the first experience, over the largest change of one.
"""

import argparse
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from retrograde.data.sources import data_folder, load
from retrograde.machine import peak_bytes, reset_peak
from retrograde.optim import Params
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.training.clocks import Clocks
from retrograde.training.compiled_step import Compile
from retrograde.training.stream_replicas import StreamReplicas


class Compared(NamedTuple):
    """A benchmark and a strategy, and the numbers of replicates that train together."""

    benchmark: str
    strategy: str
    replicates: tuple[int, ...]


CELLS = (
    Compared("split:dataset=mnist,train_examples=2000", "er", (1, 10, 100)),
    Compared("split:dataset=mnist,train_examples=2000", "lamaml", (1, 10, 100)),
    Compared("split:dataset=cifar10_jpeg,train_examples=200,model=resnet18-20", "er", (1, 10)),
)
MODES: tuple[Compile, ...] = ("off", "on")
COLUMNS = (
    "benchmark",
    "strategy",
    "device",
    "replicates",
    "compiled",
    "s to the first step",
    "ms a step and replicate",
    "MiB",
    "apart",
)


def row(cell: Compared, count: int, device: torch.device, mode: Compile, alone: Params) -> str:
    """Train the first experience of some replicates, and measure it.

    Args:
        cell: What is trained.
        count: The number of replicates.
        device: The device.
        mode: Whether the step is compiled.
        alone: The parameters of one replicate on the CPU, to compare with; filled if empty.

    Returns:
        A row of the table.
    """
    parts = Registry()
    benchmark = parts.get("benchmarks", *parse(cell.benchmark))
    strategy = parts.get("strategies", *parse(cell.strategy))
    data = load(benchmark.dataset, data_folder())
    seeds = list(range(count))
    streams = [benchmark.stream(data, seed) for seed in seeds]
    reset_peak(device)
    began = time.perf_counter()
    backend = StreamReplicas(benchmark, strategy, streams, seeds, device)
    start = {name: value[0].cpu() for name, value in backend.state.params.items()}
    backend.begin(0)
    backend.warm_up(mode)
    ready = time.perf_counter() - began
    backend.learn(0, lambda _: None)
    learned = {name: value[0].cpu() for name, value in backend.state.params.items()}
    if not alone:
        alone.update(learned)
    apart = _furthest(learned, alone) / _furthest(start, alone)
    # The timed steps move the memory on, so that they come last.
    step = 1000 * backend.seconds_a_step(Clocks(device)) / count
    memory = peak_bytes(device) / 2**20
    what = (cell.benchmark, cell.strategy, device, count, backend.compiled)
    numbers = (f"{ready:.1f}", f"{step:.3f}", f"{memory:.0f}", f"{apart:.1e}")
    return _line(map(str, (*what, *numbers)))


def _line(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |\n"


def _furthest(one: Params, other: Params) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=12.0)
    given = parser.parse_args(arguments)
    until = time.monotonic() + 60 * given.minutes
    with given.out.open("w", encoding="utf-8") as file:
        file.write(_line(COLUMNS) + _line("---" for _ in COLUMNS))
        for cell in CELLS:
            alone: Params = {}
            ways = [(1, torch.device("cpu"), mode) for mode in MODES]
            ways += [
                (count, torch.device(given.device), mode)
                for count in cell.replicates
                for mode in MODES
            ]
            for count, device, mode in ways:
                if time.monotonic() < until:
                    file.write(row(cell, count, device, mode, alone))
                    file.flush()


if __name__ == "__main__":
    main()
