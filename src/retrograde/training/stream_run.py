"""One run of the stream loop: replicates that learn together, and all that is measured."""

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from jaxtyping import Int64

from retrograde.records.experiences import Experiences
from retrograde.records.sidecars import Sidecar
from retrograde.streams.schedule import validation_chunks
from retrograde.streams.stream import Stream
from retrograde.training.backend import Backend, Outcome
from retrograde.training.class_counter import ClassCounter
from retrograde.training.clocks import Clocks
from retrograde.training.compiled_step import Compile
from retrograde.training.evaluation import Predictions
from retrograde.training.gradient_prober import GradientProber
from retrograde.training.keeper import Keeper
from retrograde.training.online_evaluation import OnlineEvaluator
from retrograde.training.plasticity_prober import PlasticityProber
from retrograde.training.snapshots import Beginning, Snapshot, restore, taken
from retrograde.training.statistics_log import StatisticsLog
from retrograde.training.stream_replicas import StreamReplicas
from retrograde.training.test_counts import Evaluations, RegressionErrors


class StreamRun:
    """Replicates that learn their streams together, with all that is measured on the way.

    Between two experiences, everything that has changed since the start can be taken as a snapshot
    and put back into a new run of the same replicates.

    Args:
        backend: The replicates.
        streams: The stream of each replicate.
        seeds: The seed of each replicate.
        clocks: The clocks of the run.
        keep: What to keep of each replicate besides its record.
    """

    carries = ("begun", "used", "passes", "compiled", "note", "continued")

    def __init__(
        self,
        backend: Backend,
        streams: list[Stream],
        seeds: list[int],
        clocks: Clocks,
        keep: Collection[Sidecar] = (),
    ) -> None:
        self.backend = backend
        self.streams = streams
        self.clocks = clocks
        self.prober = GradientProber(backend, streams, seeds, clocks)
        self.plasticity = _plasticity_prober(backend, streams, seeds, clocks)
        self.online = OnlineEvaluator(backend, streams, seeds, clocks)
        self.log = StatisticsLog(backend, len(streams))
        self.keeper = Keeper(backend, streams, keep)
        self.tests = _test_counts(backend, streams)
        self.validations: Evaluations | None = None
        if any(len(task.validation.row) for task in streams[0].tasks):
            self.validations = Evaluations(backend, validation_chunks(streams), streams[0])
        # Evaluations so far: one before training, and one after each experience.
        self.begun = 0
        # Steps, incoming and replayed examples of each replicate.
        self.used = np.zeros((3, len(streams)), np.int64)
        # Rows that passed forward and backward for each replicate, padding included.
        self.passes: list[Counter[str]] = [Counter() for _ in streams]
        # True if the latest step was compiled, and the reason why that failed, if it was tried.
        self.compiled = False
        self.note: str | None = None
        # The shorter stream that the run went on from, and the number of its experiences.
        self.continued: dict[str, str | int] = {}

    def run(
        self,
        progress: Callable[[int], None],
        mode: Compile,
        saved: Callable[[Snapshot], None] | None = None,
    ) -> list[Outcome]:
        """Learn the experiences that are left, and return the results of each replicate.

        Args:
            progress: Called with the number of steps that were just taken.
            mode: Compilation of the step.
            saved: Called with a snapshot after each experience; None: none is taken.
        """

        def advance(steps: int) -> None:
            self.prober.advance(steps)
            self.online.advance(steps)
            self.log.advance(steps)
            progress(steps)

        for number in range(self.begun - 1, len(self.streams[0])):
            steps = self._learn(number, advance, mode) if number >= 0 else self.used[0] * 0
            self._evaluate(number, steps)
            self.begun += 1
            if saved:
                saved(self.snapshot())
        return self._outcomes()

    def _learn(
        self, number: int, advance: Callable[[int], None], mode: Compile
    ) -> Int64[np.ndarray, " replicate"]:
        """Learn an experience, and return the steps of each replicate."""
        self.note = self._begin(number, mode) or self.note
        self.prober.begin_experience()
        with self.clocks("train"):
            cost = np.stack(self.backend.learn(number, advance))
        steps: Int64[np.ndarray, " replicate"] = cost[0]
        for counter, of_replicate in zip(self.passes, steps.tolist(), strict=True):
            counter.update({name: of_replicate * rows for name, rows in self.backend.tally.items()})
        self.prober.end_experience(steps)
        if self.plasticity:
            self.plasticity.end_experience(number)
        self.log.end_experience(steps)
        self.used = self.used + cost
        return steps

    def _begin(self, number: int, mode: Compile) -> str | None:
        """Begin an experience; returns why compiling the step failed, if that was tried."""
        with self.clocks("train"):
            new_form = self.backend.begin(number)
        if not new_form:
            return None
        with self.clocks("ready"):
            note = self.backend.warm_up(mode)
        self.compiled = self.backend.compiled
        self.clocks.rename("ready", "compile" if self.compiled else "warm_up")
        return note

    def _evaluate(self, number: int, steps: Int64[np.ndarray, " replicate"]) -> None:
        """Evaluate on all tasks after an experience; number -1 is before the first one."""
        found = self._count()
        if found:
            self.online.end_experience(number, found, steps)

    def _count(self) -> Predictions | None:
        """Count the right predictions on all tasks; or, in regression, add up the errors."""
        if isinstance(self.tests, RegressionErrors):
            with self.clocks("evaluate"):
                self.tests.add(self.backend.errors(self.backend.test_rows))
            return None
        with self.clocks("evaluate"):
            found = self.backend.evaluate(self.backend.test_rows)
            if self.validations:
                rows = self.validations.rows
                self.validations.add(self.backend.evaluate(rows, validation=True))
        self.tests.add(found)
        self.keeper.add(found)
        return found

    def _along(self) -> dict[str, Any]:
        """The parts that measure while an experience is learned, by name."""
        parts = {
            "prober": self.prober,
            "plasticity": self.plasticity,
            "online": self.online,
            "log": self.log,
            "clocks": self.clocks,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def _measuring(self) -> dict[str, Any]:
        """All parts that measure, by name."""
        parts = {"keeper": self.keeper, "tests": self.tests, "validations": self.validations}
        return self._along() | {name: part for name, part in parts.items() if part is not None}

    def snapshot(self) -> Snapshot:
        """Everything that has changed since the start, between two experiences."""
        parts = {name: taken(part) for name, part in self._measuring().items()}
        return parts | {"run": taken(self), "backend": self.backend.snapshot()}

    def restore(self, snapshot: Snapshot) -> None:
        """Put back a snapshot of a run of the same replicates."""
        restore(self, snapshot["run"])
        self.backend.restore(snapshot["backend"])
        for name, part in self._measuring().items():
            restore(part, snapshot[name])
        self.prober.resume()

    def go_on_from(self, beginning: Beginning) -> None:
        """Go on from a run of the first experiences of these streams, by the same replicates.

        The state after each of them is evaluated anew, since that run did not know later tasks.
        """
        found = None
        for snapshot in beginning.snapshots:
            self.backend.restore(snapshot["backend"])
            found = self._count()
            # The latest one counts, with the clocks of that run, which has evaluated before.
            restore(self, snapshot["run"])
            for name, part in self._along().items():
                restore(part, snapshot[name])
        self.continued = {"benchmark": beginning.benchmark, "experiences": self.begun - 1}
        if found:
            self.online.see_next(found)
        self.prober.see_next()
        self.prober.resume()

    def _outcomes(self) -> list[Outcome]:
        shared = _shared(
            self.backend,
            self.streams,
            self.used,
            self.passes,
            dict(self.clocks.seconds),
            {"compiled": self.compiled, "note": self.note, **self._continued()},
        )
        return [self._outcome(place, fields) for place, fields in enumerate(shared)]

    def _continued(self) -> dict[str, Any]:
        return {"continued": self.continued} if self.continued else {}

    def _outcome(self, replicate: int, shared: dict[str, Any]) -> Outcome:
        divergence = self.tests.divergence(replicate)
        # Numbers of a replicate that diverged are not kept, nor gradients that were not finite.
        probed = self.prober.finite[replicate] and not divergence
        measured = self.plasticity.measured[replicate] if self.plasticity else None
        return Outcome(
            divergence,
            **shared,
            **self.tests.fields(replicate),
            gradients=self.prober.probes[replicate] if probed else [],
            accounts=self.prober.accounts[replicate] if probed else [],
            prequential=self.log.prequential(replicate),
            plasticity=None if divergence else measured,
            online_accuracy=None if divergence else self.online.online_accuracy(replicate),
            validation=self.validations.validation(replicate) if self.validations else None,
            statistics=self.log.statistics(replicate),
            kept=None if divergence else self.keeper.kept(replicate),
        )


def _plasticity_prober(
    backend: Backend, streams: list[Stream], seeds: list[int], clocks: Clocks
) -> PlasticityProber | None:
    """The measurement of hidden units; None without any, as for the model of a learner."""
    if not isinstance(backend, StreamReplicas) or not backend.benchmark.plasticity_examples:
        return None
    # A strategy without probes predicts with other parameters than the model's.
    if not backend.strategy.probes:
        return None
    return PlasticityProber(backend, streams, seeds, clocks)


def _test_counts(backend: Backend, streams: list[Stream]) -> Evaluations | RegressionErrors:
    """The counts of right answers or, in regression, the errors, on test examples."""
    if streams[0].regression:
        return RegressionErrors(backend, streams[0])
    by_class = backend.benchmark.scenario == "class"
    tests = backend.test_rows
    counters = [ClassCounter(stream, tests[:, i], by_class) for i, stream in enumerate(streams)]
    return Evaluations(backend, tests, streams[0], counters)


def _shared(
    backend: Backend,
    streams: list[Stream],
    used: Int64[np.ndarray, "3 replicate"],
    passes: list[Counter[str]],
    seconds: dict[str, float],
    how: dict[str, Any],
) -> list[dict[str, Any]]:
    """The fields of an outcome that every replicate has, finite or diverged.

    Args:
        backend: The replicates after training.
        streams: The stream of each replicate.
        used: Steps, incoming and replayed examples of each replicate.
        passes: Rows that passed forward and backward for each replicate, padding included.
        seconds: Seconds by clock, of all replicates combined.
        how: True if the step is compiled, and why it is not, if that was tried, by name; and the
            run that this one went on from, if any.
    """
    how = {
        "backend": backend.backend,
        **how,
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
