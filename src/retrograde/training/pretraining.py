"""Pretraining: meta-learning on classes that the stream does not have, before it begins."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from retrograde.data.dataset import Dataset
from retrograde.episodes.distribution import Partition, TaskBatch, TaskDistribution
from retrograde.errors import UserError
from retrograde.interface.episodic import EpisodicBenchmark
from retrograde.interface.strategy import Strategy
from retrograde.streams.pretraining import draw
from retrograde.streams.stream import Pretraining, Stream
from retrograde.training.clocks import Clocks
from retrograde.training.compiled_step import Compile
from retrograde.training.episode_replicas import EpisodeReplicas
from retrograde.training.stream_replicas import StreamReplicas


class Trajectories(TaskDistribution):
    """Episodes of held-out classes.

    The support is a trajectory of a few classes, one after the other; the query has other examples
    of them. Examples of any held-out class follow.

    Args:
        stream: The stream.
        offer: Its held-out classes, and the numbers of examples.
        outputs: The number of output units of the stream.
    """

    def __init__(self, stream: Stream, offer: Pretraining, outputs: int) -> None:
        dataset = stream.data
        self.dataset = dataset
        self.offer = offer
        self.channels = stream.channels
        self.shape = dataset.shape
        self.outputs = outputs
        self.scale = dataset.scale
        self.remembered = offer.remember_examples

    def draw(
        self,
        partition: Partition,
        tasks: int,
        shots: int,
        queries: int,
        random: np.random.Generator,
    ) -> TaskBatch:
        """See `TaskDistribution.draw`; the offer gives the numbers."""
        rows = np.concatenate([part.array for part in draw(self.offer, tasks, random)], axis=1)
        row, y = rows[..., 0], rows[..., 2]
        return TaskBatch(self.dataset.x_train[row], y, np.zeros((tasks, 0), np.float32))

    def support(self, shots: int) -> int:
        """See `TaskDistribution.support`."""
        return self.offer.trajectory_classes * self.offer.shots


@dataclass(frozen=True, kw_only=True)
class TrajectoryEpisodes(EpisodicBenchmark):
    """The budget of pretraining: one episode for every meta-iteration."""

    def distribution(self, data: Dataset | None = None, seed: int = 0) -> TaskDistribution:
        """Not used: the episodes are those of the stream."""
        raise NotImplementedError


def pretraining_steps(strategy: Strategy, stream: Stream) -> int:
    """Number of pretraining steps before the stream."""
    return stream.pretraining.steps if stream.pretraining and strategy.pretraining() else 0


def pretrained_replicas(backend: StreamReplicas) -> EpisodeReplicas | None:
    """The replicates of a stream as they are before pretraining; None if there is none.

    Raises:
        UserError: If the stream has no classes for it, or the model keeps running statistics.
    """
    strategy = backend.strategy
    benchmark = backend.benchmark
    meta = strategy.pretraining()
    if meta is None:
        return None
    offers = [stream.pretraining for stream in backend.streams if stream.pretraining]
    if len(offers) < len(backend.streams):
        raise UserError(
            f"{type(strategy).__name__} learns from other classes before the stream begins, and "
            f"{type(benchmark).__name__} has none to give. "
            "Choose a benchmark with pretraining data, such as omniglot_sequence."
        )
    if backend.keeps_statistics:
        raise UserError(
            "Pretraining takes models whose buffers training leaves alone; "
            f"model={benchmark.model} keeps running statistics. "
            "Choose one without batch normalisation, such as plainconv-32."
        )
    for offer in offers:
        _check_sizes(offer)
    episodes = TrajectoryEpisodes(
        iterations=offers[0].steps,
        meta_batch_size=1,
        model=benchmark.model,
    )
    sources: list[TaskDistribution] = [
        Trajectories(stream, offer, backend.net.outputs)
        for stream, offer in zip(backend.streams, offers, strict=True)
    ]
    return EpisodeReplicas(
        episodes,
        meta,
        sources,
        backend.seeds,
        backend.device,
        optimizer=benchmark.build_optimizer(),
        # The axis keeps the name that it had when results were recorded.
        axis="lessons",
        weights=benchmark.weights,
    )


def _check_sizes(offer: Pretraining) -> None:
    _, sizes = np.unique(offer.examples.y, return_counts=True)
    smallest = int(sizes.min())
    drawn = offer.shots + offer.queries
    if drawn > smallest:
        raise UserError(
            "Shots and queries of a class are different examples of a pretraining episode; "
            f"a class has {smallest} examples, and shots + queries is {drawn}. "
            "Lower one of them."
        )


def check_pretraining(backend: StreamReplicas) -> None:
    """Check that the strategy can be pretrained, if it wants to be.

    Raises:
        UserError: As `pretrained_replicas` does, or if the meta-strategy breaks a rule on an
            episode.
    """
    replicas = pretrained_replicas(backend)
    if replicas:
        replicas.try_out()


def pretrain(
    backend: StreamReplicas,
    clocks: Clocks,
    mode: Compile = "off",
    progress: Callable[[int], None] = lambda _: None,
) -> str | None:
    """Pretrain all replicates, if the strategy says so.

    Args:
        backend: The replicates, which start the stream from what is learned.
        clocks: The clocks of the run: compiling or warming up, and pretraining.
        mode: Compilation of the step.
        progress: Called with the number of steps that were just taken.

    Returns:
        Why compiling failed; None if it did not.

    Raises:
        UserError: As `check_pretraining` does.
    """
    with clocks("ready"):
        replicas = pretrained_replicas(backend)
    if replicas is None:
        clocks.rename("ready", "warm_up")
        return None
    with clocks("ready"):
        replicas.try_out()
        note = replicas.warm_up(mode)
    # The right clock is known only now, since compiling may have failed.
    clocks.rename("ready", "compile" if replicas.compiled else "warm_up")
    with clocks("pretrain"):
        replicas.learn(replicas.benchmark.iterations, progress)
        learned = replicas.net.model_params(replicas.state.params)
        backend.start_from(learned)
    return note
