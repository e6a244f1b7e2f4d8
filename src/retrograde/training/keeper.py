"""The keeper: what stays of each replicate besides its record, the model and its predictions."""

from collections.abc import Collection

import numpy as np

from retrograde.records.sidecars import Kept, Predictions, Sidecar, model_file
from retrograde.streams.stream import Stream
from retrograde.training.backend import Backend
from retrograde.training.evaluation import Predictions as Evaluated


class Keeper:
    """Collects predictions along a stream, and takes the model at its end.

    Args:
        backend: The replicates.
        streams: Their streams.
        wanted: The sidecars to keep.
    """

    carries = ("predicted", "confidence")

    def __init__(
        self, backend: Backend, streams: list[Stream], wanted: Collection[Sidecar]
    ) -> None:
        self.backend = backend
        self.streams = streams
        self.wanted = wanted
        self.predicted: list[np.ndarray] = []
        self.confidence: list[np.ndarray] = []

    def add(self, found: Evaluated) -> None:
        """Keep the predictions of one evaluation."""
        if "predictions" in self.wanted:
            self.predicted.append(found.predicted)
            self.confidence.append(found.confidence)

    def kept(self, replicate: int) -> Kept | None:
        """The files of one replicate; None if nothing is kept."""
        files: dict[Sidecar, bytes] = {}
        if "model" in self.wanted:
            files["model"] = model_file(self.backend.tensors(replicate))
        # Regression predicts values, no units.
        if self.predicted:
            files["predictions"] = self._predictions(replicate).to_bytes()
        if not files:
            return None
        stream = self.streams[replicate]
        return Kept(files, [*stream.data.shape], stream.units.shape[1])

    def _predictions(self, replicate: int) -> Predictions:
        rows = self.backend.test_rows[:, replicate].reshape(-1)
        real = rows.real
        return Predictions(
            predicted=np.stack([each[replicate][real] for each in self.predicted]),
            confidence=np.stack([each[replicate][real] for each in self.confidence]),
            y=rows.y[real],
            task=rows.task[real],
            example=rows.row[real],
        )
