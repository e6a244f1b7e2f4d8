"""Numbers of a strategy: the literature's next to ours, our scores and costs."""

import math

import pandas as pd

from retrograde.metrics import ERRORS, POOLED, metrics
from retrograde.parts.spec import parse
from retrograde.reporting import Published, published_numbers

from . import committed
from .markdown import code, escaped, table

SHOWN = ("ACC", "AIA", "forgetting", "MSE", "MSE_forgetting")
"""The scores of a strategy's page; the suite's page has the others."""
PERCENT = {each.name: each.percent for each in (*metrics("own"), *POOLED, *ERRORS)}
VERIFIED = {"memory": "no"}
"""The words for what was read, where nothing was."""

REMARKS = {"no": ", uninformative", "baseline": ", a baseline"}
"""The words for a number that says nothing about a method."""


def published(name: str) -> str:
    """The literature's numbers of a strategy, each with ours if it was measured."""
    entries = [each for each in published_numbers() if parse(each.row.strategy)[0] == name]
    rows = [
        (
            escaped(each.where.replace(", unverified", "")),
            code(parse(each.benchmark)[0]),
            _settings(each.row.strategy),
            escaped(metric),
            each.text(metric),
            *_ours(name, each, metric),
            VERIFIED.get(each.source.checked, each.source.checked),
        )
        for each in entries
        for metric in each.row.values
    ]
    if not rows:
        return ""
    note = (
        "Percent, unless the number is a loss. *Checked*: the document that the number was read "
        "in; *no*: it is quoted from memory. A number is *reproduced* by the rule of "
        "[the field's baselines](../../baselines.md#published-numbers)."
    )
    headings = ["source", "stream", "settings", "metric", "theirs:", "ours:", "verdict", "checked"]
    return note + "\n\n" + table(headings, rows)


def _settings(strategy: str) -> str:
    """The settings of a strategy."""
    return ", ".join(code(f"{key}={value}") for key, value in parse(strategy)[1].items())


def _ours(name: str, entry: Published, metric: str) -> tuple[str, str]:
    """Our number and the verdict; of several runs, the first that is comparable."""
    frame = committed.read("published")
    theirs, _, _ = entry.text(metric).partition(" ± ")
    found = frame[
        (frame["name"] == name)
        & (frame.stream == parse(entry.benchmark)[0])
        & (frame.method == entry.row.method)
        & (frame.paper == entry.source.paper)
        & (frame.table == entry.source.table)
        & (frame.metric == metric)
        & (pd.to_numeric(frame.theirs) == float(theirs))
    ]
    if found.empty:
        return "not measured", ""
    row = found.sort_values("verdict", key=lambda verdicts: verdicts == "not comparable").iloc[0]
    if pd.isna(row["mean"]):
        return "not measured", ""
    half = (row.ci_high - row.ci_low) / 2
    spread = "" if math.isnan(half) else f" ± {half:.2f}"
    link = f"[{row.verdict}](#suite-{row.suite}-published)"
    remark = REMARKS.get(row.informative.partition(":")[0], "")
    return f"{row['mean']:.2f}{spread}", link + remark


def measured(name: str) -> str:
    """Scores of a strategy in the committed tables."""
    frame = committed.read("scores")
    frame = frame[(frame["name"] == name) & frame.metric.isin(SHOWN)]
    shown = [metric for metric in SHOWN if (frame.metric == metric).any()]
    rows = [
        (
            f"[{suite}](#suite-{suite}-scores)",
            _settings(strategy),
            *(_score(group[group.metric == metric]) for metric in shown),
            int(group.n.min()),
            code(benchmark),
        )
        for (suite, benchmark, strategy), group in frame.groupby(
            ["suite", "benchmark_spec", "strategy_spec"], sort=True
        )
    ]
    note = "The mean over n seeds ± half of the 95 % interval; accuracies in percent."
    headings = ["suite", "settings", *(f"{metric}:" for metric in shown), "n:", "benchmark"]
    return note + "\n\n" + table(headings, rows) if rows else ""


def _score(rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    row = rows.iloc[0]
    scale = 100 if PERCENT[row.metric] else 1
    half = scale * (row.ci_high - row.ci_low) / 2
    spread = "" if math.isnan(half) else f" ± {half:.2f}"
    return f"{scale * row['mean']:.2f}{spread}"


def costs(name: str) -> str:
    """Costs of a strategy in the committed tables."""
    frame = committed.read("timing")
    frame = frame[frame["name"] == name]
    rows = [
        (
            f"[{row.suite}](#suite-{row.suite}-timing)",
            _settings(row.strategy_spec),
            _number(row.step_ratio, "x {:.1f}"),
            _number(row.train_ms_per_replicate_step, "{:.3g}"),
            _number(row.forward_per_example, "{:.3g}"),
            _number(row.backward_per_example, "{:.3g}"),
            _number(row.memory_kB, "{:,.0f}"),
            code(row.benchmark_spec),
        )
        for row in frame.itertuples()
    ]
    note = (
        "*Step*: the time of a training step over fine-tuning's on the same stream and machine. "
        "*ms*: milliseconds per step and replicate, on the machine that the suite names. "
        "*Forward*, *backward*: passes through the model for each example trained on. *kB*: the "
        "stored examples plus the state other than the parameters."
    )
    headings = ["suite", "settings", "step:", "ms:", "forward:", "backward:", "kB:", "benchmark"]
    return note + "\n\n" + table(headings, rows) if rows else ""


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else form.format(value)
