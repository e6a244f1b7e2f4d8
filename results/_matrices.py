"""Accuracy matrices of the replicates of one cell."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def mean_matrix(
    matrices: Sequence[Float[np.ndarray, "_ task"]],
) -> Float[np.ndarray, "row task"]:
    """The mean over replicates; one whose stream is over stays as it was at the end."""
    rows = max(map(len, matrices))
    # the number of experiences may depend on the seed
    whole = [np.pad(each, ((0, rows - len(each)), (0, 0)), mode="edge") for each in matrices]
    return np.asarray(np.mean(whole, axis=0))
