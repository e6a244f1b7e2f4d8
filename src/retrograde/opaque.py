"""Learners that are not pure, at work: one replicate, fed batch by batch from the same schedule."""

import copy
import pickle
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from retrograde.evaluation import Hits, Used
from retrograde.learner import Learner
from retrograde.models import build
from retrograde.schedule import Schedule, test_chunks, train_rows
from retrograde.seeds import torch_seed
from retrograde.stream import Benchmark, Stream


class Opaque:
    """One replicate of a `Learner`."""

    backend = "opaque"
    compiled = False

    def __init__(self, benchmark: Benchmark, learner: Learner, stream: Stream, seed: int, device: torch.device) -> None:
        self.benchmark, self.stream, self.seed, self.device = benchmark, stream, seed, device
        self.learner = copy.deepcopy(learner)
        model = build(benchmark.model, stream.data.shape, stream.units.shape[1], torch_seed(seed, "weights"))
        self.learner.begin(model.to(device))
        self.test_rows = test_chunks([stream])
        self.at_first = self._pickled()
        self.tally: dict[str, int] = {}
        self.units = torch.from_numpy(stream.units)

    def _x(self, x: np.ndarray, row: np.ndarray, task: int) -> Tensor:
        return torch.from_numpy(self.stream.images(x, row, task)).to(self.device)

    def learn(self, number: int, progress: Callable[[int], None]) -> Used:
        """Learn one task, batch by batch; the last batch is as short as it is."""
        rows, _ = train_rows(self.stream, number, self.benchmark, Schedule(), None, None, self.seed)
        for step in rows:
            row, _, y, _ = step[step[:, 3] > 0].T
            x = self._x(self.stream.data.x_train, row, number)
            self.learner.observe(x, torch.from_numpy(y.copy()).to(self.device), number)
            progress(1)
        self.learner.end_task()
        return Used(np.array([len(rows)]), rows[..., 3].sum(keepdims=True)[0], np.array([0]))

    def evaluate(self) -> Hits:
        """Predict every test example, task by task."""
        parts = [self._predict(rows[0]) for rows in self.test_rows]
        hit, told, sound = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Hits(hit[None], told[None], np.array([sound.all()]))

    def _predict(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        scores = torch.zeros(len(rows), self.units.shape[1])
        for task in np.unique(rows[:, 1]).tolist():
            own = (rows[:, 1] == task) & (rows[:, 3] > 0)
            x = self._x(self.stream.data.x_test, rows[own, 0], task)
            with torch.no_grad():
                told = task if self.benchmark.scenario == "task" else None
                scores[torch.from_numpy(own)] = self.learner.predict(x, told).float().cpu()
        y = torch.from_numpy(rows[:, 2].copy())
        best_told = scores.masked_fill(~self.units[rows[:, 1]], -torch.inf).argmax(-1) == y
        best = best_told if self.benchmark.scenario == "task" else scores.argmax(-1) == y
        return best.numpy(), best_told.numpy(), ~scores.isnan().any(-1).numpy()

    def held_examples(self) -> list[int]:
        """Unknown: what a learner keeps is its own affair, metered in `state_bytes`."""
        return [0]

    def state_bytes(self) -> int:
        """By how many bytes the pickled learner has grown since it began; 0 where it cannot be pickled."""
        return max(0, self._pickled() - self.at_first)

    def _pickled(self) -> int:
        try:
            return len(pickle.dumps(self.learner))
        except Exception:
            return 0
