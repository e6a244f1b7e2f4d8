"""The contract of meta-strategies: the claims that every one must satisfy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from retrograde.contract.claims import Broken, global_state, is_recorded, need_frozen, pickles, same
from retrograde.data.dataset import Dataset
from retrograde.episodes.distribution import Partition, TaskBatch, TaskDistribution
from retrograde.interface.episodic import EpisodicBenchmark
from retrograde.interface.metastrategy import MetaStrategy
from retrograde.losses import squared_errors
from retrograde.randomness import seeded
from retrograde.training.adaptation import measure
from retrograde.training.boundary import misfits
from retrograde.training.episode_loop import train
from retrograde.training.episode_replicas import EpisodeReplicas, Tasks

CPU = torch.device("cpu")


class Slopes(TaskDistribution):
    """Lines y = a x with a in [1, 3]; an oracle is given the slope a."""

    shape = (1,)
    outputs = 1
    parameters = 1

    def draw(
        self,
        partition: Partition,
        tasks: int,
        shots: int,
        queries: int,
        random: np.random.Generator,
    ) -> TaskBatch:
        """See `TaskDistribution.draw`."""
        slope = random.uniform(1, 3, (tasks, 1)).astype(np.float32)
        shape = (tasks, shots + queries, 1)
        x = random.uniform(-1, 1, shape).astype(np.float32)
        return TaskBatch(x, slope[:, None] * x, slope)


@dataclass(frozen=True, kw_only=True)
class Lines(EpisodicBenchmark):
    """Lines through the origin: the easiest episodes."""

    iterations: int = 150
    meta_batch_size: int = 4
    shots: int = 5
    queries: int = 5
    test_queries: int = 20
    test_tasks: int = 30
    evaluations: int = 1
    model: str = "mlp-16"

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """See `EpisodicBenchmark.losses`."""
        return squared_errors(outputs, y)

    def distribution(self, data: Dataset | None = None, seed: int = 0) -> TaskDistribution:
        """See `EpisodicBenchmark.distribution`."""
        return Slopes()


def ready(part: MetaStrategy, seeds: list[int], **changes: Any) -> EpisodeReplicas:
    """Replicates before meta-training, with changed settings of `Lines`."""
    benchmark = Lines(**changes)
    distributions = [benchmark.distribution(None, seed) for seed in seeds]
    return EpisodeReplicas(benchmark, part, distributions, seeds, CPU)


def learned(part: MetaStrategy, seeds: list[int]) -> list[Tensor]:
    """The results of a few meta-iterations, without compiling."""
    episodes = ready(part, seeds)
    if part.meta_trains:
        episodes.learn(3, lambda _: None)
    return leaves(episodes)


def leaves(episodes: EpisodeReplicas) -> list[Tensor]:
    """Every tensor of the state, and the losses on new tasks while adapting to them."""
    tasks = episodes.draw("test", 5, "test")
    return [*pytree.tree_leaves(episodes.state), measure(episodes, tasks).loss]


def _step(episodes: EpisodeReplicas, tasks: Tasks) -> list[Tensor]:
    """The tensors of the state after a meta-step, which is not kept."""
    if not episodes.strategy.meta_trains:
        return []
    progress = torch.tensor(0.0)
    own, shared = episodes.own, episodes.shared
    state = episodes.step_all(episodes.state, tasks, progress, own, shared)
    after: list[Tensor] = pytree.tree_leaves(state)
    return after


def is_pure(part: MetaStrategy) -> None:
    """A meta-step leaves its inputs unchanged, and gives the same result again."""
    need_frozen(part)
    episodes = ready(part, [0, 1])
    tasks = episodes.draw("train", 4, "tasks")
    inputs = (episodes.state, tasks)
    before = pytree.tree_map(torch.clone, inputs)
    first = _step(episodes, tasks)
    if not same(pytree.tree_leaves(before), pytree.tree_leaves(inputs)):
        raise Broken("meta_step or inner_step changes a tensor in place; return new tensors")
    if not same(first, _step(episodes, tasks)):
        raise Broken(
            "the same step twice gives two results; keep nothing on self and draw nothing at random"
        )


def repeats_itself(part: MetaStrategy) -> None:
    """The same seed gives the same result."""
    if not same(learned(part, [3]), learned(part, [3])):
        raise Broken("two runs of seed 3 differ")


def does_not_depend_on_other_replicates(part: MetaStrategy) -> None:
    """Replicate i of a batch equals replicate i alone."""
    company = [leaf[1:2] for leaf in learned(part, [0, 1, 2])]
    alone = learned(part, [1])
    _close(company, alone, "seed 1 alone and with seeds 0 and 2")


def _close(
    a: list[Tensor],
    b: list[Tensor],
    what: str,
    tolerance: float = 1e-4,
) -> None:
    for mine, other in zip(a, b, strict=True):
        gap = float((mine - other).abs().max())
        size = float(mine.abs().max())
        # Negated, so that a NaN fails.
        if not gap <= tolerance * (1 + size):
            raise Broken(f"{what}: the results differ by {gap:.2g}")


def keeps_its_shapes(part: MetaStrategy) -> None:
    """The state keeps its structure, shapes and dtypes."""
    episodes = ready(part, [0, 1])
    before = episodes.state
    if part.meta_trains:
        episodes.learn(1, lambda _: None)
    faults = misfits(episodes.state, before)
    if faults:
        raise Broken(f"after a meta-step, of two replicates, {faults}")


def takes_tasks_in_any_order(part: MetaStrategy) -> None:
    """The order of the tasks in a meta-batch does not matter."""
    episodes = ready(part, [0])
    tasks = episodes.draw("train", 4, "tasks")
    reversed_tasks = Tasks(*(column.flip(1) for column in tasks))
    in_order = _step(episodes, tasks)
    # Sums in another order differ by rounding, which a second derivative enlarges.
    _close(in_order, _step(episodes, reversed_tasks), "tasks in another order", tolerance=1e-3)


def uses_no_global_randomness(part: MetaStrategy) -> None:
    """The global random generators are neither used nor changed."""
    runs = []
    for seed in (1, 2):
        with seeded(seed):
            before = global_state()
            runs.append(learned(part, [0]))
            if global_state() != before:
                raise Broken("a global generator moved; take randomness from the arguments")
    if not same(*runs):
        raise Broken("two runs under different global seeds differ")


def takes_any_task(part: MetaStrategy) -> None:
    """A meta-batch may be one task with one support and one query example."""
    if not part.meta_trains:
        return
    episodes = ready(part, [0], meta_batch_size=1, shots=1, queries=1)
    episodes.learn(1, lambda _: None)
    if not episodes.finite().all():
        raise Broken("a parameter became non-finite with meta_batch_size=1, shots=1, queries=1")


def learns(part: MetaStrategy) -> None:
    """After meta-training and adapting, the loss on new tasks is lower than it was."""
    benchmark = Lines()
    distribution = benchmark.distribution(None, 0)
    outcomes = train(benchmark, part, [distribution], [0], CPU, "off")
    adaptation = outcomes[0].adaptation
    if adaptation is None:
        raise Broken(outcomes[0].divergence)
    before = adaptation.evaluations[0].loss[0]
    after = float(np.mean(adaptation.loss[-1]))
    if not after < 0.95 * before:
        raise Broken(
            f"the loss on lines through the origin is {before:.3g} before and {after:.3g} after, "
            "not 5 % less"
        )


CHECKS: tuple[Callable[[MetaStrategy], None], ...] = (
    is_pure,
    repeats_itself,
    does_not_depend_on_other_replicates,
    keeps_its_shapes,
    takes_tasks_in_any_order,
    uses_no_global_randomness,
    takes_any_task,
    pickles,
    is_recorded,
    learns,
)
