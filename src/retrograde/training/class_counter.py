"""Counting of predictions by class, for the record of one replicate."""

import numpy as np
from jaxtyping import Bool, Int64

from retrograde.records.class_counts import ClassCounts
from retrograde.streams.rows import Rows
from retrograde.streams.stream import Stream


class ClassCounter:
    """Correct answers by pair of a task and an output unit, a row for each evaluation.

    Args:
        stream: The stream of the replicate.
        rows: Its test examples, in chunks; padding has weight 0 and is not counted.
        counts_predictions: True if the predictions of each output unit are counted too.
    """

    def __init__(
        self,
        stream: Stream,
        rows: Int64[Rows, "chunk row"],
        counts_predictions: bool,
    ) -> None:
        flat = rows.reshape(-1)
        self.real: Bool[np.ndarray, " row"] = flat.real
        self.units = stream.units.shape[1]
        self.counts_predictions = counts_predictions
        codes = (flat.task * self.units + flat.y)[self.real]
        # The shape of the inverse differs between versions of NumPy.
        self.pairs, pair, self.examples = np.unique(codes, return_inverse=True, return_counts=True)
        self.pair = pair.reshape(-1)
        self.first = _first(stream, self.pairs)
        self.correct: list[list[int]] = []
        self.predicted: list[list[int]] = []

    def add(self, correct: Bool[np.ndarray, " row"], predicted: Int64[np.ndarray, " row"]) -> None:
        """Count one evaluation, from the correctness and the prediction of each row."""
        of_right = self.pair[correct[self.real]]
        self.correct.append(np.bincount(of_right, minlength=len(self.pairs)).tolist())
        if self.counts_predictions:
            counts = np.bincount(predicted[self.real], minlength=self.units)
            self.predicted.append(counts.tolist())

    def counts(self) -> ClassCounts:
        """The counts of all evaluations so far."""
        task, output = np.divmod(self.pairs, self.units)
        return ClassCounts(
            task.tolist(),
            output.tolist(),
            self.examples.tolist(),
            self.first.tolist(),
            self.correct,
            self.predicted,
        )


def _first(stream: Stream, pairs: Int64[np.ndarray, " pair"]) -> Int64[np.ndarray, " pair"]:
    """The experience in which each pair first comes; the number of experiences if none does."""
    units = stream.units.shape[1]
    arrivals = [each.task * units + each.y for each in stream.experiences]
    first = np.full(len(pairs), len(arrivals))
    # An earlier experience replaces a later one.
    for number, codes in reversed([*enumerate(arrivals)]):
        first[np.isin(pairs, codes)] = number
    return first
