"""Parts of a stream that settings are chosen on."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
from jaxtyping import Int64

from retrograde.data.dataset import Dataset
from retrograde.errors import UserError
from retrograde.streams.stream import Examples, Experience, Stream, Task


def some_experiences(stream: Stream, skipped: int, first: int) -> Stream:
    """The stream with only some of its experiences, and with the tasks that are theirs.

    Output units stay: those of tasks that are left out never get an example.

    Args:
        stream: The stream.
        skipped: The number of experiences left out at the start.
        first: The number of experiences of the stream, counted from its start, after which all are
            left out; 0: none are.

    Raises:
        UserError: No experience is left, or a task has examples in experiences of both kinds.
    """
    count = len(stream)
    stop = first or count
    if not skipped < stop <= count:
        raise UserError(
            f"At least one experience is left of the {count} of the stream; "
            f"skip_experiences={skipped} and first_experiences={first} leave none, or are more."
        )
    experiences = stream.experiences[skipped:stop]
    tasks = np.unique(np.concatenate([experience.task for experience in experiences]))
    others = stream.experiences[:skipped] + stream.experiences[stop:]
    for experience in others:
        shared = np.intersect1d(experience.task, tasks)
        if len(shared):
            raise UserError(
                "first_experiences and skip_experiences cut a stream between tasks; task "
                f"{shared[0] + 1} has examples on both sides of the cut. Take another stream."
            )
    shows = stream.pixels is not None
    return replace(
        stream,
        experiences=tuple(_renumbered(experience, tasks, shows) for experience in experiences),
        tasks=tuple(_shown_as(stream.tasks[task], int(task), shows) for task in tasks),
        units=stream.units[tasks],
        learned_after=_moved(stream, tasks, skipped),
    )


def _renumbered(experience: Experience, tasks: Int64[np.ndarray, " _"], shows: bool) -> Experience:
    """An experience whose tasks are numbered by their places among `tasks`."""
    view = experience.views if shows else None
    return experience._replace(task=np.searchsorted(tasks, experience.task), view=view)


def _shown_as(task: Task, number: int, shows: bool) -> Task:
    """A task whose examples are seen by the views that its number had."""

    def with_views(examples: Examples) -> Examples:
        view = np.broadcast_to(np.asarray(examples.views(number)), examples.row.shape)
        return examples._replace(view=view if shows else None)

    return Task(with_views(task.test), with_views(task.validation))


def _moved(stream: Stream, tasks: Int64[np.ndarray, " _"], skipped: int) -> tuple[int, ...] | None:
    """The experiences after which the tasks count as learned, in the new numbers."""
    if stream.learned_after is None:
        return None
    return tuple(stream.learned_after[task] - skipped for task in tasks)


def judged_by_validation(stream: Stream) -> Stream:
    """The stream with its validation examples as its test examples.

    The test examples of the dataset are not in it at all.

    Raises:
        UserError: A task has no validation examples.
    """
    if not all(len(task.validation.row) for task in stream.tasks):
        raise UserError(
            "evaluate_on=validation scores on the validation examples of each task, and "
            f"{stream.data.name} has none. Give validation=0.1, or a dataset with x_val and y_val."
        )
    tasks = tuple(Task(task.validation) for task in stream.tasks)
    return replace(stream, data=_without_tests(stream.data), tasks=tasks)


@lru_cache(maxsize=1)  # all replicates share it
def _without_tests(data: Dataset) -> Dataset:
    """The dataset with its training examples as its test examples too; nothing is copied."""
    # A stream of tasks that the dataset gives is cut already.
    return replace(data, x_test=data.x_train, y_test=data.y_train, task_train=None, task_test=None)
