"""Schedules of the learning rate: a factor on the strategy's rate for every step."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64

from retrograde.errors import UserError

Course = Literal["constant", "step", "cosine"]
"""The course of the learning rate after the warm-up."""
Span = Literal["experience", "stream"]
"""The steps over which a schedule runs: those of each experience, or of the whole stream."""


class RateSchedule(NamedTuple):
    """A schedule of the learning rate.

    Args:
        course: `constant`; `step`, which multiplies the rate by `decay` at each milestone; or
            `cosine`, which anneals it to 0 (Loshchilov and Hutter 2017, arXiv 1608.03983, equation
            5, without restarts).
        milestones: For `step`, in rising order: shares of the span's steps, each below 1, or
            numbers of steps, each at least 1.
        decay: For `step`, the factor at each milestone.
        warm_up: The number of steps at the beginning of the span in which the rate rises linearly:
            the k-th of n has k / (n + 1) of it. A cosine begins after them.
        over: The span: a schedule begins anew with each experience, or runs once over the stream.
    """

    course: Course = "constant"
    milestones: tuple[float, ...] = ()
    decay: float = 0.1
    warm_up: int = 0
    over: Span = "experience"

    @property
    def changes(self) -> bool:
        """True if the rate is not the same at every step."""
        return self.course != "constant" or self.warm_up > 0

    def check(self) -> None:
        """Raise `UserError` if the milestones do not fit the course or each other."""
        given = f"milestones={','.join(f'{value:g}' for value in self.milestones)}"
        if self.course == "step" and not self.milestones:
            raise UserError(
                "schedule=step lowers the learning rate at milestones; none is given. "
                "Give such as milestones=0.5,0.75."
            )
        shares = [value for value in self.milestones if value < 1]
        if shares and len(shares) < len(self.milestones):
            raise UserError(
                "Milestones are shares below 1 or whole numbers of steps, not both; "
                f"{given}. Give such as milestones=0.5,0.75."
            )
        if not shares and any(value != int(value) for value in self.milestones):
            raise UserError(
                f"Milestones of 1 or more are numbers of steps, which are whole; {given}. "
                "Give such as milestones=500,750."
            )
        if any(np.diff(self.milestones) <= 0):
            raise UserError(f"Milestones rise; {given}. Sort them, and give each once.")


def factors(
    schedule: RateSchedule,
    steps: Sequence[int],
) -> list[Float64[np.ndarray, " step"]]:
    """The factor on the learning rate at every step.

    Args:
        schedule: The schedule.
        steps: The number of steps of each experience.

    Returns:
        One array for each experience. `constant` without warm-up gives ones.

    Raises:
        UserError: The schedule is longer than the run, or than an experience over which it runs.
    """
    if schedule.over == "experience":
        return [
            _span(schedule, count, f"experience {number} takes")
            for number, count in enumerate(steps, 1)
        ]
    whole = _span(schedule, sum(steps), "the stream takes")
    return np.split(whole, np.cumsum(steps)[:-1])


def _span(
    schedule: RateSchedule,
    count: int,
    takes: str,
) -> Float64[np.ndarray, " step"]:
    """The factors of one span of `count` steps, which `takes` names in errors."""
    warm = schedule.warm_up
    if warm and warm >= count:
        raise UserError(
            f"A warm-up ends before the schedule does; warm_up={warm}, and {takes} {count} steps. "
            f"{_remedy(schedule, 'warm_up')}"
        )
    step = np.arange(count)
    factor: Float64[np.ndarray, " step"] = np.minimum((step + 1) / (warm + 1), 1.0)
    if schedule.course == "cosine":
        # Before the cosine begins, it stands at its maximum.
        done = np.maximum(step - warm, 0) / max(count - warm, 1)
        factor *= (1 + np.cos(np.pi * done)) / 2
    for milestone in schedule.milestones:
        place = _place(schedule, float(milestone), count, takes)
        factor[place:] *= schedule.decay
    return factor


def _place(
    schedule: RateSchedule,
    milestone: float,
    count: int,
    takes: str,
) -> int:
    """The number of steps before a milestone."""
    place = round(milestone * count) if milestone < 1 else int(milestone)
    if not schedule.warm_up < place < count:
        first = f"after the warm-up of {schedule.warm_up} steps" if schedule.warm_up else ""
        raise UserError(
            f"A milestone has steps before and after it{first and ', and comes ' + first}; "
            f"milestone {milestone:g} comes after {place} steps, and {takes} {count}. "
            f"{_remedy(schedule, 'milestones')}"
        )
    return place


def _remedy(schedule: RateSchedule, setting: str) -> str:
    other = "schedule_over=stream" if schedule.over == "experience" else "more epochs"
    return f"Change {setting}, or train with {other}."
