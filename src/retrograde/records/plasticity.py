"""Plasticity: the state of a network's hidden units and weights along a stream."""

from dataclasses import dataclass

from retrograde.records.schema import Length, Share, Whole


@dataclass(frozen=True)
class Plasticity:
    """Measures of the loss of plasticity, one value for the end of each experience.

    They are those of Dohare et al. 2024 (Nature 632; arXiv 2306.13812), on
    `Benchmark.plasticity_examples` test examples of the tasks that the experience trains.

    Attributes:
        effective_rank: the smallest number of singular values of the last hidden layer's
            activations that sum to 99 % of all (srank, Kumar et al. 2021, arXiv 2010.14498; the
            authors' `approximate_rank_abs`).
        dead_units: share of the ReLU units that are 0 on every example. A channel of a
            convolution is one unit.
        mean_weight: mean size of the weights, without biases and other vectors.
    """

    effective_rank: list[Whole]
    dead_units: list[Share]
    mean_weight: list[Length]

    def inconsistency(self, experiences: int) -> str:
        """Description of the first inconsistency; empty if there is none.

        Args:
            experiences: number of experiences of the stream.
        """
        lengths = {len(self.effective_rank), len(self.dead_units), len(self.mean_weight)}
        if lengths != {experiences}:
            return "plasticity: the values do not fit the experiences of the stream"
        return ""
