"""The stream loop: learn a task, then evaluate on all tasks, for every kind of strategy."""

from collections import defaultdict
from collections.abc import Collection

import torch

from retrograde.interface.benchmark import Benchmark
from retrograde.interface.learner import Learner
from retrograde.interface.strategy import Strategy
from retrograde.randomness import seeded, torch_seed
from retrograde.records.sidecars import Sidecar
from retrograde.streams.stream import Stream
from retrograde.training.backend import Outcome
from retrograde.training.clocks import Clocks, Progress, Throughput
from retrograde.training.compiled_step import Compile
from retrograde.training.opaque import OpaqueReplica
from retrograde.training.pretraining import (
    pretrain,
    pretrained_replicas,
    pretraining_steps,
)
from retrograde.training.snapshots import Checkpoints
from retrograde.training.step_counts import total_steps
from retrograde.training.stream_replicas import StreamReplicas
from retrograde.training.stream_run import StreamRun


def train(
    benchmark: Benchmark,
    strategy: Strategy | Learner,
    streams: list[Stream],
    seeds: list[int],
    device: torch.device,
    mode: Compile = "off",
    progress: Progress = lambda _: None,
    keep: Collection[Sidecar] = (),
    checkpoints: Checkpoints | None = None,
) -> list[Outcome]:
    """Train replicates of one cell on their streams.

    Args:
        benchmark: The benchmark of the cell.
        strategy: The strategy of the cell. A `Learner` trains one replicate after the other.
        streams: The stream of each replicate. Those with equally many experiences are learned
            together.
        seeds: The seed of each replicate.
        device: The device to train on.
        mode: Compilation of the step; a `Learner` is not compiled.
        progress: Called with the number of steps that were just taken, and with the name of each
            clock that begins; the steps of a `Learner` are counted replicate by replicate.
        keep: What to keep of each replicate besides its record.
        checkpoints: Places for snapshots after each experience, from which training goes on; a
            `Learner`, whose state may be anything, begins anew.

    Returns:
        The results of each replicate.
    """
    if isinstance(strategy, Learner):
        return [
            _train_opaque(benchmark, strategy, stream, seed, device, progress, keep)
            for stream, seed in zip(streams, seeds, strict=True)
        ]
    outcomes: dict[int, Outcome] = {}
    for places in _of_equal_length(streams):
        some = [streams[place] for place in places]
        of_some = [seeds[place] for place in places]
        backend = StreamReplicas(benchmark, strategy, some, of_some, device)
        checkpoint = checkpoints.of(of_some) if checkpoints else None
        run = StreamRun(backend, some, of_some, Clocks(device, progress), keep)
        snapshot = checkpoint.read() if checkpoint else None
        # A run that had gone on from a shorter one before it was stopped has a snapshot of its own.
        beginning = checkpoint.beginning() if checkpoint and not snapshot else None
        if snapshot:
            run.restore(snapshot)
        elif beginning:
            run.go_on_from(beginning)
        if run.begun:
            progress(pretraining_steps(strategy, some[0]) + int(run.used[0].max()))
        else:
            run.note = pretrain(backend, run.clocks, mode, progress)
        trained = run.run(progress, mode, checkpoint.write if checkpoint else None)
        outcomes.update(zip(places, trained, strict=True))
    return [outcomes[place] for place in range(len(streams))]


def _of_equal_length(streams: list[Stream]) -> list[list[int]]:
    """The places of the streams with equally many experiences, which can be learned together."""
    by_length: defaultdict[int, list[int]] = defaultdict(list)
    for place, stream in enumerate(streams):
        by_length[len(stream)].append(place)
    return [*by_length.values()]


def pace(
    benchmark: Benchmark,
    strategy: Strategy,
    streams: list[Stream],
    seeds: list[int],
    device: torch.device,
    mode: Compile,
) -> Throughput:
    """Expected seconds of training replicates of one cell, from a few timed steps.

    Pretraining is included; the ends of tasks and evaluation are not. Those with as many
    experiences as the first one are timed.
    """
    places = _of_equal_length(streams)[0]
    streams = [streams[place] for place in places]
    seeds = [seeds[place] for place in places]
    clocks = Clocks(device)
    note = None
    before = 0.0
    with clocks("ready"):
        backend = StreamReplicas(benchmark, strategy, streams, seeds, device)
        replicas = pretrained_replicas(backend)
    if replicas:
        with clocks("ready"):
            note = replicas.warm_up(mode)
        before = replicas.seconds_a_step(clocks)
    with clocks("ready"):
        backend.begin(0)
        note = backend.warm_up(mode) or note
    along = backend.seconds_a_step(clocks)
    pretraining = before * pretraining_steps(strategy, streams[0])
    stream = along * total_steps(benchmark, strategy, streams)
    return Throughput(clocks.seconds.get("ready", 0.0), before + along, pretraining + stream, note)


def _train_opaque(
    benchmark: Benchmark,
    learner: Learner,
    stream: Stream,
    seed: int,
    device: torch.device,
    progress: Progress,
    keep: Collection[Sidecar],
) -> Outcome:
    # A learner may draw from the global generators, so its replicate seeds them.
    with seeded(torch_seed(seed, "opaque")):
        backend = OpaqueReplica(benchmark, learner, stream, seed, device)
        run = StreamRun(backend, [stream], [seed], Clocks(device, progress), keep)
        (outcome,) = run.run(progress, "off")
        return outcome


def expected_steps(
    benchmark: Benchmark,
    strategy: Strategy | Learner,
    stream: Stream,
) -> int:
    """Number of steps that `progress` counts for one replicate, pretraining included."""
    before = pretraining_steps(strategy, stream) if isinstance(strategy, Strategy) else 0
    return before + total_steps(benchmark, strategy, [stream])
