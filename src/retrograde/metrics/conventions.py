"""Forgetting and transfer as stated versions of other suites compute them, in place of ours where the formulas differ."""

import numpy as np

from retrograde.errors import UserError, nearest
from retrograde.metrics.matrix import METRICS, bti, bwt, fwt
from retrograde.metrics.metric import Metric, R, Score


def mammoth_forgetting(r: R) -> Score:
    """1/(T-1) sum_{j<T} (max_{j-1<=l<=T} R[l, j] - R[T, j]), the last row among them: at least 0.

    Tasks are tested once before they are learned, after the one before (`utils/training.py` of Mammoth's first release).
    """
    tasks = r.shape[-1]
    tested = r[..., 1:, :] * np.tri(tasks, k=1)
    drops = (tested.max(axis=-2) - r[..., -1, :])[..., :-1]
    return np.asarray(drops.mean(axis=-1)) if tasks > 1 else np.full(r.shape[:-2], np.nan)


def avalanche_forgetting(r: R) -> Score:
    """1/(T-1) sum_{j<T} (R[j, j] - R[T, j]): the first accuracy less the last."""
    return np.asarray(-bwt(r))


def gem_fwt(r: R) -> Score:
    """1/T sum_{i>1} (R[i-1, i] - R[0, i]), the first task's term being 0."""
    tasks = r.shape[-1]
    return np.asarray(fwt(r) * (tasks - 1) / tasks)


def _over_all_tasks(name: str, source: str) -> dict[str, Metric]:
    return {
        "BWT": Metric(
            f"BWT_{name}", bti, "backward transfer, over T tasks, as in the released code", source
        ),
        "FWT": Metric(
            f"FWT_{name}",
            gem_fwt,
            "forward transfer, over T tasks, as in the released code",
            source,
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
            higher_is_better=False,
        )
    },
}
"""By name, the scores that stand in place of ours, by the name of these."""

VERSIONS = {
    "avalanche": "Avalanche 0.6.0",
    "gem": "the code of Lopez-Paz and Ranzato 2017",
    "lamaml": "the code of Gupta et al. 2020",
    "mammoth": "Mammoth's first release of 2020 (later ones measure FWT against the same model just before a task)",
}
"""By name, the code whose formulas these are: other versions of it may compute other numbers."""


def metrics(convention: str) -> tuple[Metric, ...]:
    """The scores of a convention: ours, where it has none of its own."""
    if convention not in CONVENTIONS:
        raise UserError(
            f"There is no convention {convention!r} of scores. {nearest(convention, CONVENTIONS)}"
        )
    return tuple(CONVENTIONS[convention].get(metric.name, metric) for metric in METRICS)
