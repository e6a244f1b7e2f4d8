"""The pages of metrics."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from retrograde.metrics import VERSIONS, Metric, all_metrics
from retrograde.metrics.conventions import CONVENTIONS

from .markdown import code, contents, docstring, escaped, folded, page, section, table


def file_of(name: str) -> str:
    """The name of a metric's page, without characters that a path cannot have."""
    return "".join(letter if letter.isalnum() or letter == "_" else "-" for letter in name)


def pages() -> dict[str, str]:
    """The text of every page by its name."""
    found = all_metrics()
    rows = [
        (f"[{escaped(name)}](#metric-{file_of(name)})", escaped(each.what), escaped(each.source))
        for name, each in found.items()
    ]
    index = page(
        "all-metrics",
        "Metrics",
        "Every score is a pure function of what a record holds. `rg.scores` computes those that "
        "the record, or [a matrix from other code](../../python.md#score-and-report), "
        "suffices for.",
        table(["metric", "meaning", "source"], rows),
        contents(map(file_of, found)),
    )
    texts = {f"metrics/{file_of(name)}.md": _page(name, each) for name, each in found.items()}
    return {"metrics/index.md": index, **texts}


def _page(name: str, metric: Metric) -> str:
    function = _function(metric.of)
    facts = [
        ("source", escaped(metric.source)),
        ("better", "higher" if metric.higher_is_better else "lower"),
        ("unit", "share of 1, shown in percent" if metric.percent else "its own"),
        ("computed from", ", ".join(map(code, metric.needs))),
        ("version", metric.version),
        ("convention", _convention(name)),
    ]
    summary = metric.what[:1].upper() + metric.what[1:]
    return page(
        f"metric-{file_of(name)}",
        escaped(name),
        escaped(summary) + ".",
        table(["fact", "value"], [(key, value) for key, value in facts if value]),
        section("Definition", docstring(inspect.getdoc(function) or "")),
        section("Code", folded(f"`{function.__name__}`", inspect.getsource(function))),
    )


def _function(of: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(of, functools.partial):
        of = of.func
    return inspect.unwrap(of)


def _convention(name: str) -> str:
    """The code whose definition a metric follows; empty for ours."""
    for convention, replaced in CONVENTIONS.items():
        if name in {metric.name for metric in replaced.values()}:
            return f"{VERSIONS[convention]}; `rg.scores(records, convention='{convention}')`"
    return ""
