"""A metric: a name, a version, a source, and a pure function of the accuracy matrix."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int64

R = Float[np.ndarray, "*replicates rows tasks"]
"""One accuracy matrix, or a stack of them."""


OfTasks = Int64[np.ndarray, " tasks"]
"""A number for each task, such as the experience after which it counts as learned."""


Score = Float[np.ndarray, "*replicates"]
"""One number for one matrix, one number each for a stack."""


class Metric(NamedTuple):
    """A score with its name, version and source.

    `of` computes it. `what` describes the score in tables. `needs` names the arguments of `of`, in
    order:

    - R, R_task_aware, R_validation, joint: accuracy matrices, alone or in a stack; `joint` is of an
      upper bound.
    - MSE: in regression, matrices of mean squared errors, alone or in a stack.
    - first, learned: the experience, from 0, in which each task is first seen, and after which it
      counts as learned; one array for the whole stack.
    - examples: the number of test examples of each task, alone or in a stack.
    - seen: the accuracy on the classes seen so far after each experience, pooled over their test
      examples, alone or in a stack.
    - online_accuracy, timeline, classes, prequential: these fields of one record.

    `percent` is False if the score is no share of 1.
    """

    name: str
    of: Callable[..., Any]
    what: str
    source: str
    needs: tuple[str, ...] = ("R",)
    higher_is_better: bool = True
    version: int = 1
    percent: bool = True
