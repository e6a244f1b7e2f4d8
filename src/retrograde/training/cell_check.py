"""A trial of a cell before anything trains: settings that fit, and hooks that keep the rules."""

from functools import partial

import torch

from retrograde.errors import UserError
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.learner import Learner
from retrograde.interface.strategy import Strategy
from retrograde.networks.hidden_units import check_hidden_units
from retrograde.parts.author_code import described
from retrograde.randomness import seeded, torch_seed
from retrograde.streams.memory import ExemplarMemory, Memory
from retrograde.streams.schedule import Schedule, groups
from retrograde.streams.stream import Stream
from retrograde.training.boundary import check_kind, check_repeated
from retrograde.training.opaque import OpaqueReplica
from retrograde.training.pretraining import check_pretraining
from retrograde.training.stream_replicas import StreamReplicas


def check(
    benchmark: Benchmark,
    strategy: Strategy | Learner,
    stream: Stream,
    device: torch.device,
) -> None:
    """Check that a cell can be trained, by a trial step.

    Raises:
        UserError: If the scenario, the memory, the model or the device does not fit, or a hook
            breaks a rule.
    """
    # First, since another scenario would not mend it.
    if stream.regression:
        _check_values(benchmark, strategy)
    else:
        _check_choice(benchmark, stream)
    _check_settings(benchmark, strategy)
    _check_weighting(benchmark, strategy, stream)
    if isinstance(strategy, Strategy):
        # The boundaries that are needed follow from the schedule and the memory.
        _check_memory(strategy, stream)
    _check_boundaries(benchmark, strategy, stream)
    if isinstance(strategy, Learner):
        _check_learner(benchmark, strategy)
        with seeded(torch_seed(0, "opaque")):
            OpaqueReplica(benchmark, strategy, stream, 0, device).check_predictions()
        return
    _check_predicted_first(benchmark, strategy, stream)
    try:
        _check_hooks(StreamReplicas(benchmark, strategy, [stream], [0], device))
    except ValueError as error:
        if _ONE_ROW not in str(error):
            raise
        raise UserError(
            f"{type(strategy).__name__} cannot take a step with model={benchmark.model}: "
            f"{described(error)}. A model that normalises over the batch needs more than one "
            "example to every step."
        ) from error


_ONE_ROW = "Expected more than 1 value per channel"
"""Part of torch's error if batch normalisation gets a batch of one example."""


def _check_settings(benchmark: Benchmark, strategy: Strategy | Learner) -> None:
    """Raise `UserError` if the scenario does not fit the strategy, or probes are too small."""
    if benchmark.scenario not in strategy.scenarios:
        raise UserError(
            f"{type(strategy).__name__} does {', '.join(strategy.scenarios)}-incremental streams; "
            f"the benchmark has scenario={benchmark.scenario}."
        )
    if benchmark.probe_examples == 1:
        raise UserError(
            "Gradients are compared between two halves of the probe examples; "
            "probe_examples=1 has one. Give 0, or 2 and more."
        )


def _check_choice(benchmark: Benchmark, stream: Stream) -> None:
    """Raise `UserError` if every prediction is right, since there is but one answer."""
    units = stream.units.sum(1) if benchmark.scenario == "task" else stream.units.shape[1:]
    if max(units) < 2:
        raise UserError(
            "A prediction chooses among two or more output units; with "
            f"scenario={benchmark.scenario}, every task of {type(benchmark).__name__} has one, so "
            "that all accuracies are 100 %. Give scenario=class, or tasks of more classes."
        )


def _check_values(benchmark: Benchmark, strategy: Strategy | Learner) -> None:
    """Raise `UserError` if the strategy needs classes, since the stream is one of regression."""
    if strategy.needs_classes():
        raise UserError(
            f"{type(benchmark).__name__} has values to predict, and {type(strategy).__name__} "
            f"needs classes{_why_classes(strategy)}. "
            "Choose a strategy that learns by the loss alone, such as finetune or er."
        )


def _why_classes(strategy: Strategy | Learner) -> str:
    memory = strategy.memory() if isinstance(strategy, Strategy) else None
    return f", which its {type(memory).__name__} keeps apart" if memory and memory.by_class else ""


def _check_boundaries(benchmark: Benchmark, strategy: Strategy | Learner, stream: Stream) -> None:
    """Raise `UserError` if the strategy needs boundaries that the stream does not give.

    An upper bound is a reference, which may know them.
    """
    needed = strategy.needs_boundaries()
    name = type(strategy).__name__
    if needed == "tasks" and not stream.task_by_task:
        raise UserError(
            f"{name} needs experiences of one task each; {type(benchmark).__name__} mixes tasks or "
            "brings them back. Choose a strategy that does without, or a stream such as split."
        )
    if benchmark.boundaries == "known":
        return
    if needed != "none" and not strategy.upper_bound:
        raise UserError(
            f"{name} needs to know where {needed} end, and boundaries=unknown. "
            "Choose a strategy that does without, such as er, or give boundaries=known."
        )


def _check_predicted_first(benchmark: Benchmark, strategy: Strategy, stream: Stream) -> None:
    """Raise `UserError` if examples cannot be predicted before the only step on them."""
    if not benchmark.predict_first:
        return
    name = type(strategy).__name__
    schedule = strategy.schedule()
    _, updates = schedule.pace(benchmark)
    sizes = [len(experience.row) for experience in stream.experiences]
    # With `steps`, the number of epochs follows from the sizes of experiences.
    epochs = max(schedule.length(benchmark, size, 1)[0] for size in sizes)
    repeats = epochs > 1 or updates > 1
    if schedule.examples != "incoming" or schedule.held_out or repeats:
        raise UserError(
            "predict_first predicts every example of the stream before the only step on it; "
            f"{name} with epochs={epochs} and updates_per_batch={updates} trains on "
            f"{schedule.examples}, held_out={schedule.held_out:g}. "
            "Leave out predict_first, or train on each example once."
        )
    if type(strategy).before_evaluation is not Strategy.before_evaluation:
        raise UserError(
            f"predict_first predicts at every step; {name} makes its predictions ready at each "
            "evaluation. Leave out predict_first."
        )


def _check_memory(strategy: Strategy, stream: Stream) -> None:
    """Raise `UserError` if the schedule or the memory is none, or does not fit the stream."""
    memory = strategy.memory()
    check_kind(strategy, "schedule", strategy.schedule(), Schedule)
    check_kind(strategy, "memory", memory, Memory, none=True)
    if memory:
        memory.check(groups(stream))
    _check_mixed(strategy, memory)


def _check_hooks(backend: StreamReplicas) -> None:
    """Raise `UserError` if a hook that runs up to the first evaluation breaks a rule."""
    check_repeated(backend.strategy, "init", backend.initial, backend.started(backend.built))
    check_pretraining(backend)
    backend.begin(0)
    inputs = backend.try_step()
    step = partial(backend.step_all, backend.carried, *inputs)
    check_repeated(backend.strategy, "step", step(), step())
    _check_protocol(backend)
    backend.try_prediction()
    if backend.benchmark.probe_examples:
        backend.try_probes()
    if backend.benchmark.plasticity_examples:
        _check_hidden(backend)


def _check_hidden(backend: StreamReplicas) -> None:
    """Raise `UserError` if the hidden units of the model cannot be measured."""
    if not backend.strategy.probes:
        raise UserError(
            "plasticity_examples measures the model that answers; "
            f"{type(backend.strategy).__name__} answers by other means, or trains several. "
            "Leave the setting out."
        )
    check_hidden_units(backend.net.networks)


def _check_protocol(backend: StreamReplicas) -> None:
    """Raise `UserError` if the strategy takes steps of its own, and settings would do nothing."""
    ignored = _of_the_step(backend.benchmark)
    # Pretraining uses the optimiser.
    if backend.benchmark.optimizer != "sgd" and not backend.strategy.pretraining():
        ignored.append("optimizer")
    if ignored and not backend.updates:
        raise UserError(
            "The benchmark's protocol applies to steps by net.update; "
            f"{type(backend.strategy).__name__} takes steps of its own, for which "
            f"{', '.join(ignored)} would have no effect. Leave the settings out for this strategy."
        )


def _of_the_step(benchmark: Benchmark) -> list[str]:
    """The settings of the benchmark that change the optimiser's step."""
    given = {
        "weight_decay": benchmark.weight_decay > 0,
        "clip": benchmark.clip > 0,
        "schedule": benchmark.rate_schedule.changes,
        "momentum": benchmark.momentum is not None,
    }
    return [name for name, is_set in given.items() if is_set]


def _check_learner(benchmark: Benchmark, learner: Learner) -> None:
    """Raise `UserError` if settings would do nothing, since a learner takes its own steps."""
    ignored = _of_the_step(benchmark)
    if benchmark.augment != "none":
        ignored.append("augment")
    if benchmark.predict_first:
        ignored.append("predict_first")
    if benchmark.plasticity_examples:
        ignored.append("plasticity_examples")
    if ignored:
        raise UserError(
            f"{type(learner).__name__} is a learner, which gets every example once and takes steps "
            f"of its own; {', '.join(ignored)} would have no effect. Leave the settings out, and "
            "do the same in the learner."
        )


def _check_weighting(benchmark: Benchmark, strategy: Strategy | Learner, stream: Stream) -> None:
    """Raise `UserError` if losses cannot be weighted by the number of tasks so far."""
    if benchmark.weighting != "tasks":
        return
    if benchmark.boundaries == "unknown":
        raise UserError(
            "weighting=tasks counts the tasks so far, and boundaries=unknown. "
            "Give weighting=examples."
        )
    if not stream.task_by_task:
        raise UserError(
            "weighting=tasks weighs losses by the number t of the task that an experience trains; "
            f"{type(benchmark).__name__} mixes tasks or brings them back. Give weighting=examples."
        )
    if strategy.handles_weighting() == "refused":
        raise UserError(
            "weighting=tasks weighs losses on incoming and on past examples 1 to t - 1 at task t; "
            f"{type(strategy).__name__} has no such losses or does not weigh them so. "
            "Give the benchmark weighting=examples, or let the strategy use the weights of its "
            'StepData and declare task_weighting = "applied".'
        )


def _check_mixed(strategy: Strategy, memory: Memory | None) -> None:
    """Raise `UserError` if incoming examples are mixed with a memory that already holds them."""
    if strategy.schedule().examples != "incoming and memory":
        return
    # A memory that is filled during a task would offer its examples twice.
    filled_at_end = isinstance(memory, ExemplarMemory) or (memory is not None and memory.at_end)
    if not filled_at_end:
        raise UserError(
            "Incoming examples are mixed with a memory that is filled when a task ends; "
            f"{type(strategy).__name__} has {memory}. "
            "Give it at_end=True, or use an ExemplarMemory."
        )
