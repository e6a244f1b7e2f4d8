"""Pretraining on classes that the stream does not have, for strategies that define it."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from retrograde.errors import UserError
from retrograde.interface.state import State
from retrograde.interface.strategy import Strategy, pretrains
from retrograde.streams.pretraining import pretraining_rows
from retrograde.streams.rows import Rows
from retrograde.streams.stream import Stream
from retrograde.training.clocks import Clocks
from retrograde.training.compiled_step import Compile, compile_or_reason, compile_step
from retrograde.training.stream_replicas import StreamReplicas


def pretraining_steps(strategy: Strategy, stream: Stream) -> int:
    """Number of pretraining steps before the stream."""
    if pretrains(strategy) and stream.pretraining:
        return stream.pretraining.steps
    return 0


def check_pretraining(backend: StreamReplicas) -> None:
    """Check that the strategy can be pretrained, if it defines pretraining.

    Raises:
        UserError: If the stream has no classes for it, the model keeps running statistics, or the
            hook breaks a rule on one episode.
    """
    strategy = backend.strategy
    benchmark = backend.benchmark
    if not pretrains(strategy):
        return
    if any(stream.pretraining is None for stream in backend.streams):
        raise UserError(
            f"{type(strategy).__name__} learns from other classes before the stream begins, and "
            f"{type(benchmark).__name__} has none to give. "
            "Choose a benchmark with pretraining data, such as omniglot_sequence."
        )
    if backend.refresh:
        raise UserError(
            "Pretraining takes models whose buffers training leaves alone; "
            f"model={benchmark.model} keeps running statistics. "
            "Choose one without batch normalisation, such as plainconv-32."
        )
    _check_episodes(backend.streams)
    backend.try_pretraining(next(episodes(backend)))


def _check_episodes(streams: list[Stream]) -> None:
    for stream in streams:
        offer = stream.pretraining
        if offer is None:
            continue
        _, sizes = np.unique(offer.examples.y, return_counts=True)
        smallest = int(sizes.min())
        drawn = offer.shots + offer.queries
        if drawn > smallest:
            raise UserError(
                "Shots and queries of a class are different examples of a pretraining episode; "
                f"a class has {smallest} examples, and shots + queries is {drawn}. "
                "Lower one of them."
            )


def pretrain(
    backend: StreamReplicas,
    clocks: Clocks,
    mode: Compile = "off",
    progress: Callable[[int], None] = lambda _: None,
) -> str | None:
    """Pretrain all replicates, if the strategy defines pretraining.

    Args:
        backend: The replicates, whose state is replaced.
        clocks: The clocks of the run: compiling or warming up, and pretraining.
        mode: Compilation of the step.
        progress: Called with the number of steps that were just taken.

    Returns:
        Why compiling failed; None if it did not.

    Raises:
        UserError: As `check_pretraining` does.
    """
    if not pretrains(backend.strategy):
        return None
    check_pretraining(backend)
    with clocks("ready"):
        step, note = pretraining_step(backend, mode)
    # The right clock is known only now, since compiling may have failed.
    clocks.rename("ready", "warm_up" if mode == "off" or note else "compile")
    with clocks("pretrain"):
        for rows in episodes(backend):
            backend.state = step(backend.state, backend.buffers, rows, backend.train_x)
            progress(1)
        backend.end_pretraining()
    return note


def pretraining_step(
    backend: StreamReplicas,
    mode: Compile,
) -> tuple[Callable[..., State], str | None]:
    """The pretraining step, compiled unless that is off, and why compiling failed, if it did."""
    step = backend.pretrain_all

    def twice(step: Callable[..., State]) -> State:
        rows = next(episodes(backend))
        first = step(backend.state, backend.buffers, rows, backend.train_x)
        return step(first, backend.buffers, rows, backend.train_x)

    def compile_() -> None:
        nonlocal step
        step = compile_step(backend, StreamReplicas.pretrain_all, twice)

    note = compile_or_reason(mode, compile_)
    return step, note


def seconds_per_pretraining_step(
    backend: StreamReplicas,
    step: Callable[..., State],
    clocks: Clocks,
) -> float:
    """Median seconds of a pretraining step; the timed steps change no state."""
    calls = (
        partial(step, backend.state, backend.buffers, rows, backend.train_x)
        for rows in episodes(backend)
    )
    return clocks.each(calls)


def episodes(backend: StreamReplicas) -> Iterator[tuple[Tensor, ...]]:
    """The rows of every pretraining episode in order, as `EpisodeRows` stacked over replicates."""
    of_replicates = [
        pretraining_rows(stream.pretraining, seed)
        for stream, seed in zip(backend.streams, backend.seeds, strict=True)
        if stream.pretraining
    ]
    for episode in zip(*of_replicates, strict=True):
        stacked = [Rows.stack(part) for part in zip(*episode, strict=True)]
        yield tuple(torch.from_numpy(rows.array).to(backend.device) for rows in stacked)
