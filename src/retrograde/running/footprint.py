"""Estimates of the memory and steps of a cell, made before anything of their size is allocated.

The estimates count everything that grows with a setting: tables of a stream, rows of steps, copies
of the model, gradients that probes keep, drawn episodes. The state of a strategy and the needs of
the libraries come on top.
"""

import sys
from math import prod
from typing import NamedTuple

import torch

from retrograde.episodes.distribution import TaskDistribution
from retrograde.errors import UserError, gigabytes
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.episodic import EpisodicBenchmark
from retrograde.interface.learner import Learner
from retrograde.interface.metastrategy import MetaStrategy
from retrograde.interface.strategy import Strategy
from retrograde.learning_rate import factors
from retrograde.machine import physical_bytes
from retrograde.networks.build import Extent, extent
from retrograde.records.few_shot import PROBE_TASKS
from retrograde.streams.memory import Memory
from retrograde.streams.rows import COLUMNS
from retrograde.streams.schedule import CHUNK, Schedule
from retrograde.streams.stream import Stream
from retrograde.training.episode_replicas import BLOCK
from retrograde.training.step_counts import experience_steps
from retrograde.training.stream_loop import expected_steps

STEPS = 100_000_000
"""Most steps of a replicate: at a tenth of a millisecond, three hours."""
DRAWN = 2 * 10**11
"""Most comparisons to draw from a memory along a task: some minutes."""
NUMBER = 4
"""Bytes of a floating-point number."""
INDEX = 8
"""Bytes of an index or a count."""
COPIES = 3
"""Copies of a value at one time: the value, its source, and its result."""
SLOTS = {"sgd": 0, "momentum": 1, "nesterov": 1, "adam": 2, "adamw": 2, "adagrad": 1}
"""Copies of the parameters that an optimiser keeps."""
OBJECTS = 200
"""Bytes of the Python objects that stand for a step."""


class Need(NamedTuple):
    """Memory that one purpose takes.

    Args:
        bytes: the memory.
        what: the purpose, in words.
        settings: the settings that decide how much it takes, in words.
    """

    bytes: int
    what: str
    settings: str


def check_memory(needs: list[Need], device: torch.device | None) -> int:
    """Return how many replicates fit into the memory of the machine, or of its GPU.

    Args:
        needs: the memory that one replicate takes at one time.
        device: the device to train on; None if its memory is unknown, and any number fits.

    Raises:
        UserError: not even one replicate fits.
    """
    if device is None:
        return sys.maxsize
    total = sum(need.bytes for need in needs)
    most = max(needs)  # by the first field, the bytes
    have = memory_of(device)
    if total > have:
        raise UserError(
            f"A cell fits into memory, here {gigabytes(have)}; this one takes about "
            f"{gigabytes(total)}, of which {gigabytes(most.bytes)} are for {most.what}. "
            f"Lower {most.settings}."
        )
    return have // max(total, 1)


def memory_of(device: torch.device) -> int:
    """Memory of the machine, or of its GPU, in bytes."""
    if device.type == "cuda" and torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(device).total_memory)
    return physical_bytes()


def check_steps(steps: int, settings: str) -> None:
    """Raise `UserError` if a replicate takes more steps than the suite allows.

    Args:
        steps: steps of the replicate.
        settings: the settings that decide how many, in words.
    """
    if steps > STEPS:
        raise UserError(
            f"A replicate takes at most {STEPS} steps; this one takes {steps}. Lower {settings}."
        )


def check_stream(
    benchmark: Benchmark,
    strategy: Strategy | Learner,
    stream: Stream,
    device: torch.device | None,
) -> int:
    """Return how many replicates of a cell on a stream fit into memory.

    Args:
        benchmark: the benchmark.
        strategy: the strategy or the learner.
        stream: the stream of one replicate.
        device: the device to train on; None if its memory is unknown, and any number fits.

    Raises:
        UserError: not even one replicate fits, it takes too many steps, or the schedule of the
            learning rate is longer than the run.
    """
    steps = expected_steps(benchmark, strategy, stream)
    check_steps(steps, "epochs, steps, updates_per_batch or pretraining_steps, or raise batch_size")
    memory = strategy.memory() if isinstance(strategy, Strategy) else None
    of_tasks = experience_steps(benchmark, strategy, stream)
    if benchmark.rate_schedule.changes:
        factors(benchmark.rate_schedule, of_tasks)
    longest = max(of_tasks)
    if memory:
        _check_drawing(memory, longest)
    model = extent(benchmark.model, stream.data.shape, stream.units.shape[1])
    schedule = strategy.schedule() if isinstance(strategy, Strategy) else Schedule()
    incoming = schedule.pace(benchmark, len(stream.experiences))[0]
    width = incoming + (memory.replayed if memory else 0)
    needs = [
        *_of_tables(stream),
        *_of_steps(longest, width, stream, model),
        *_of_model(benchmark.optimizer, model),
        *_of_probes(benchmark, stream, model),
        *_of_memory(memory),
        *_of_tests(benchmark, stream, steps),
        *_of_pretraining(strategy, stream, model),
    ]
    return check_memory(needs, device)


def _check_drawing(memory: Memory, steps: int) -> None:
    """Raise `UserError` if a task takes too long to draw replayed examples for its steps."""
    # Every draw is compared with all others of its step, so that none comes twice.
    comparisons = steps * memory.rounds * memory.draw**2 // 2
    if memory.draw <= memory.size and comparisons > DRAWN:
        raise UserError(
            f"To draw {memory.draw} different examples at each of {steps} steps takes too long. "
            "Lower replay_batch or what multiplies steps, such as epochs."
        )


def _of_tables(stream: Stream) -> list[Need]:
    tasks = len(stream.tasks)
    rows = sum(len(experience.row) for experience in stream.experiences)
    rows += sum(len(part.row) for task in stream.tasks for part in task)
    tests = sum(len(task.test.row) for task in stream.tasks)
    pixels = 0 if stream.pixels is None else COPIES * stream.pixels.nbytes
    training = 2 * INDEX * rows
    testing = COPIES * 4 * INDEX * tests
    # Counts of every task after every experience, as Python's integers.
    results = INDEX * INDEX * tasks * len(stream.experiences)
    needed = pixels + training + testing + stream.units.nbytes + results
    return [Need(needed, "the tables of the tasks", "tasks, train_examples or test_examples")]


def _of_steps(longest: int, width: int, stream: Stream, model: Extent) -> list[Need]:
    rows = longest * (COPIES * len(COLUMNS) * INDEX * width + OBJECTS)
    pixels = prod(stream.data.shape)
    step = COPIES * NUMBER * width * (pixels + model.activations)
    # Without gradients, only a layer and the next one are in memory.
    test = NUMBER * CHUNK * (pixels + 2 * model.widest)
    row_settings = "epochs, steps, updates_per_batch, batch_size, or what the strategy draws"
    step_settings = "batch_size, what the strategy draws, or the model's sizes"
    return [
        Need(rows, "the rows of all steps of a task", row_settings),
        Need(step, "the examples of one step", step_settings),
        Need(test, "the examples that are tested at once", "the model's sizes"),
    ]


def _of_model(optimizer: str, model: Extent) -> list[Need]:
    initial = 1
    copies = COPIES + initial + SLOTS[optimizer]
    needed = copies * NUMBER * model.parameters
    return [Need(needed, "the model with its gradient and optimiser", "the model's sizes")]


def _of_probes(benchmark: Benchmark, stream: Stream, model: Extent) -> list[Need]:
    if not benchmark.probe_examples:
        return []
    tasks = len(stream.tasks)
    rows = tasks * min(benchmark.probe_examples, len(stream.data.y_test) + 1)
    numbers = prod(stream.data.shape) + model.activations
    examples = rows * (4 * INDEX + 2 * NUMBER * numbers)
    gradients = COPIES * 2 * tasks * NUMBER * model.parameters
    settings = "probe_examples (0: not at all), tasks or the model's sizes"
    return [
        Need(examples, "the examples of the probes", settings),
        Need(gradients, "the gradients of the probes", settings),
    ]


def _of_memory(memory: Memory | None) -> list[Need]:
    slots = memory.size if memory else 0
    return [Need(COPIES * len(COLUMNS) * INDEX * slots, "the slots of the memory", "buffer_size")]


def _of_tests(benchmark: Benchmark, stream: Stream, steps: int) -> list[Need]:
    tests = steps // benchmark.eval_every if benchmark.eval_every else 0
    needed = COPIES * INDEX * tests * len(stream.tasks)
    return [Need(needed, "the results of tests during tasks", "how often: raise eval_every")]


def _of_pretraining(strategy: Strategy | Learner, stream: Stream, model: Extent) -> list[Need]:
    offer = stream.pretraining
    if offer is None or not isinstance(strategy, Strategy) or not strategy.pretraining():
        return []
    rows = offer.trajectory_classes * (offer.shots + offer.queries) + offer.remember_examples
    numbers = prod(stream.data.shape) + model.activations
    stored = stream.data.x_train[0].nbytes
    # Pretraining episodes are drawn in blocks, but trained on one by one.
    needed = rows * COPIES * (BLOCK * stored + NUMBER * numbers)
    return [
        Need(
            needed,
            "the examples of pretraining",
            "trajectory_classes, shots, queries or remember_examples",
        )
    ]


def check_episodes(
    benchmark: EpisodicBenchmark,
    strategy: MetaStrategy,
    source: TaskDistribution,
    device: torch.device | None,
) -> int:
    """Return how many replicates of a cell of episodes fit into memory.

    Args:
        benchmark: the benchmark.
        strategy: the meta-strategy.
        source: the distribution of tasks.
        device: the device to train on; None if its memory is unknown, and any number fits.

    Raises:
        UserError: not even one replicate fits, or it takes too many steps.
    """
    check_steps(benchmark.iterations, "iterations")
    channels, *rest = source.shape
    if strategy.sees_task_parameters:
        channels += source.parameters  # a model takes task parameters as further inputs
    shape = (channels, *rest)
    model = extent(benchmark.model, shape, source.outputs)
    classes = source.support(1)
    needs = [
        *_of_tasks(benchmark, strategy, classes, prod(shape)),
        *_of_adaptation(benchmark, strategy, classes, model),
    ]
    return check_memory(needs, device)


def _of_tasks(
    benchmark: EpisodicBenchmark,
    strategy: MetaStrategy,
    classes: int,
    numbers: int,
) -> list[Need]:
    """Needs of drawn tasks, given the classes of a task and the numbers of an example."""
    example = numbers * NUMBER + 2 * INDEX
    drawn = (
        COPIES
        * BLOCK
        * benchmark.meta_batch_size
        * _training_examples(benchmark, classes)
        * example
    )
    task = _test_examples(benchmark, classes) * example + OBJECTS * (strategy.test_steps + 1)
    tested = COPIES * max(benchmark.test_tasks, PROBE_TASKS) * task
    test_settings = "test_tasks, test_shots, test_queries or test_steps"
    return [
        Need(drawn, f"the tasks of {BLOCK} meta-iterations", "meta_batch_size, shots or queries"),
        Need(tested, "the tasks that are tested", test_settings),
    ]


def _of_adaptation(
    benchmark: EpisodicBenchmark,
    strategy: MetaStrategy,
    classes: int,
    model: Extent,
) -> list[Need]:
    """Needs of the inner steps of a meta-batch, and of a test."""
    examples = _training_examples(benchmark, classes)
    inner = int(getattr(strategy, "inner_steps", 1)) + 1
    # The meta-gradient goes back through all inner steps, so that each keeps its own copies.
    numbers = inner * (COPIES * model.parameters + COPIES * examples * model.activations)
    training = benchmark.meta_batch_size * NUMBER * numbers
    testing = COPIES * _test_examples(benchmark, classes) * NUMBER * model.activations
    settings = "meta_batch_size, inner_steps, shots, queries or the model's sizes"
    test_settings = "test_shots, test_queries or the model's sizes"
    return [
        Need(training, "one meta-iteration", settings),
        Need(testing, "the test of a task", test_settings),
    ]


def _training_examples(benchmark: EpisodicBenchmark, classes: int) -> int:
    return classes * (benchmark.shots + benchmark.queries)


def _test_examples(benchmark: EpisodicBenchmark, classes: int) -> int:
    shots = benchmark.test_shots or benchmark.shots
    return classes * (shots + benchmark.test_queries)
