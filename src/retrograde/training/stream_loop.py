"""THE loop: learn a task, test all tasks, for every kind of strategy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from retrograde.errors import UserError
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.learner import Learner
from retrograde.interface.strategy import Strategy, prepares
from retrograde.parts.author_code import described
from retrograde.randomness import seeded, torch_seed
from retrograde.streams.memory import Exemplars, Memory
from retrograde.streams.schedule import Schedule, groups
from retrograde.streams.stream import Stream
from retrograde.training.backend import Backend, Outcome, correct
from retrograde.training.boundary import check_kind
from retrograde.training.clocks import Clocks, Pace
from retrograde.training.compiling import Compile
from retrograde.training.gradient_prober import Prober
from retrograde.training.online_evaluation import Watcher
from retrograde.training.opaque import Opaque
from retrograde.training.pretraining import (
    check_preparation,
    lesson_step,
    lessons,
    prepare,
    seconds_a_lesson,
)
from retrograde.training.stream_replicas import Vectorised


def train(
    benchmark: Benchmark,
    strategy: Strategy | Learner,
    streams: list[Stream],
    seeds: list[int],
    device: torch.device,
    mode: Compile = "off",
    progress: Callable[[int], None] = lambda _: None,
) -> list[Outcome]:
    """Train replicates of one cell along their streams; `progress` is told the steps taken, summed over replicates."""
    if isinstance(strategy, Learner):
        return [
            _train_opaque(benchmark, strategy, s, seed, device, progress)
            for s, seed in zip(streams, seeds, strict=True)
        ]
    clocks = Clocks(device)
    backend = Vectorised(benchmark, strategy, streams, seeds, device)
    unprepared = prepare(backend, clocks, mode, progress)
    with clocks("ready"):
        note = backend.warm_up(mode)
    clocks.rename("ready", "compile" if backend.compiled else "warm_up")
    return _run(backend, streams, seeds, clocks, progress, note or unprepared)


def pace(
    benchmark: Benchmark,
    strategy: Strategy,
    streams: list[Stream],
    seeds: list[int],
    device: torch.device,
    mode: Compile,
) -> Pace:
    """How fast replicates of one cell would train, before the stream and along it, ends of tasks aside."""
    clocks, before, note = Clocks(device), 0.0, None
    with clocks("ready"):
        backend = Vectorised(benchmark, strategy, streams, seeds, device)
    if prepares(strategy):
        with clocks("ready"):
            step, note = lesson_step(backend, mode)
        before = seconds_a_lesson(backend, step, clocks)
        backend.begin_all()
    with clocks("ready"):
        note = backend.warm_up(mode) or note
    along = backend.seconds_a_step(clocks)
    rest = before * lessons(strategy, streams[0]) + along * total_steps(
        benchmark, strategy, streams
    )
    return Pace(clocks.seconds["ready"], before + along, rest, note)


def _train_opaque(
    benchmark: Benchmark,
    learner: Learner,
    stream: Stream,
    seed: int,
    device: torch.device,
    progress: Callable[[int], None],
) -> Outcome:
    with seeded(torch_seed(seed, "opaque")):
        backend = Opaque(benchmark, learner, stream, seed, device)
        return _run(backend, [stream], [seed], Clocks(device), progress, None)[0]


def _run(
    backend: Backend,
    streams: list[Stream],
    seeds: list[int],
    clocks: Clocks,
    progress: Callable[[int], None],
    note: str | None,
) -> list[Outcome]:
    replicates, tasks = len(streams), len(streams[0].tasks)
    prober, watcher = (
        Prober(backend, streams, seeds, clocks),
        Watcher(backend, streams, seeds, clocks),
    )

    def advance(steps: int) -> None:
        prober.advance(steps)
        watcher.advance(steps)
        progress(steps)

    hits: list[list[list[int]]] = [[] for _ in streams]
    told: list[list[list[int]]] = [[] for _ in streams]
    sound = np.ones(replicates, dtype=bool)
    used = np.zeros((3, replicates), np.int64)
    for number in range(-1, tasks):
        taken = np.zeros_like(used)
        if number >= 0:
            with clocks("train"):
                taken = np.stack(backend.learn(number, advance))
            prober.end_task()
        used += taken
        with clocks("evaluate"):
            found = backend.evaluate(backend.test_rows)
        watcher.end_task(number, found, taken[0])
        sound &= found.sound
        for i in np.flatnonzero(sound):
            rows = backend.test_rows[:, i]
            hits[i].append(correct(found.hit[i], rows, tasks))
            if backend.benchmark.scenario == "class":
                told[i].append(correct(found.told[i], rows, tasks))
    faults = [_fault(each, tasks) for each in hits]
    shared = _shared(backend, streams, used, dict(clocks.seconds), note)
    return [
        Outcome(
            faults[i], **shared[i], correct=hits[i], correct_told=told[i],
            gradients=prober.probes[i] if prober.sound[i] and not faults[i] else [],
            accounts=prober.accounts[i] if prober.sound[i] and not faults[i] else [],
            course=None if faults[i] else watcher.course(i),
        )
        for i in range(replicates)
    ]  # fmt: skip


def _shared(
    backend: Backend,
    streams: list[Stream],
    used: Int64[np.ndarray, "3 replicate"],
    seconds: dict[str, float],
    note: str | None,
) -> list[dict[str, Any]]:
    """What is told of every replicate, sound or not: cost, memory, how it was trained, and the sizes of its tests."""
    how = {
        "backend": backend.backend,
        "compiled": backend.compiled,
        "note": note,
        "replicates": len(streams),
        "steps": int(used[0].max()),  # of the batch: of the replicate that takes the most
    }
    return [
        {
            "clocks": seconds,
            "counts": _counts(backend, *map(int, own)),
            "memory": _memory(backend, stream, held),
            "how": how,
            "tests": [len(task.test.row) for task in stream.tasks],
        }
        for stream, held, own in zip(streams, backend.held_examples(), used.T, strict=True)
    ]


def _fault(hits: list[list[int]], tasks: int) -> str:
    when = f"while training task {len(hits)}" if hits else "before training"
    return "" if len(hits) > tasks else f"A parameter or a score became non-finite {when}."


def _counts(backend: Backend, steps: int, new: int, replayed: int) -> dict[str, int]:
    """Steps, examples used, and how many rows steps took forward and backward through the model, padding included."""
    passes = {name: steps * rows for name, rows in backend.tally.items()}
    return {"steps": steps, "new": new, "replayed": replayed, **passes}


def _memory(backend: Backend, stream: Stream, held: int) -> dict[str, int]:
    """Examples held at the end, their bytes as stored with a label, and the bytes of other state."""
    x = stream.data.x_train
    return {
        "examples": held,
        "bytes": held * (x[0].nbytes + 8),
        "state_bytes": backend.state_bytes(),
    }


def total_steps(benchmark: Benchmark, strategy: Strategy | Learner, streams: list[Stream]) -> int:
    """The steps of a whole run: of the replicate that takes the most; where what a memory holds is trained on, at most."""
    return max(sum(task_steps(benchmark, strategy, stream)) for stream in streams)


def task_steps(benchmark: Benchmark, strategy: Strategy | Learner, stream: Stream) -> list[int]:
    """The steps of each task for one replicate; where what a memory holds is trained on, at most."""
    schedule = strategy.schedule() if isinstance(strategy, Strategy) else Schedule()
    memory = strategy.remember() if isinstance(strategy, Strategy) else None
    held = memory.size if memory else 0

    sizes = np.array([len(task.train.row) for task in stream.tasks])
    so_far = np.cumsum(sizes)
    before = np.minimum(so_far - sizes, held)
    pools = {
        "arrivals": sizes, "arrivals and memory": sizes + before,
        "memory alone": np.minimum(so_far, held), "all so far": so_far,
    }  # fmt: skip
    return [
        schedule.length(benchmark, int(n), t + 1)[1] for t, n in enumerate(pools[schedule.examples])
    ]


def expected_steps(benchmark: Benchmark, strategy: Strategy | Learner, stream: Stream) -> int:
    """The steps of which `progress` will be told for one replicate: those before the stream and those along it."""
    before = lessons(strategy, stream) if isinstance(strategy, Strategy) else 0
    return before + total_steps(benchmark, strategy, [stream])


def check(
    benchmark: Benchmark, strategy: Strategy | Learner, stream: Stream, device: torch.device
) -> None:
    """Raise `UserError` where the cell cannot be trained: the scenario, the memory, the model or the device."""
    if benchmark.scenario not in strategy.scenarios:
        raise UserError(
            f"{type(strategy).__name__} does {', '.join(strategy.scenarios)}-incremental streams; "
            f"the benchmark has scenario={benchmark.scenario}."
        )
    if benchmark.probe == 1:
        raise UserError(
            "Gradients are compared between two halves of the probe examples; probe=1 has one. Give 0, or 2 and more."
        )
    _check_weighting(benchmark, strategy)
    if isinstance(strategy, Learner):
        with seeded(torch_seed(0, "opaque")):
            Opaque(benchmark, strategy, stream, 0, device).check_predictions()
        return
    memory = strategy.remember()
    check_kind(strategy, "schedule", strategy.schedule(), Schedule)
    check_kind(strategy, "remember", memory, Memory, none=True)
    if memory:
        memory.check(groups(stream))
    _check_mixed(strategy, memory)
    try:
        _check_hooks(Vectorised(benchmark, strategy, [stream], [0], device))
    except ValueError as error:
        if _ONE_ROW not in str(error):
            raise
        raise UserError(
            f"{type(strategy).__name__} cannot take a step with model={benchmark.model}: {described(error)}. "
            "A model that normalises over the batch needs more than one example to every step."
        ) from error


_ONE_ROW = "Expected more than 1 value per channel"
"""How batch normalisation refuses a batch of one example."""


def _check_hooks(backend: Vectorised) -> None:
    """Raise `UserError` where a hook that runs on the way to the first test gives what the engine cannot take."""
    check_preparation(backend)
    if prepares(backend.strategy):
        backend.begin_all()
    backend.warm_up("off")
    backend.try_prediction()


def _check_weighting(benchmark: Benchmark, strategy: Strategy | Learner) -> None:
    """Raise `UserError` where losses are to be weighed by the number of tasks and the strategy does not say that it does."""
    if benchmark.weighting == "tasks" and strategy.weighs() == "refuses":
        raise UserError(
            "weighting=tasks weighs losses on arrivals and on past examples 1 to t - 1 at task t; "
            f"{type(strategy).__name__} has no such losses or does not weigh them so. Give the benchmark weighting=examples, "
            "or let the strategy follow the weights of its arrivals and declare that its weighing is 'heeds'."
        )


def _check_mixed(strategy: Strategy, memory: Memory | None) -> None:
    """Raise `UserError` where a task's arrivals would be mixed with what the memory takes of them."""
    filled_late = isinstance(memory, Exemplars) or (memory is not None and memory.late)
    if strategy.schedule().examples == "arrivals and memory" and not filled_late:
        raise UserError(
            f"Arrivals are mixed with a memory that is filled when a task ends; {type(strategy).__name__} has {memory}. "
            "Give it late=True, or Exemplars."
        )
