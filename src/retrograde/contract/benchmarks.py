"""The contract of benchmarks of streams and of few-shot tasks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from retrograde.contract.claims import (
    Broken,
    Declared,
    claim_of,
    global_state,
    is_frozen,
    is_recorded,
    pickles,
)
from retrograde.contract.strategies import train_briefly
from retrograde.data.dataset import Dataset
from retrograde.data.sources import load
from retrograde.episodes.distribution import PARTITIONS, TaskBatch
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.episodic import EpisodicBenchmark
from retrograde.interface.net import Net
from retrograde.interface.state import State
from retrograde.interface.strategy import StepData, Strategy
from retrograde.randomness import generator, seeded
from retrograde.streams.stream import Examples, Experience, Stream

SEEDS = range(5)
"""The seeds whose streams are compared."""


class Trial(NamedTuple):
    """A benchmark of streams with the dataset that it cuts."""

    benchmark: Benchmark
    data: Dataset

    def stream(self, seed: int = 0) -> Stream:
        """The stream of a seed."""
        return self.benchmark.stream(self.data, seed)


def cuts_its_dataset(trial: Trial) -> None:
    """Its examples are rows of its dataset; every experience and every task has some."""
    stream = trial.stream()
    if not isinstance(stream, Stream):
        raise Broken(f"cut gives a Stream; it gave {type(stream).__name__}")
    if not stream.tasks or not stream.experiences:
        raise Broken("the stream has no task or no experience")
    for number, experience in enumerate(stream.experiences):
        _check_rows(experience, stream.data.x_train, f"experience {number}")
        _check_tasks(experience, len(stream.tasks), f"experience {number}")
    for number, task in enumerate(stream.tasks):
        _check_rows(task.test, stream.data.x_test, f"task {number}, test")
    _check_pixels(stream)


def _check_tasks(experience: Experience, tasks: int, where: str) -> None:
    task = np.asarray(experience.task)
    if task.shape != np.shape(experience.row) or task.dtype.kind != "i":
        raise Broken(f"{where}: task is an integer for each example; it is {task.shape}")
    if task.min() < 0 or task.max() >= tasks:
        raise Broken(
            f"{where}: tasks are from 0 to {tasks - 1}; they go from {task.min()} to {task.max()}"
        )


def _check_rows(examples: Examples | Experience, x: np.ndarray, where: str) -> None:
    row, y = np.asarray(examples.row), np.asarray(examples.y)
    if row.dtype.kind != "i" or y.dtype.kind != "i":
        raise Broken(f"{where}: row and y are integers; they are {row.dtype} and {y.dtype}")
    if row.ndim != 1 or row.shape != y.shape:
        raise Broken(f"{where}: row and y are as many; their shapes are {row.shape} and {y.shape}")
    if not len(row):
        raise Broken(f"{where}: there are no examples")
    if row.min() < 0 or row.max() >= len(x):
        raise Broken(
            f"{where}: rows are from 0 to {len(x) - 1}; they go from {row.min()} to {row.max()}"
        )


def _check_pixels(stream: Stream) -> None:
    pixels = stream.pixels
    if pixels is None:
        return
    count = int(np.prod(stream.data.shape))
    views = 1 + max(_last_views(stream))
    if len(pixels) < views or pixels.shape[1:] != (count,):
        raise Broken(
            f"pixels has shape (view, pixel), here at least ({views}, {count}); "
            f"it has {pixels.shape}"
        )
    # The index after the last pixel stands for a black one.
    if pixels.min() < 0 or pixels.max() > count:
        raise Broken(f"pixels are from 0 to {count}; they go from {pixels.min()} to {pixels.max()}")


def _last_views(stream: Stream) -> Iterator[int]:
    """The highest view of each experience and each task's tests."""
    for experience in stream.experiences:
        yield int(experience.views.max())
    for number, task in enumerate(stream.tasks):
        yield int(np.max(task.test.views(number)))


def labels_are_units(trial: Trial) -> None:
    """Labels are output units of their tasks, or rows of the targets; units are booleans."""
    stream = trial.stream()
    units = stream.units
    if units.dtype != bool or units.ndim != 2 or len(units) != len(stream.tasks):
        raise Broken(
            f"units is boolean of shape (task, unit), with {len(stream.tasks)} tasks; "
            f"it is {units.dtype} of shape {units.shape}"
        )
    if stream.targets is not None:
        _check_targets(stream, stream.targets)
        return
    for number, task in enumerate(stream.tasks):
        known = set(np.flatnonzero(units[number]))
        trained = [each.y[each.task == number] for each in stream.experiences]
        labels = {*np.concatenate(trained).tolist(), *task.test.y.tolist()}
        if not labels <= known:
            foreign = min(labels - known)
            raise Broken(f"task {number} has the label {foreign}, which is none of its units")


def _check_targets(stream: Stream, targets: np.ndarray) -> None:
    width = stream.units.shape[1]
    if not stream.units.all() or targets.dtype != np.float32 or targets.shape[1:] != (width,):
        raise Broken(
            "targets are float32 numbers, one for each output unit, which all tasks share; they "
            f"are {targets.dtype} of shape {targets.shape}, with {width} units"
        )
    trained = [experience.y for experience in stream.experiences]
    y = np.concatenate([*trained, *(task.test.y for task in stream.tasks)])
    if y.min() < 0 or y.max() >= len(targets):
        raise Broken(
            f"y is a row of the {len(targets)} targets; it goes from {y.min()} to {y.max()}"
        )
    if not np.isfinite(targets).all():
        raise Broken("targets are finite; some are NaN or infinite")


def has_its_size(trial: Trial) -> None:
    """The stream is as long as its settings say."""
    tasks = getattr(trial.benchmark, "tasks", None)
    stream = trial.stream()
    if isinstance(tasks, int) and len(stream.tasks) != tasks:
        raise Broken(f"tasks={tasks}, and the stream has {len(stream.tasks)}")
    trained = [len(each.row) for each in stream.experiences]
    tested = [len(task.test.row) for task in stream.tasks]
    limited = {
        "experience": (max(trained), trial.benchmark.train_examples),
        "task": (max(tested), trial.benchmark.test_examples),
    }
    for what, (largest, most) in limited.items():
        if most and largest > most:
            raise Broken(f"an {what} has {largest} examples, more than {most}")


def repeats_itself(trial: Trial) -> None:
    """The same seed gives the same stream."""
    if _content(trial.stream(3)) != _content(trial.stream(3)):
        raise Broken("two streams of seed 3 differ; draw from generator(seed, axis)")


def varies_with_the_seed(trial: Trial) -> None:
    """Other seeds give other streams."""
    contents = [_content(trial.stream(seed)) for seed in SEEDS]
    if all(content == contents[0] for content in contents):
        raise Declared(f"seeds {SEEDS[0]} to {SEEDS[-1]} give one stream: nothing in it is random")


def _content(stream: Stream) -> list[bytes]:
    of_tests = [part for task in stream.tasks for part in task]
    parts = [*stream.experiences, *of_tests]
    columns = [column for part in parts for column in part if column is not None]
    pixels = [] if stream.pixels is None else [stream.pixels]
    targets = [] if stream.targets is None else [stream.targets]
    return [array.tobytes() for array in (*columns, *pixels, *targets, stream.units)]


def uses_no_global_randomness(trial: Trial) -> None:
    """The global random generators are neither used nor changed."""
    contents = []
    for seed in (1, 2):
        with seeded(seed):
            before = global_state()
            contents.append(_content(trial.stream()))
            if global_state() != before:
                raise Broken("a global generator moved; draw from generator(seed, axis)")
    if contents[0] != contents[1]:
        raise Broken("two streams under different global seeds differ")


def tests_on_new_examples(trial: Trial) -> None:
    """No test example is a training example of the same task."""
    stream = trial.stream()
    shared = [_shared(stream, number) for number in range(len(stream.tasks))]
    if not any(shared):
        return
    number = int(np.argmax(shared))
    count = len(np.unique(stream.tasks[number].test.row))
    what = f"{shared[number]} of {count} test examples of task {number} are training examples too"
    # A dataset that a benchmark only divides may hold an image twice.
    if stream.data is trial.data:
        raise Declared(f"{what}, in the dataset {trial.data.name} itself")
    raise Broken(what)


def _shared(stream: Stream, number: int) -> int:
    """The number of test examples of a task whose numbers are those of a training example."""
    trained = [each.row[each.task == number] for each in stream.experiences]
    rows = np.unique(np.concatenate(trained))
    known = {stream.data.x_train[row].tobytes() for row in rows}
    tested = np.unique(stream.tasks[number].test.row)
    return sum(stream.data.x_test[row].tobytes() in known for row in tested)


@dataclass(frozen=True)
class _Plain(Strategy):
    """Gradient steps on the incoming examples."""

    def step(self, net: Net, state: State, data: StepData) -> State:
        """See `Strategy.step`."""
        return net.update(state, net.grad(state.params, data.incoming), 0.01)


def can_be_trained_on(trial: Trial) -> None:
    """Plain gradient steps train on it with its model."""
    train_briefly(_Plain(), trial.benchmark, trial.stream())


STREAM_CHECKS: tuple[Callable[[Trial], None], ...] = (
    cuts_its_dataset,
    labels_are_units,
    has_its_size,
    repeats_itself,
    varies_with_the_seed,
    uses_no_global_randomness,
    tests_on_new_examples,
    can_be_trained_on,
)


class EpisodeTrial(NamedTuple):
    """A benchmark of few-shot tasks with the dataset that it draws from, if it has one."""

    benchmark: EpisodicBenchmark
    data: Dataset | None

    def draw(self, partition: Any = "train", seed: int = 0) -> TaskBatch:
        """Three tasks."""
        tasks = self.benchmark.distribution(self.data, 0)
        shots, queries = self.benchmark.shots, self.benchmark.queries
        return tasks.draw(partition, 3, shots, queries, generator(seed, "tasks"))


def draws_tasks(trial: EpisodeTrial) -> None:
    """Each partition gives tasks of the declared shapes."""
    tasks = trial.benchmark.distribution(trial.data, 0)
    for partition in PARTITIONS:
        drawn = trial.draw(partition)
        if drawn.x.shape[2:] != tuple(tasks.shape) or drawn.x.shape[:2] != drawn.y.shape[:2]:
            raise Broken(
                f"{partition}: x has shape (task, example, {tasks.shape}), and y as many examples; "
                f"they have {drawn.x.shape} and {drawn.y.shape}"
            )
        if not np.isfinite(drawn.x).all():
            raise Broken(f"{partition}: an example is not finite")


def draws_the_same_tasks_again(trial: EpisodeTrial) -> None:
    """The same generator gives the same tasks, and another one others."""
    first, again, other = (trial.draw(seed=seed) for seed in (1, 1, 2))
    if not np.array_equal(first.x, again.x):
        raise Broken("two draws from equal generators differ; draw from the one that is given")
    if np.array_equal(first.x, other.x):
        raise Broken("draws from two generators are equal; draw from the one that is given")


EPISODE_CHECKS: tuple[Callable[[EpisodeTrial], None], ...] = (
    draws_tasks,
    draws_the_same_tasks_again,
)


def checks_of(
    part: Benchmark | EpisodicBenchmark,
    folder: Path,
) -> list[tuple[str, Callable[[Any], None]]]:
    """The claims that a benchmark must satisfy, each with a check of the benchmark.

    Args:
        part: The benchmark.
        folder: The data folder.

    Raises:
        UserError: Its dataset is not available.
    """
    data = load(part.dataset, folder) if part.dataset else None
    general = (is_frozen, pickles, is_recorded)
    trial: Trial | EpisodeTrial
    checks: tuple[Callable[[Any], None], ...]
    if isinstance(part, EpisodicBenchmark):
        trial, checks = EpisodeTrial(part, data), EPISODE_CHECKS
    else:
        if data is None:
            generates = type(part).generated is not Benchmark.generated
            # Another benchmark without a dataset of its own makes one, of whatever it is given.
            data = part.generated() if generates else load("digits", folder)
        trial = Trial(part, data)
        checks = STREAM_CHECKS
    own = [(claim_of(check), partial(_with, check, trial)) for check in checks]
    return [*own, *((claim_of(check), check) for check in general)]


def _with(check: Callable[[Any], None], trial: Any, _part: object) -> None:
    check(trial)
