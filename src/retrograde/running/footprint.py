"""Memory and steps that a cell takes, estimated from its settings before anything of their size is allocated.

The estimates count what grows with a setting: tables of a stream, rows of steps, copies of the model, gradients that probes
hold, drawn episodes. What a strategy keeps of its own and what the libraries take come on top.
"""

import sys
from math import prod
from typing import NamedTuple

import torch

from retrograde.episodes.distribution import Distribution
from retrograde.errors import UserError, gigabytes
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.episodic import Episodic
from retrograde.interface.learner import Learner
from retrograde.interface.metastrategy import MetaStrategy
from retrograde.interface.strategy import Strategy, prepares
from retrograde.machine import physical_bytes
from retrograde.models.build import Extent, extent
from retrograde.records.few_shot import WATCHED
from retrograde.streams.memory import Memory
from retrograde.streams.pretraining import BLOCK as LESSONS
from retrograde.streams.schedule import CHUNK, Schedule
from retrograde.streams.stream import Stream
from retrograde.training.episode_replicas import BLOCK
from retrograde.training.stream_loop import expected_steps, task_steps

STEPS = 100_000_000
"""Steps of a replicate: at a tenth of a millisecond, three hours."""
DRAWN = 2 * 10**11
"""Comparisons that drawing from a memory takes along a task: some minutes."""
NUMBER, INDEX = 4, 8
"""Bytes of a number that is computed with, and of one that counts."""
COPIES = 3
"""A value, what it is made of, and what is made of it."""
SLOTS = {"sgd": 0, "momentum": 1, "adam": 2}
"""Copies of the parameters that an optimiser keeps."""
OBJECTS = 200
"""Bytes of the Python objects that stand for a step."""


class Need(NamedTuple):
    """Memory that is needed at one time, what for, and the settings that decide how much."""

    bytes: int
    what: str
    settings: str


def check_memory(needs: list[Need], device: torch.device | None) -> int:
    """How many replicates with these needs the memory of the machine, or of its GPU, holds; raises `UserError` if none.

    Without a device the memory is not known, and any number fits.
    """
    if device is None:
        return sys.maxsize
    total = sum(need.bytes for need in needs)
    most = max(needs)
    have = memory_of(device)
    if total > have:
        raise UserError(
            f"A cell fits into memory, here {gigabytes(have)}; this one takes about {gigabytes(total)}, of which "
            f"{gigabytes(most.bytes)} are for {most.what}. Lower {most.settings}."
        )
    return have // max(total, 1)


def memory_of(device: torch.device) -> int:
    """The bytes of the machine, or of its GPU."""
    if device.type == "cuda" and torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(device).total_memory)
    return physical_bytes()


def check_steps(steps: int, settings: str) -> None:
    """Raise `UserError` where a replicate takes more steps than the suite does."""
    if steps > STEPS:
        raise UserError(
            f"A replicate takes at most {STEPS} steps; this one takes {steps}. Lower {settings}."
        )


def check_stream(
    benchmark: Benchmark, strategy: Strategy | Learner, stream: Stream, device: torch.device | None
) -> int:
    """How many replicates of a cell on a stream fit into memory; raises `UserError` if none, or if it takes too many steps."""
    check_steps(
        expected_steps(benchmark, strategy, stream),
        "epochs, steps, glances or lessons, or raise batch",
    )
    memory = strategy.remember() if isinstance(strategy, Strategy) else None
    longest = max(task_steps(benchmark, strategy, stream))
    if (
        memory
        and memory.draw <= memory.size
        and longest * memory.rounds * memory.draw**2 // 2 > DRAWN
    ):
        raise UserError(
            f"To draw {memory.draw} different examples at each of {longest} steps takes too long. Lower draw or what "
            "multiplies steps, such as epochs."
        )
    model = extent(benchmark.model, stream.data.shape, stream.units.shape[1])
    schedule = strategy.schedule() if isinstance(strategy, Strategy) else Schedule()
    width = schedule.pace(benchmark, len(stream.tasks))[0] + (memory.replayed if memory else 0)
    needs = [
        *_of_tables(stream),
        *_of_steps(longest, width, stream, model),
        *_of_model(benchmark.optimizer, model),
        *_of_probes(benchmark, stream, model),
        *_of_memory(memory),
        *_of_tests(benchmark, stream, expected_steps(benchmark, strategy, stream)),
        *_of_lessons(strategy, stream, model),
    ]
    return check_memory(needs, device)


def _of_tables(stream: Stream) -> list[Need]:
    tasks = len(stream.tasks)
    rows = sum(len(part.row) for task in stream.tasks for part in task)
    tests = sum(len(task.test.row) for task in stream.tasks)
    pixels = 0 if stream.pixels is None else stream.pixels.nbytes
    tables = COPIES * pixels + 2 * INDEX * rows + COPIES * 4 * INDEX * tests + stream.units.nbytes
    results = (
        INDEX * INDEX * tasks**2
    )  # counts of every task after every task, as Python's integers
    return [Need(tables + results, "the tables of the tasks", "tasks, examples or tests")]


def _of_steps(longest: int, width: int, stream: Stream, model: Extent) -> list[Need]:
    rows = longest * (COPIES * 5 * INDEX * width + OBJECTS)
    numbers = prod(stream.data.shape) + model.activations
    step = COPIES * NUMBER * width * numbers
    test = NUMBER * CHUNK * (prod(stream.data.shape) + 2 * model.widest)  # a layer and the next one
    return [
        Need(
            rows,
            "the rows of all steps of a task",
            "epochs, steps, glances, batch, or what the strategy draws",
        ),
        Need(
            step, "the examples of one step", "batch, what the strategy draws, or the model's sizes"
        ),
        Need(test, "the examples that are tested at once", "the model's sizes"),
    ]


def _of_model(optimizer: str, model: Extent) -> list[Need]:
    copies = COPIES + 1 + SLOTS[optimizer]  # with the initial ones
    return [
        Need(
            copies * NUMBER * model.parameters,
            "the model with its gradient and optimiser",
            "the model's sizes",
        )
    ]


def _of_probes(benchmark: Benchmark, stream: Stream, model: Extent) -> list[Need]:
    if not benchmark.probe:
        return []
    tasks = len(stream.tasks)
    rows = tasks * min(benchmark.probe, len(stream.data.y_test) + 1)
    examples = rows * (4 * INDEX + 2 * NUMBER * (prod(stream.data.shape) + model.activations))
    gradients = COPIES * 2 * tasks * NUMBER * model.parameters
    settings = "probe (0: not at all), tasks or the model's sizes"
    return [
        Need(examples, "the examples of the probes", settings),
        Need(gradients, "the gradients of the probes", settings),
    ]


def _of_memory(memory: Memory | None) -> list[Need]:
    slots = memory.size if memory else 0
    return [Need(COPIES * 5 * INDEX * slots, "the slots of the memory", "memory")]


def _of_tests(benchmark: Benchmark, stream: Stream, steps: int) -> list[Need]:
    tests = steps // benchmark.test_every if benchmark.test_every else 0
    return [
        Need(
            COPIES * INDEX * tests * len(stream.tasks),
            "the results of tests amid tasks",
            "how often: raise test_every",
        )
    ]


def _of_lessons(strategy: Strategy | Learner, stream: Stream, model: Extent) -> list[Need]:
    offer = stream.preparation
    if offer is None or not isinstance(strategy, Strategy) or not prepares(strategy):
        return []
    rows = offer.classes * (offer.shots + offer.queries) + offer.rehearsed
    numbers = prod(stream.data.shape) + model.activations
    needed = rows * COPIES * (LESSONS * 4 * INDEX + NUMBER * numbers)
    return [Need(needed, "the examples of lessons", "trajectory, shots, queries or rehearsed")]


def check_episodes(
    benchmark: Episodic, strategy: MetaStrategy, source: Distribution, device: torch.device | None
) -> int:
    """How many replicates of a cell of episodes fit into memory; raises `UserError` if none, or if it takes too many steps."""
    check_steps(benchmark.iterations, "iterations")
    shape = (source.shape[0] + source.facts, *source.shape[1:]) if strategy.told else source.shape
    model = extent(benchmark.model, tuple(shape), source.outputs)
    one, classes = prod(shape) * NUMBER + 2 * INDEX, source.support(1)
    examples = classes * (benchmark.shots + benchmark.queries)
    tests = classes * ((benchmark.test_shots or benchmark.shots) + benchmark.test_queries)
    drawn = COPIES * BLOCK * benchmark.tasks * examples * one
    tested = (
        COPIES
        * max(benchmark.test_tasks, WATCHED)
        * (tests * one + OBJECTS * (strategy.test_steps + 1))
    )
    inner = int(getattr(strategy, "steps", 1)) + 1
    numbers = inner * (COPIES * model.parameters + COPIES * examples * model.activations)
    needs = [
        Need(drawn, f"the tasks of {BLOCK} meta-iterations", "tasks, shots or queries"),
        Need(
            tested,
            "the tasks that are tested",
            "test_tasks, test_shots, test_queries or test_steps",
        ),
        Need(
            benchmark.tasks * NUMBER * numbers,
            "one meta-iteration",
            "tasks, steps, shots, queries or the model's sizes",
        ),
        Need(
            COPIES * tests * NUMBER * model.activations,
            "the test of a task",
            "test_shots, test_queries or the model's sizes",
        ),
    ]
    return check_memory(needs, device)
