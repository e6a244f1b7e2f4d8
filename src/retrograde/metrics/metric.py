"""A metric: a name, a version, a source, and a pure function of the accuracy matrix."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

R = Float[np.ndarray, "*replicates rows tasks"]
"""One accuracy matrix, or a stack of them."""


Score = Float[np.ndarray, "*replicates"]
"""One number for one matrix, one number each for a stack."""


class Metric(NamedTuple):
    """A score with its name, version and source.

    `of` computes it. `needs` names the arguments of `of`: matrices, alone or in stacks, or the
    accuracies along one stream. `what` describes the score in tables.
    """

    name: str
    of: Callable[..., Any]
    what: str
    source: str
    needs: tuple[str, ...] = ("R",)
    higher_is_better: bool = True
    version: int = 1
