"""Measures of the loss of plasticity at the end of each experience."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from retrograde.optim import Params
from retrograde.randomness import generator
from retrograde.records.plasticity import Plasticity
from retrograde.streams.rows import Rows
from retrograde.streams.schedule import CHUNK, chunks, stack_replicates, test_rows
from retrograde.streams.stream import Stream
from retrograde.training.clocks import Clocks
from retrograde.training.stream_replicas import StreamReplicas

SHARE = 0.99
"""The share of the sum of all singular values that the effective rank holds."""
DIGITS = 6
"""Significant digits of the mean size of weights."""


class PlasticityProber:
    """Measures hidden units and weights at the end of each experience; see `Plasticity`.

    A replicate has no further measures after its parameters were not finite.
    """

    carries = ("measured",)

    def __init__(
        self,
        backend: StreamReplicas,
        streams: list[Stream],
        seeds: list[int],
        clocks: Clocks,
    ) -> None:
        self.backend = backend
        self.streams = streams
        self.seeds = seeds
        self.clocks = clocks
        self.count = backend.benchmark.plasticity_examples
        self.measured = [Plasticity([], [], []) for _ in streams]

    def end_experience(self, number: int) -> None:
        """Measure every replicate on test examples of the tasks that it has just trained."""
        with self.clocks("probe"):
            pairs = zip(self.streams, self.seeds, strict=True)
            drawn = [some_tests(stream, number, self.count, seed) for stream, seed in pairs]
            size = min(CHUNK, max(map(len, drawn)))
            rows = stack_replicates([chunks(rows, size) for rows in drawn])
            features, active = self.backend.hidden(rows)
            params = self.backend.parameters()
            for place, measured in enumerate(self.measured):
                of_replicate = {name: value[place] for name, value in params.items()}
                weight = mean_weight(of_replicate)
                if math.isfinite(weight):
                    measured.effective_rank.append(effective_rank(features[place]))
                    measured.dead_units.append(1 - active[place].double().mean().item())
                    measured.mean_weight.append(float(f"{weight:.{DIGITS}g}"))


def some_tests(stream: Stream, number: int, count: int, seed: int) -> Rows:
    """At most `count` test examples of the tasks that an experience trains, drawn at random."""
    rows = test_rows(stream)
    eligible = np.flatnonzero(np.isin(rows.task, stream.experiences[number].task))
    order = generator(seed, "plasticity", number).permutation(eligible)
    return rows[np.sort(order[:count])]


def effective_rank(features: Float[Tensor, "row feature"]) -> int:
    """The smallest number of singular values that sum to 99 % of all; 0 if all are 0."""
    values = torch.linalg.svdvals(features.double().nan_to_num()).cpu()
    # Singular values come in descending order.
    held = values.cumsum(0)
    total = values.sum()
    return int((held < SHARE * total).sum()) + 1 if total > 0 else 0


def mean_weight(params: Params) -> float:
    """The mean size of the entries of all parameters with two or more axes."""
    weights = [value.flatten() for value in params.values() if value.ndim > 1]
    return torch.cat(weights).double().abs().mean().item()
