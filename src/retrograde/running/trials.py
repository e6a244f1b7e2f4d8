"""The trials of one search: runs that are scored on validation examples."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape

from retrograde.errors import UserError
from retrograde.metrics.conventions import metrics
from retrograde.metrics.frames import cell_labels, score_frame
from retrograde.metrics.pooled import POOLED
from retrograde.records.record import Record

CHOSEN_BY = ("ACC", "ACC_pooled", "AIA", "LA")
"""The scores that settings may be chosen by: accuracies, which every stream of classes has."""

Train = Callable[[list[str], Sequence[int]], list[Record]]
"""Trains strategies, as text, on some seeds, where a store has no records of them yet."""


class Trials:
    """The trials of a search, with their scores by strategy and seed.

    Args:
        train: Trains on the benchmark of the trials.
        metric: The score, one of `CHOSEN_BY`.
        seeds: The number of seeds of a trial.
        out: The console for the best trial so far.
    """

    def __init__(self, train: Train, metric: str, seeds: int, out: Console) -> None:
        self.scores: dict[str, dict[int, float]] = {}
        self._train = train
        (self._metric,) = (each for each in metrics("own") + POOLED if each.name == metric)
        self._seeds = seeds
        self._out = out

    def run(self, specs: list[str], seeds: Sequence[int]) -> None:
        """Run trials on some seeds, and note their scores."""
        if not (specs and seeds):
            return
        for record in self._train(specs, seeds):
            of_spec = self.scores.setdefault(record.cell.strategy.spec, {})
            of_spec[record.seed] = self._score(record)
        leader = self._leader()
        if leader:
            self._out.print(
                f"best so far: {escape(leader)}, {self._metric.name} "
                f"{100 * self.mean(leader):.2f} % on validation examples "
                f"({len(self.scores[leader])} of {self._seeds} seeds); {len(self.scores)} trials"
            )

    def race(self, specs: list[str]) -> None:
        """Run every trial on the first seed, and those that can still win on the others."""
        others = range(1, self._seeds)
        self.run(specs, [0])
        # A leader may diverge on another seed; the next one then takes its place.
        while others and (leader := self._leader()) and not self._whole(leader):
            self.run([leader], others)
        best = self._best()
        if best is not None and others:
            self.run([each for each in specs if self._can_win(each, best)], others)

    def mean(self, spec: str) -> float:
        """The mean score of a trial over its seeds; NaN if one of them is not done."""
        return float(np.mean([*self.scores[spec].values()]))

    def best(self) -> str:
        """The trial with the highest mean of those that had every seed.

        Raises:
            UserError: Every trial diverged or failed.
        """
        best = self._best()
        if best is None:
            raise UserError(
                "A search chooses among trials that ended; all "
                f"{len(self.scores)} diverged or failed. Search lower rates."
            )
        return best

    def frame(self) -> pd.DataFrame:
        """Every trial with its number of seeds and its mean score, the best first."""
        rows = [(spec, len(each), self.mean(spec)) for spec, each in self.scores.items()]
        name = self._metric.name
        frame = pd.DataFrame(rows, columns=["strategy", "seeds", name])
        return frame.sort_values(name, ascending=False, kind="stable", ignore_index=True)

    def _score(self, record: Record) -> float:
        """The score of a replicate on its validation examples; NaN if it is not done."""
        frame = score_frame([record], cell_labels([record]), [self._metric])
        return float(frame.value.iloc[0]) if len(frame) else float("nan")

    def _whole(self, spec: str) -> bool:
        return len(self.scores[spec]) == self._seeds

    def _leader(self) -> str | None:
        """The best trial on the seeds that each has so far; None if none is finite."""
        finite = [spec for spec in self.scores if np.isfinite(self.mean(spec))]
        return max(finite, key=self.mean, default=None)

    def _best(self) -> str | None:
        """The best of the trials that had every seed; None if none is finite."""
        whole = [spec for spec in self.scores if self._whole(spec) and np.isfinite(self.mean(spec))]
        return max(whole, key=self.mean, default=None)

    def _can_win(self, spec: str, best: str) -> bool:
        """False if a trial has had its seeds, or loses whatever the others give: at most 1 each."""
        if self._whole(spec) or not np.isfinite(self.mean(spec)):
            return False
        known = [*self.scores[spec].values()]
        most = (sum(known) + self._seeds - len(known)) / self._seeds
        return most > self.mean(best)
