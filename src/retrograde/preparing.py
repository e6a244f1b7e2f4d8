"""What goes before a stream: lessons of classes that it does not have, for strategies that prepare."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from retrograde.clocks import Clocks
from retrograde.compiling import Compile, compile_step, form, tried
from retrograde.errors import UserError
from retrograde.lessons import lesson_rows
from retrograde.strategy import Strategy, prepares
from retrograde.stream import Stream
from retrograde.vectorise import Vectorised

WORTH_COMPILING = 2000
"""Lessons from which compiling pays: it took 50 to 150 s on a core that others used too (OML, one replicate)."""


def lessons(strategy: Strategy, stream: Stream) -> int:
    """How many lessons go before the stream."""
    return stream.preparation.lessons if prepares(strategy) and stream.preparation else 0


def check_preparation(backend: Vectorised) -> None:
    """Raise `UserError` where the strategy prepares and the stream or the model does not let it."""
    strategy, benchmark = backend.strategy, backend.benchmark
    if not prepares(strategy):
        return
    if any(stream.preparation is None for stream in backend.streams):
        raise UserError(
            f"{type(strategy).__name__} learns from other classes before the stream begins, and {type(benchmark).__name__} has "
            "none to give. Choose a benchmark that has a preparation."
        )
    if backend.refresh:
        raise UserError(
            f"A preparation takes models whose buffers training leaves alone; model={benchmark.model} keeps running statistics."
            " Build its normalisation with track_running_stats=False."
        )
    _check_lessons(backend.streams)
    before = form(backend.state)
    rows = next(given(backend))
    after = form(backend.prepare_all(backend.state, backend.buffers, rows, backend.train_x))
    if after != before:
        raise UserError(f"prepare keeps the state's structure, shapes and dtypes; {before} became {after}.")


def _check_lessons(streams: list[Stream]) -> None:
    for offer in (stream.preparation for stream in streams if stream.preparation):
        smallest = int(np.unique(offer.examples.y, return_counts=True)[1].min())
        if offer.shots + offer.queries > smallest:
            raise UserError(
                f"Shots and queries of a lesson's class are different examples, of which a class has {smallest}; "
                f"shots + queries is {offer.shots + offer.queries}. Lower one of them."
            )


def prepare(
    backend: Vectorised, clocks: Clocks, mode: Compile = "off", progress: Callable[[int], None] = lambda _: None
) -> str | None:
    """Give all lessons, if the strategy prepares, and end the preparation; returns why compiling failed, if it did."""
    if not prepares(backend.strategy):
        return None
    check_preparation(backend)
    step = backend.prepare_all

    def compile_() -> None:
        nonlocal step
        rows, compiled = next(given(backend)), compile_step(backend.prepare_all, backend.device)
        after = compiled(backend.state, backend.buffers, rows, backend.train_x)
        compiled(after, backend.buffers, rows, backend.train_x)  # what comes out goes in without a new graph
        step = compiled

    start = time.perf_counter()
    note = tried(mode, lessons(backend.strategy, backend.streams[0]) >= WORTH_COMPILING, compile_)
    clocks.seconds["warm_up" if step == backend.prepare_all else "compile"] += time.perf_counter() - start
    with clocks("prepare"):
        for rows in given(backend):
            backend.state = step(backend.state, backend.buffers, rows, backend.train_x)
            progress(1)
        backend.begin_all()
    return note


def given(backend: Vectorised) -> Iterator[tuple[Tensor, ...]]:
    """The rows of every lesson, for all replicates."""
    own = [
        lesson_rows(stream.preparation, seed)
        for stream, seed in zip(backend.streams, backend.seeds, strict=True)
        if stream.preparation
    ]
    for parts in zip(*own, strict=True):
        yield tuple(torch.from_numpy(np.stack(part)).to(backend.device) for part in zip(*parts, strict=True))
