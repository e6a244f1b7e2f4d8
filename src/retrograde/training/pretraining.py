"""What goes before a stream: lessons of classes that it does not have, for strategies that prepare."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from retrograde.errors import UserError
from retrograde.interface.state import State
from retrograde.interface.strategy import Strategy, prepares
from retrograde.streams.pretraining import lesson_rows
from retrograde.streams.stream import Stream
from retrograde.training.clocks import Clocks
from retrograde.training.compiling import Compile, compile_step, tried
from retrograde.training.stream_replicas import Vectorised


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
            " Choose one without batch normalisation, such as plainconv-32."
        )
    _check_lessons(backend.streams)
    backend.try_lesson(next(given(backend)))


def _check_lessons(streams: list[Stream]) -> None:
    for offer in (stream.preparation for stream in streams if stream.preparation):
        smallest = int(np.unique(offer.examples.y, return_counts=True)[1].min())
        if offer.shots + offer.queries > smallest:
            raise UserError(
                f"Shots and queries of a lesson's class are different examples, of which a class has {smallest}; "
                f"shots + queries is {offer.shots + offer.queries}. Lower one of them."
            )


def prepare(
    backend: Vectorised,
    clocks: Clocks,
    mode: Compile = "off",
    progress: Callable[[int], None] = lambda _: None,
) -> str | None:
    """Give all lessons, if the strategy prepares, and end the preparation; returns why compiling failed, if it did."""
    if not prepares(backend.strategy):
        return None
    check_preparation(backend)
    with clocks("ready"):
        step, note = lesson_step(backend, mode)
    clocks.rename("ready", "warm_up" if mode == "off" or note else "compile")
    with clocks("prepare"):
        for rows in given(backend):
            backend.state = step(backend.state, backend.buffers, rows, backend.train_x)
            progress(1)
        backend.begin_all()
    return note


def lesson_step(backend: Vectorised, mode: Compile) -> tuple[Callable[..., State], str | None]:
    """What takes a lesson, compiled unless that is off; and why compiling failed, if it did."""
    step = backend.prepare_all

    def twice(step: Callable[..., State]) -> State:
        rows = next(given(backend))
        return step(
            step(backend.state, backend.buffers, rows, backend.train_x),
            backend.buffers,
            rows,
            backend.train_x,
        )

    def compile_() -> None:
        nonlocal step
        step = compile_step(backend, Vectorised.prepare_all, twice)

    note = tried(mode, compile_)
    return step, note


def seconds_a_lesson(backend: Vectorised, step: Callable[..., State], clocks: Clocks) -> float:
    """What a lesson takes; the first are timed, and forgotten."""
    return clocks.each(
        partial(step, backend.state, backend.buffers, rows, backend.train_x)
        for rows in given(backend)
    )


def given(backend: Vectorised) -> Iterator[tuple[Tensor, ...]]:
    """The rows of every lesson, for all replicates."""
    own = [
        lesson_rows(stream.preparation, seed)
        for stream, seed in zip(backend.streams, backend.seeds, strict=True)
        if stream.preparation
    ]
    for parts in zip(*own, strict=True):
        yield tuple(
            torch.from_numpy(np.stack(part)).to(backend.device) for part in zip(*parts, strict=True)
        )
