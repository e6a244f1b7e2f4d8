"""The episode loop: meta-train, look at new tasks along the way, and test on tasks never seen."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from retrograde.episodes.distribution import Distribution
from retrograde.errors import UserError
from retrograde.interface.episodic import Episodic
from retrograde.interface.metastrategy import MetaStrategy
from retrograde.records.few_shot import WATCHED, Adaptation, Check, InnerAccount
from retrograde.records.gradient_probe import rounded
from retrograde.training.backend import Outcome
from retrograde.training.clocks import Clocks, Pace
from retrograde.training.compiling import Compile
from retrograde.training.episode_replicas import Booked, Episodes, Tasks


def meta_train(
    benchmark: Episodic,
    strategy: MetaStrategy,
    sources: list[Distribution],
    seeds: list[int],
    device: torch.device,
    mode: Compile = "off",
    progress: Callable[[int], None] = lambda _: None,
) -> list[Outcome]:
    """Meta-train replicates of one cell, with checks along the way, and test them."""
    clocks = Clocks(device)
    episodes = Episodes(benchmark, strategy, sources, seeds, device)
    note = None
    if strategy.trains:
        with clocks("ready"):
            note = episodes.warm_up(mode)
        clocks.rename("ready", "compile" if episodes.compiled else "warm_up")
    checks: list[list[Check]] = []
    faults = [""] * len(seeds)
    for end in _ends(benchmark, strategy):
        with clocks("train"):
            episodes.learn(end - episodes.done, progress)
        checks.append(_check(episodes, clocks))
        sound = episodes.sound()
        faults = [
            fault or ("" if ok else _LOST.format(end))
            for fault, ok in zip(faults, sound, strict=True)
        ]
        if all(faults):
            break
    return _outcomes(episodes, checks, faults, clocks, note)


def pace(
    benchmark: Episodic,
    strategy: MetaStrategy,
    sources: list[Distribution],
    seeds: list[int],
    device: torch.device,
    mode: Compile,
) -> Pace:
    """How fast replicates of one cell would meta-train."""
    clocks = Clocks(device)
    with clocks("ready"):
        episodes = Episodes(benchmark, strategy, sources, seeds, device)
        note = episodes.warm_up(mode)
    step = episodes.seconds_a_step(clocks)
    return Pace(clocks.seconds["ready"], step, step * benchmark.iterations, note)


_LOST = "A parameter became non-finite by meta-iteration {}."


def _ends(benchmark: Episodic, strategy: MetaStrategy) -> list[int]:
    """The iterations at which meta-training is checked; 0 alone, where there is nothing to meta-learn."""
    checks = min(benchmark.checks, benchmark.iterations) if strategy.trains else 0
    return sorted({0} | {-(-benchmark.iterations * n // checks) for n in range(1, checks + 1)})


def _check(episodes: Episodes, clocks: Clocks) -> list[Check]:
    with clocks("evaluate"):
        new = episodes.draw("validation", WATCHED, "validation")
        measured = episodes.measure(new)
    with clocks("probe"):
        cosines = rounded(episodes.alignment(new, 0)[:, 0])
        seen = rounded(
            episodes.alignment(episodes.draw("train", WATCHED, "probe"), 0, test=False)[:, 0]
        )
    loss, accuracy = (
        measured.loss.mean(2),
        measured.correct.float().mean(2) / episodes.queries_per_task(),
    )
    return [
        Check(
            episodes.done,
            rounded(loss[i]),
            [] if episodes.regression else rounded(accuracy[i]),
            c,
            s,
        )
        for i, (c, s) in enumerate(zip(cosines, seen, strict=True))
    ]


def _outcomes(
    episodes: Episodes,
    checks: list[list[Check]],
    faults: list[str],
    clocks: Clocks,
    note: str | None,
) -> list[Outcome]:
    with clocks("evaluate"):
        tasks = episodes.draw("test", episodes.benchmark.test_tasks, "test")
        measured = episodes.measure(tasks)
    with clocks("probe"):
        watched = Tasks(*(part[:, :WATCHED] for part in tasks))
        cosines = episodes.alignment(watched, episodes.strategy.test_steps)
        booked = episodes.account(watched, episodes.strategy.test_steps)
    fits = episodes.fits(tasks)
    replicates = len(episodes.seeds)
    faults = [
        fault or _tested_fault(*tested)
        for fault, *tested in zip(faults, measured.loss, cosines, strict=True)
    ]
    how = {
        "backend": "pure",
        "compiled": episodes.compiled,
        "note": note,
        "replicates": replicates,
        "steps": episodes.done,
    }
    counts = {"steps": episodes.done, "new": episodes.seen, "replayed": 0}
    counts |= {name: episodes.done * rows for name, rows in episodes.tally.items()}
    memory = {"examples": 0, "bytes": 0, "state_bytes": episodes.state_bytes()}

    def outcome(i: int) -> Outcome:
        if faults[i]:
            return Outcome(faults[i], dict(clocks.seconds), counts, memory, how)
        correct = [] if episodes.regression else measured.correct[i].tolist()
        adaptation = Adaptation(
            [rounded(step) for step in measured.loss[i]], correct, episodes.queries_per_task(), rounded(cosines[i]),
            [check[i] for check in checks if check[i].finite()], fits[i], _accounts(booked, i),
        )  # fmt: skip
        return Outcome("", dict(clocks.seconds), counts, memory, how, adaptation=adaptation)

    return [outcome(i) for i in range(replicates)]


def _accounts(booked: Booked, replicate: int) -> list[InnerAccount]:
    """The account of each inner step of one replicate; none if a number is not finite."""
    if not all(bool(part[replicate].isfinite().all()) for part in booked):
        return []
    return [
        InnerAccount(*step)
        for step in zip(*(rounded(part[replicate]) for part in booked), strict=True)
    ]


def _tested_fault(loss: Float[Tensor, "step task"], cosine: Float[Tensor, " step"]) -> str:
    """What first became non-finite on test tasks, and when; nothing, if nothing did."""
    lost, odd = ~loss.isfinite(), ~cosine.isfinite()
    if not (lost.any() or odd.any()):
        return ""
    step = int((lost.any(1) | odd).int().argmax())
    tasks = int(lost[step].sum())
    what = (
        f"loss of {_counted(tasks, 'test task')}"
        if tasks
        else "cosine between the gradients on test tasks"
    )
    return f"The {what} became non-finite after {_counted(step, 'inner step')}."


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def parameters(benchmark: Episodic, strategy: MetaStrategy, source: Distribution) -> int:
    """How many numbers the model has."""
    episodes = Episodes(benchmark, strategy, [source], [0], torch.device("cpu"))
    return sum(value.numel() for value in episodes.net.own(episodes.state.params).values())


def check(benchmark: Episodic, strategy: MetaStrategy, source: Distribution) -> None:
    """Raise `UserError` where the cell cannot be trained: facts that are not there, a model or a head that does not fit."""
    if strategy.told and not source.facts:
        raise UserError(
            f"{type(strategy).__name__} is told the facts of each task, and {type(benchmark).__name__} has none. Leave it out."
        )
    Episodes(benchmark, strategy, [source], [0], torch.device("cpu")).try_out()
