"""The stream loop: learn a task, then evaluate on all tasks, for every kind of strategy."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from retrograde.interface.benchmark import Benchmark
from retrograde.interface.learner import Learner
from retrograde.interface.strategy import Strategy
from retrograde.randomness import seeded, torch_seed
from retrograde.records.experiences import Experiences
from retrograde.records.validation import Validation
from retrograde.streams.rows import Rows
from retrograde.streams.schedule import validation_chunks
from retrograde.streams.stream import Stream
from retrograde.training.backend import Backend, Outcome
from retrograde.training.class_counter import ClassCounter
from retrograde.training.clocks import Clocks, Throughput
from retrograde.training.compiled_step import Compile
from retrograde.training.evaluation import (
    Errors,
    Predictions,
    correct_per_task,
    error_per_task,
)
from retrograde.training.gradient_prober import GradientProber
from retrograde.training.online_evaluation import OnlineEvaluator
from retrograde.training.opaque import OpaqueReplica
from retrograde.training.plasticity_prober import PlasticityProber
from retrograde.training.pretraining import (
    pretrain,
    pretrained_replicas,
    pretraining_steps,
)
from retrograde.training.statistics_log import StatisticsLog
from retrograde.training.step_counts import total_steps
from retrograde.training.stream_replicas import StreamReplicas


def train(
    benchmark: Benchmark,
    strategy: Strategy | Learner,
    streams: list[Stream],
    seeds: list[int],
    device: torch.device,
    mode: Compile = "off",
    progress: Callable[[int], None] = lambda _: None,
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
        progress: Called with the number of steps that were just taken; the replicates of a
            `Learner` are counted one by one.

    Returns:
        The results of each replicate.
    """
    if isinstance(strategy, Learner):
        return [
            _train_opaque(benchmark, strategy, stream, seed, device, progress)
            for stream, seed in zip(streams, seeds, strict=True)
        ]
    outcomes: dict[int, Outcome] = {}
    for places in _of_equal_length(streams):
        clocks = Clocks(device)
        some = [streams[place] for place in places]
        of_some = [seeds[place] for place in places]
        backend = StreamReplicas(benchmark, strategy, some, of_some, device)
        note = pretrain(backend, clocks, mode, progress)
        trained = _run(backend, some, of_some, clocks, progress, note, mode)
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
    return Throughput(clocks.seconds["ready"], before + along, pretraining + stream, note)


def _train_opaque(
    benchmark: Benchmark,
    learner: Learner,
    stream: Stream,
    seed: int,
    device: torch.device,
    progress: Callable[[int], None],
) -> Outcome:
    # A learner may draw from the global generators, so its replicate seeds them.
    with seeded(torch_seed(seed, "opaque")):
        backend = OpaqueReplica(benchmark, learner, stream, seed, device)
        clocks = Clocks(device)
        (outcome,) = _run(backend, [stream], [seed], clocks, progress, None)
        return outcome


class _Evaluations:
    """Correct predictions on all tasks, a row for each evaluation.

    The rows of a replicate end where it diverges.
    """

    def __init__(
        self,
        backend: Backend,
        rows: Int64[Rows, "chunk replicate row"],
        stream: Stream,
        counters: Sequence[ClassCounter] = (),
    ) -> None:
        replicates = rows.shape[1]
        self.counters = [*counters]
        self.rows = rows
        self.by_class = backend.benchmark.scenario == "class"
        self.tasks = len(stream.tasks)
        self.experiences = len(stream.experiences)
        self.correct: list[list[list[int]]] = [[] for _ in range(replicates)]
        self.correct_given_task: list[list[list[int]]] = [[] for _ in range(replicates)]
        self.finite = np.ones(replicates, dtype=bool)

    def add(self, found: Predictions) -> None:
        """Count the correct predictions of one evaluation."""
        self.finite &= found.finite
        for i in np.flatnonzero(self.finite).tolist():
            rows = self.rows[:, i]
            correct = correct_per_task(found.correct[i], rows, self.tasks)
            self.correct[i].append(correct)
            # In the other scenarios the task changes nothing, or is given anyway.
            if self.by_class:
                given_task = correct_per_task(found.correct_given_task[i], rows, self.tasks)
                self.correct_given_task[i].append(given_task)
            if self.counters:
                self.counters[i].add(found.correct[i], found.predicted[i])

    def validation(self, replicate: int) -> Validation:
        """The counts of one replicate, of validation examples."""
        rows = self.rows[:, replicate].reshape(-1)
        examples: list[int] = np.bincount(rows.task[rows.real], minlength=self.tasks).tolist()
        return Validation(examples, self.correct[replicate], self.correct_given_task[replicate])

    def fields(self, replicate: int) -> dict[str, Any]:
        """The fields of the outcome of one replicate."""
        return {
            "correct": self.correct[replicate],
            "correct_given_task": self.correct_given_task[replicate],
            "classes": self.counters[replicate].counts(),
        }

    def divergence(self, replicate: int) -> str:
        """The moment at which a replicate diverged; empty if it did not."""
        return _divergence(self.correct[replicate], self.experiences)


class _Regression:
    """Squared errors on all tasks, a row for each evaluation; see `_Evaluations`."""

    def __init__(self, backend: Backend, stream: Stream) -> None:
        self.rows = backend.test_rows
        self.tasks = len(stream.tasks)
        self.experiences = len(stream.experiences)
        replicates = self.rows.shape[1]
        self.squared: list[list[list[float]]] = [[] for _ in range(replicates)]
        self.finite = np.ones(replicates, dtype=bool)

    def add(self, found: Errors) -> None:
        """Add up the errors of one evaluation."""
        self.finite &= found.finite
        for i in np.flatnonzero(self.finite).tolist():
            by_task = error_per_task(found.squared[i], self.rows[:, i], self.tasks)
            self.squared[i].append(by_task)

    def fields(self, replicate: int) -> dict[str, Any]:
        """See `_Evaluations.fields`."""
        return {"squared_errors": self.squared[replicate]}

    def divergence(self, replicate: int) -> str:
        """See `_Evaluations.divergence`."""
        return _divergence(self.squared[replicate], self.experiences)


def _run(
    backend: Backend,
    streams: list[Stream],
    seeds: list[int],
    clocks: Clocks,
    progress: Callable[[int], None],
    note: str | None,
    mode: Compile = "off",
) -> list[Outcome]:
    replicates = len(streams)
    stream = streams[0]
    prober = GradientProber(backend, streams, seeds, clocks)
    plasticity = _plasticity_prober(backend, streams, seeds, clocks)
    online = OnlineEvaluator(backend, streams, seeds, clocks)
    log = StatisticsLog(backend, replicates)
    evaluations = _evaluations(backend, streams)
    validations = None
    if any(len(task.validation.row) for task in stream.tasks):
        validations = _Evaluations(backend, validation_chunks(streams), stream)

    def advance(steps: int) -> None:
        prober.advance(steps)
        online.advance(steps)
        log.advance(steps)
        progress(steps)

    used = np.zeros((3, replicates), np.int64)
    passes: list[Counter[str]] = [Counter() for _ in streams]
    # Number -1 is the evaluation before the first experience.
    for number in range(-1, len(stream)):
        taken = np.zeros_like(used)
        if number >= 0:
            note = _begin(backend, number, clocks, mode) or note
            prober.begin_experience()
            with clocks("train"):
                taken = np.stack(backend.learn(number, advance))
            for counter, steps in zip(passes, taken[0], strict=True):
                counter.update({name: int(steps) * rows for name, rows in backend.tally.items()})
            prober.end_experience()
            if plasticity:
                plasticity.end_experience(number)
            log.end_experience(taken[0])
        used += taken
        if isinstance(evaluations, _Regression):
            with clocks("evaluate"):
                evaluations.add(backend.errors(backend.test_rows))
            continue
        with clocks("evaluate"):
            found = backend.evaluate(backend.test_rows)
            if validations:
                validations.add(backend.evaluate(validations.rows, validation=True))
        online.end_experience(number, found, taken[0])
        evaluations.add(found)
    shared = _shared(backend, streams, used, passes, dict(clocks.seconds), note)
    return [
        _outcome(i, shared[i], evaluations, validations, prober, plasticity, online, log)
        for i in range(replicates)
    ]


def _plasticity_prober(
    backend: Backend, streams: list[Stream], seeds: list[int], clocks: Clocks
) -> PlasticityProber | None:
    """The measurement of hidden units; None without any, as for the model of a learner."""
    if not isinstance(backend, StreamReplicas) or not backend.benchmark.plasticity_examples:
        return None
    return PlasticityProber(backend, streams, seeds, clocks)


def _evaluations(backend: Backend, streams: list[Stream]) -> "_Evaluations | _Regression":
    """The counts of right answers or, in regression, the errors, on test examples."""
    if streams[0].regression:
        return _Regression(backend, streams[0])
    counters = _class_counters(backend, streams)
    return _Evaluations(backend, backend.test_rows, streams[0], counters)


def _class_counters(backend: Backend, streams: list[Stream]) -> list[ClassCounter]:
    by_class = backend.benchmark.scenario == "class"
    tests = backend.test_rows
    return [ClassCounter(stream, tests[:, i], by_class) for i, stream in enumerate(streams)]


def _begin(backend: Backend, number: int, clocks: Clocks, mode: Compile) -> str | None:
    """Begin an experience; returns why compiling the step failed, if that was tried."""
    with clocks("train"):
        new_form = backend.begin(number)
    if not new_form:
        return None
    with clocks("ready"):
        note = backend.warm_up(mode)
    clocks.rename("ready", "compile" if backend.compiled else "warm_up")
    return note


def _outcome(
    replicate: int,
    shared: dict[str, Any],
    evaluations: _Evaluations | _Regression,
    validations: _Evaluations | None,
    prober: GradientProber,
    plasticity: PlasticityProber | None,
    online: OnlineEvaluator,
    log: StatisticsLog,
) -> Outcome:
    divergence = evaluations.divergence(replicate)
    # Numbers of a replicate that diverged are not kept, nor gradients that were not finite.
    probed = prober.finite[replicate] and not divergence
    return Outcome(
        divergence,
        **shared,
        **evaluations.fields(replicate),
        gradients=prober.probes[replicate] if probed else [],
        accounts=prober.accounts[replicate] if probed else [],
        prequential=log.prequential(replicate),
        plasticity=plasticity.measured[replicate] if plasticity and not divergence else None,
        online_accuracy=None if divergence else online.online_accuracy(replicate),
        validation=validations.validation(replicate) if validations else None,
        statistics=log.statistics(replicate),
    )


def _shared(
    backend: Backend,
    streams: list[Stream],
    used: Int64[np.ndarray, "3 replicate"],
    passes: list[Counter[str]],
    seconds: dict[str, float],
    note: str | None,
) -> list[dict[str, Any]]:
    """The fields of an outcome that every replicate has, finite or diverged.

    Args:
        backend: The replicates after training.
        streams: The stream of each replicate.
        used: Steps, incoming and replayed examples of each replicate.
        passes: Rows that passed forward and backward for each replicate, padding included.
        seconds: Seconds by clock, of all replicates combined.
        note: Why the step is not compiled, if that was tried.
    """
    how = {
        "backend": backend.backend,
        "compiled": backend.compiled,
        "note": note,
        "replicates": len(streams),
        # Steps of the batch of replicates are those of the replicate that takes the most.
        "steps": int(used[0].max()),
    }
    shared = []
    stored = backend.held_examples()
    for i, stream in enumerate(streams):
        steps, incoming, replayed = map(int, used[:, i])
        fields = {
            "clocks": seconds,
            "counts": {"steps": steps, "incoming": incoming, "replayed": replayed, **passes[i]},
            "memory": _memory(backend, stream, stored[i]),
            "how": how,
            "test_examples": [len(task.test.row) for task in stream.tasks],
            "experiences": _experiences(stream),
        }
        shared.append(fields)
    return shared


def _experiences(stream: Stream) -> Experiences | None:
    """The experiences of a stream; None if each trains and completes one task, in order."""
    if stream.task_by_task and stream.learns_task_by_task:
        return None
    return Experiences(len(stream), stream.first.tolist(), stream.learned.tolist())


def _divergence(
    rows: Sequence[object],
    experiences: int,
) -> str:
    """The moment at which the rows of evaluations end; empty if they do not."""
    if len(rows) > experiences:
        return ""
    when = f"in experience {len(rows)}" if rows else "before training"
    return f"A parameter or a score became non-finite {when}."


def _memory(
    backend: Backend,
    stream: Stream,
    stored: int,
) -> dict[str, int]:
    """Examples stored at the end, their bytes with a label, and bytes of other state."""
    example = stream.data.x_train[0]
    label_bytes = 8
    return {
        "examples": stored,
        "bytes": stored * (example.nbytes + label_bytes),
        "state_bytes": backend.state_bytes(),
    }


def expected_steps(
    benchmark: Benchmark,
    strategy: Strategy | Learner,
    stream: Stream,
) -> int:
    """Number of steps that `progress` counts for one replicate, pretraining included."""
    before = pretraining_steps(strategy, stream) if isinstance(strategy, Strategy) else 0
    return before + total_steps(benchmark, strategy, [stream])
