"""Forgetting and transfer with the formulas of stated versions of other suites."""

from collections.abc import Iterable, Sequence

import numpy as np

from retrograde.errors import UserError, nearest
from retrograde.metrics.errors import ERRORS
from retrograde.metrics.matrix import METRICS, before_last, bti, bwt, fwt
from retrograde.metrics.metric import Metric, OfTasks, R, Score
from retrograde.metrics.online import METRICS as ONLINE
from retrograde.metrics.pooled import POOLED
from retrograde.records.record import Record


def mammoth_forgetting(r: R, first: OfTasks, learned: OfTasks) -> Score:
    """Mammoth's mean forgetting: 1/(T-1) sum_{j<T} (max_{j-1<=l<=T} R[l, j] - R[T, j]).

    The maximum includes the last row, so that forgetting is at least 0. A task is tested once
    before it is trained, after the task before it (`utils/training.py` of Mammoth's first release).
    It is the mean over the tasks learned before the last experience; NaN if there is none.
    """
    early = before_last(r, learned)
    if not early.any():
        return np.full(r.shape[:-2], np.nan)
    rows = np.arange(1, r.shape[-2])[:, None]
    # accuracies before a task is tested become 0
    tested = r[..., 1:, :] * (rows >= first)
    drops = tested.max(axis=-2) - r[..., -1, :]
    return np.asarray(np.compress(early, drops, axis=-1).mean(axis=-1))


def avalanche_forgetting(r: R, learned: OfTasks) -> Score:
    """Avalanche's mean forgetting: 1/(T-1) sum_{j<T} (R[j, j] - R[T, j]).

    The accuracy on a task when it was learned less the last.
    """
    return np.asarray(-bwt(r, learned))


def gem_fwt(r: R, first: OfTasks) -> Score:
    """GEM's forward transfer: 1/T sum_{i>1} (R[i-1, i] - R[0, i]).

    The terms of tasks that are seen in the first experience are 0.
    """
    later = int((first > 0).sum())
    return np.asarray(fwt(r, first) * later / r.shape[-1])


def _over_all_tasks(name: str, source: str) -> dict[str, Metric]:
    """Transfer over T tasks instead of T-1, as the code of GEM and its descendants computes it."""
    return {
        "BWT": Metric(
            f"BWT_{name}",
            bti,
            "backward transfer, over T tasks, as in the released code",
            source,
            ("R", "learned"),
        ),
        "FWT": Metric(
            f"FWT_{name}",
            gem_fwt,
            "forward transfer, over T tasks, as in the released code",
            source,
            ("R", "first"),
        ),
    }


CONVENTIONS = {
    "own": {},
    "avalanche": {
        "forgetting": Metric(
            "forgetting_avalanche",
            avalanche_forgetting,
            "mean drop from the accuracy right after learning",
            "Lomonaco et al. 2021, released code, version 0.6.0",
            ("R", "learned"),
            higher_is_better=False,
        )
    },
    "gem": _over_all_tasks("gem", "Lopez-Paz and Ranzato 2017"),
    "lamaml": _over_all_tasks("lamaml", "Gupta et al. 2020"),
    "mammoth": {
        "forgetting": Metric(
            "forgetting_mammoth",
            mammoth_forgetting,
            "mean drop from a task's best accuracy, at the end or earlier",
            "Buzzega et al. 2020, Mammoth's first release",
            ("R", "first", "learned"),
            higher_is_better=False,
        )
    },
}
"""For each convention, the scores that replace ours, by the name of the score replaced."""

VERSIONS = {
    "avalanche": "Avalanche 0.6.0",
    "gem": "the code of Lopez-Paz and Ranzato 2017",
    "lamaml": "the code of Gupta et al. 2020",
    "mammoth": (
        "Mammoth's first release of 2020 "
        "(later ones measure FWT against the same model just before a task)"
    ),
}
"""For each convention, the code with these formulas. Other versions may compute other numbers."""


def metrics(convention: str) -> tuple[Metric, ...]:
    """The scores of a convention; ours where it has none of its own.

    Raises:
        UserError: there is no convention of this name.
    """
    if convention not in CONVENTIONS:
        raise UserError(
            f"There is no convention {convention!r} of scores. {nearest(convention, CONVENTIONS)}"
        )
    replaced = CONVENTIONS[convention]
    return tuple(replaced.get(metric.name, metric) for metric in METRICS)


def all_metrics() -> dict[str, Metric]:
    """Every metric by its name: ours first, then those of other conventions."""
    ours = (*metrics("own"), *POOLED, *ONLINE, *ERRORS)
    foreign = [metric for convention in CONVENTIONS for metric in metrics(convention)]
    return {metric.name: metric for metric in (*ours, *foreign)}


def applicable(records: Sequence[Record], convention: str = "own") -> tuple[Metric, ...]:
    """The scores that some records of streams may have.

    Raises:
        UserError: there is no convention of this name.
    """
    errors = [bool(record.squared_errors) for record in records]
    scored: tuple[Metric, ...] = ()
    # an empty store has the metrics of accuracy
    if not errors or not all(errors):
        scored += metrics(convention) + (POOLED if _pooled(records) else ())
    return scored + (ERRORS if any(errors) else ())


def _pooled(records: Iterable[Record]) -> bool:
    """True if a record has what pooled scores are for; others would only repeat their ACC."""
    return any(record.experiences or record.classes or record.prequential for record in records)
