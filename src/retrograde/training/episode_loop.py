"""The episode loop: meta-train, evaluate on validation tasks, and test on new tasks."""

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from retrograde.episodes.distribution import TaskDistribution
from retrograde.errors import UserError
from retrograde.interface.episodic import EpisodicBenchmark
from retrograde.interface.metastrategy import MetaStrategy
from retrograde.records.few_shot import PROBE_TASKS, Adaptation, Fit, InnerAccount, MetaEvaluation
from retrograde.records.gradient_probe import rounded
from retrograde.records.sidecars import Kept, Sidecar, model_file
from retrograde.training.adaptation import (
    Booked,
    Measured,
    account_inner_steps,
    fit_curves,
    mean_cosines,
    measure,
)
from retrograde.training.backend import Outcome
from retrograde.training.clocks import Clocks, Progress, Throughput
from retrograde.training.compiled_step import Compile
from retrograde.training.episode_replicas import EpisodeReplicas, Tasks
from retrograde.training.snapshots import Checkpoints, restore, taken


def train(
    benchmark: EpisodicBenchmark,
    strategy: MetaStrategy,
    sources: list[TaskDistribution],
    seeds: list[int],
    device: torch.device,
    mode: Compile = "off",
    progress: Progress = lambda _: None,
    keep: Collection[Sidecar] = (),
    checkpoints: Checkpoints | None = None,
) -> list[Outcome]:
    """Meta-train replicates of one cell, evaluate them along the way, and test them.

    Args:
        benchmark: The benchmark of the cell.
        strategy: The meta-strategy of the cell.
        sources: The distribution over tasks of each replicate.
        seeds: The seed of each replicate.
        device: The device to train on.
        mode: Compilation of the meta-step.
        progress: Called with the number of meta-steps that were just taken, and with the name of
            each clock that begins.
        keep: What to keep of each replicate besides its record. Few-shot tasks have no predictions
            of a stream.
        checkpoints: Places for snapshots after each evaluation, from which training goes on.

    Returns:
        The results of each replicate.
    """
    clocks = Clocks(device, progress)
    episodes = EpisodeReplicas(benchmark, strategy, sources, seeds, device)
    note = None
    if strategy.meta_trains:
        with clocks("ready"):
            note = episodes.warm_up(mode)
        clocks.rename("ready", "compile" if episodes.compiled else "warm_up")
    evaluations: list[list[MetaEvaluation]] = []
    divergences = [""] * len(seeds)
    checkpoint = checkpoints.of(seeds) if checkpoints else None
    snapshot = checkpoint.read() if checkpoint else None
    if snapshot:
        episodes.restore(snapshot["replicas"])
        restore(clocks, snapshot["clocks"])
        evaluations = snapshot["evaluations"]
        divergences = snapshot["divergences"]
        progress(episodes.done)
    for end in _ends(benchmark, strategy)[len(evaluations) :]:
        with clocks("train"):
            episodes.learn(end - episodes.done, progress)
        evaluations.append(_evaluate(episodes, clocks))
        # The first divergence of a replicate stays.
        for i in np.flatnonzero(~episodes.finite()):
            divergences[i] = divergences[i] or _LOST.format(end)
        if all(divergences):
            break
        if checkpoint:
            checkpoint.write(
                {
                    "replicas": episodes.snapshot(),
                    "clocks": taken(clocks),
                    "evaluations": evaluations,
                    "divergences": divergences,
                }
            )
    outcomes = _outcomes(episodes, evaluations, divergences, clocks, note)
    if "model" not in keep:
        return outcomes
    return [
        outcome if outcome.divergence else replace(outcome, kept=_kept(episodes, place))
        for place, outcome in enumerate(outcomes)
    ]


def _kept(episodes: EpisodeReplicas, replicate: int) -> Kept:
    """What is kept of a replicate: the model that adaptation starts from."""
    files: dict[Sidecar, bytes] = {"model": model_file(episodes.tensors(replicate))}
    return Kept(files, [*episodes.input_shape], episodes.net.outputs)


def pace(
    benchmark: EpisodicBenchmark,
    strategy: MetaStrategy,
    sources: list[TaskDistribution],
    seeds: list[int],
    device: torch.device,
    mode: Compile,
) -> Throughput:
    """Expected seconds of meta-training replicates of one cell, from a few timed steps."""
    clocks = Clocks(device)
    with clocks("ready"):
        episodes = EpisodeReplicas(benchmark, strategy, sources, seeds, device)
        note = episodes.warm_up(mode)
    step = episodes.seconds_a_step(clocks)
    return Throughput(clocks.seconds.get("ready", 0.0), step, step * benchmark.iterations, note)


_LOST = "A parameter became non-finite by meta-iteration {}."


def _ends(benchmark: EpisodicBenchmark, strategy: MetaStrategy) -> list[int]:
    """The iterations after which replicates are evaluated; 0 alone if nothing is meta-learned."""
    evaluations = min(benchmark.evaluations, benchmark.iterations) if strategy.meta_trains else 0
    ends = {0}
    for number in range(1, evaluations + 1):
        # Two minus signs round up.
        ends.add(-(-benchmark.iterations * number // evaluations))
    return sorted(ends)


def _evaluate(episodes: EpisodeReplicas, clocks: Clocks) -> list[MetaEvaluation]:
    """Measure all replicates on tasks of meta-validation."""
    # Tasks are drawn by axes without an index, so that every evaluation sees the same ones.
    with clocks("evaluate"):
        tasks = episodes.draw("validation", PROBE_TASKS, "validation")
        measured = measure(episodes, tasks)
    with clocks("probe"):
        cosines = mean_cosines(episodes, tasks, 0)
        seen_tasks = episodes.draw("train", PROBE_TASKS, "probe")
        seen_cosines = mean_cosines(episodes, seen_tasks, 0, test=False)
    loss = measured.loss.mean(2)
    accuracy = measured.correct.float().mean(2) / episodes.queries_per_task()
    cosine = rounded(cosines[:, 0])
    cosine_seen = rounded(seen_cosines[:, 0])
    evaluations = []
    for i in range(len(episodes.seeds)):
        evaluation = MetaEvaluation(
            iteration=episodes.done,
            loss=rounded(loss[i]),
            accuracy=[] if episodes.regression else rounded(accuracy[i]),
            cosine=cosine[i],
            cosine_seen=cosine_seen[i],
        )
        evaluations.append(evaluation)
    return evaluations


class _Tested(NamedTuple):
    """Measurements on test tasks, for all replicates."""

    measured: Measured
    cosines: Float[Tensor, "replicate step"]
    booked: Booked
    fits: list[list[Fit]]


def _test(episodes: EpisodeReplicas, clocks: Clocks) -> _Tested:
    steps = episodes.strategy.test_steps
    with clocks("evaluate"):
        tasks = episodes.draw("test", episodes.benchmark.test_tasks, "test")
        measured = measure(episodes, tasks)
    with clocks("probe"):
        probed = Tasks(*(part[:, :PROBE_TASKS] for part in tasks))
        cosines = mean_cosines(episodes, probed, steps)
        booked = account_inner_steps(episodes, probed, steps)
    return _Tested(measured, cosines, booked, fit_curves(episodes, tasks))


def _outcomes(
    episodes: EpisodeReplicas,
    evaluations: list[list[MetaEvaluation]],
    divergences: list[str],
    clocks: Clocks,
    note: str | None,
) -> list[Outcome]:
    tested = _test(episodes, clocks)
    replicates = len(episodes.seeds)
    how = {
        "backend": "pure",
        "compiled": episodes.compiled,
        "note": note,
        "replicates": replicates,
        "steps": episodes.done,
    }
    passes = {name: episodes.done * rows for name, rows in episodes.tally.items()}
    counts = {
        "steps": episodes.done,
        "incoming": episodes.seen,
        "replayed": 0,
        **passes,
    }
    memory = {"examples": 0, "bytes": 0, "state_bytes": episodes.state_bytes()}
    outcomes = []
    for i in range(replicates):
        loss = tested.measured.loss[i]
        divergence = divergences[i] or _test_divergence(loss, tested.cosines[i])
        # Numbers of a replicate that diverged are not kept.
        adaptation = None if divergence else _adaptation(episodes, evaluations, tested, i)
        seconds = dict(clocks.seconds)
        outcomes.append(Outcome(divergence, seconds, counts, memory, how, adaptation=adaptation))
    return outcomes


def _adaptation(
    episodes: EpisodeReplicas,
    evaluations: list[list[MetaEvaluation]],
    tested: _Tested,
    replicate: int,
) -> Adaptation:
    """Few-shot adaptation of one replicate, whose measurements are finite."""
    measured = tested.measured
    of_replicate = [of_all[replicate] for of_all in evaluations]
    return Adaptation(
        loss=[rounded(step) for step in measured.loss[replicate]],
        correct=[] if episodes.regression else measured.correct[replicate].tolist(),
        queries=episodes.queries_per_task(),
        cosine=rounded(tested.cosines[replicate]),
        evaluations=[evaluation for evaluation in of_replicate if evaluation.finite()],
        fits=tested.fits[replicate],
        accounts=_accounts(tested.booked, replicate),
    )


def _accounts(booked: Booked, replicate: int) -> list[InnerAccount]:
    """The account of each inner step of one replicate; empty if a number is not finite."""
    numbers = [part[replicate] for part in booked]
    if not all(bool(part.isfinite().all()) for part in numbers):
        return []
    steps = zip(*map(rounded, numbers), strict=True)
    return [InnerAccount(*step) for step in steps]


def _test_divergence(
    loss: Float[Tensor, "step task"],
    cosine: Float[Tensor, " step"],
) -> str:
    """The first number that became non-finite on test tasks, and when; empty if none did."""
    lost_loss = ~loss.isfinite()
    lost_cosine = ~cosine.isfinite()
    if not (lost_loss.any() or lost_cosine.any()):
        return ""
    lost = lost_loss.any(1) | lost_cosine
    # `argmax` of ones and zeros is the first one.
    step = int(lost.int().argmax())
    tasks = int(lost_loss[step].sum())
    number = "cosine between the gradients on test tasks"
    if tasks:
        number = f"loss of {_counted(tasks, 'test task')}"
    return f"The {number} became non-finite after {_counted(step, 'inner step')}."


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def parameters(
    benchmark: EpisodicBenchmark,
    strategy: MetaStrategy,
    source: TaskDistribution,
) -> int:
    """Number of parameters of the model, without those that the strategy adds."""
    episodes = EpisodeReplicas(
        benchmark,
        strategy,
        [source],
        [0],
        torch.device("cpu"),
    )
    params = episodes.net.model_params(episodes.state.params)
    return sum(value.numel() for value in params.values())


def check(
    benchmark: EpisodicBenchmark,
    strategy: MetaStrategy,
    source: TaskDistribution,
) -> None:
    """Check that a cell can be meta-trained, by a trial step.

    Raises:
        UserError: If the strategy needs the parameters of tasks that have none, the model or a head
            does not fit, or a hook breaks a rule.
    """
    if strategy.sees_task_parameters and not source.parameters:
        raise UserError(
            f"{type(strategy).__name__} sees the parameters of each task, "
            f"and tasks of {type(benchmark).__name__} have none. Leave it out."
        )
    device = torch.device("cpu")
    episodes = EpisodeReplicas(benchmark, strategy, [source], [0], device)
    episodes.try_out()
