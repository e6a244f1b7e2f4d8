"""A metric: a name, a version, a source, and a pure function of the accuracy matrix."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

R = Float[np.ndarray, "*replicates rows tasks"]


Score = Float[np.ndarray, "*replicates"]
"""Of one matrix a number, of a stack of them one each."""


class Metric(NamedTuple):
    """A score's name, version and source; `needs` says what `of` takes: matrices, alone or in stacks, or one course."""

    name: str
    of: Callable[..., Any]
    what: str
    source: str
    needs: tuple[str, ...] = ("R",)
    higher_is_better: bool = True
    version: int = 1
