"""Training examples with wrong labels, or few with labels at all."""

from dataclasses import replace

import numpy as np

from retrograde.errors import UserError
from retrograde.streams.stream import Experience, Stream


def noisy_labels(stream: Stream, probability: float, random: np.random.Generator) -> Stream:
    """The stream with some training labels replaced by another output unit of the same task.

    A row of the dataset that comes several times has the wrong label, if any, every time.

    Args:
        stream: The stream.
        probability: The probability that a label is replaced ("symmetric noise").
        random: The generator of the choices.

    Raises:
        UserError: A task has one output unit alone.
    """
    few = np.flatnonzero(stream.units.sum(1) < 2)
    if len(few):
        raise UserError(
            "A wrong label is another one of its task; task "
            f"{few[0] + 1} has one class, and label_noise={probability:g}. "
            "Leave out label_noise, or put more classes into a task."
        )
    rows = len(stream.data.y_train)
    wrong = random.random(rows) < probability
    which = random.random(rows)
    experiences = [_relabelled(each, wrong, which, stream.units) for each in stream.experiences]
    return replace(stream, experiences=tuple(experiences))


def _relabelled(
    experience: Experience, wrong: np.ndarray, which: np.ndarray, units: np.ndarray
) -> Experience:
    y = experience.y.copy()
    for place in np.flatnonzero(wrong[experience.row]):
        others = np.flatnonzero(units[experience.task[place]])
        others = others[others != y[place]]
        y[place] = others[int(which[experience.row[place]] * len(others))]
    return experience._replace(y=y)


def few_labels(stream: Stream, share: float, random: np.random.Generator) -> Stream:
    """The stream with a share of the training examples of each class in each experience.

    The others have no labels, and are left out: no method here learns from examples without them.

    Args:
        stream: The stream.
        share: The share that is kept, at least one example of each class in each experience.
        random: The generator of the choices.
    """
    turns = random.random(len(stream.data.y_train))
    experiences = []
    for experience in stream.experiences:
        kept = np.zeros(len(experience.y), dtype=bool)
        for task, unit in {*zip(experience.task.tolist(), experience.y.tolist(), strict=True)}:
            place = np.flatnonzero((experience.task == task) & (experience.y == unit))
            in_turn = place[np.argsort(turns[experience.row[place]], kind="stable")]
            kept[in_turn[: max(1, round(share * len(place)))]] = True
        experiences.append(experience.at(kept))
    return replace(stream, experiences=tuple(experiences))
