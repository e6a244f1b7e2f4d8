"""What training and testing cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from retrograde import Record, Result
from retrograde.metrics import labels, ordered
from retrograde.reporting import Entry, Section, Table

PLACE = ["benchmark", "machine"]
STRATEGY = ["strategy", "settings", "backend", "compiled"]
PLAIN = "finetune"
"""The strategy whose steps the others' are compared with: arrivals, one gradient, one descent."""
FIGURES = {
    "train_ms_per_step": "train ms/step",
    "train_ms_per_replicate_step": "per replicate",
    "step_ratio": f"× {PLAIN}",
    "train_us_per_example": "µs/example",
    "forward_per_example": "forward",
    "backward_per_example": "backward",
    "evaluate_s": "evaluate s",
    "compile_s": "compile s",
    "prepare_s": "prepare s",
    "probe_s": "probe s",
    "watch_s": "watch s",
    "memory_kB": "memory kB",
    "peak_MB": "peak MB",
}


@dataclass(frozen=True)
class Timing(Result):
    """Training time per step and example, evaluation, compilation and memory; never across machines."""

    def table(self, records: Sequence[Record]) -> Table:
        frame = _frame(records)
        tidy = frame.groupby(PLACE + STRATEGY, sort=True, as_index=False).agg(
            **{name: (name, "mean") for name in FIGURES if name in frame},
            n=("train_ms_per_step", "size"),
        )
        alike = [*PLACE, "compiled"]
        plain = tidy[tidy.strategy == PLAIN].groupby(alike).train_ms_per_step.mean().rename("plain")
        tidy["step_ratio"] = tidy.train_ms_per_step / tidy.join(plain, on=alike).plain
        sections = [
            _section(f"{key[0]} — {key[1]}", group) for key, group in tidy.groupby(PLACE, sort=True)
        ]
        return Table("Timing", (_NOTE,), tuple(sections), tidy)


_NOTE = (
    "Means over replicates. A step trains all replicates of a batch at once; per replicate is its "
    "share; × finetune is its time over fine-tuning's on the same stream, both compiled or both "
    "eager, ends of tasks included, whatever the examples replayed; and µs/example counts new and "
    "replayed examples of all replicates. Forward and backward: passes of an example through the "
    "model, padding included, for each example trained on; that of an outer gradient through "
    "inner steps is not counted. Building the replay schedule is in the training time; "
    "compilation and the first step are not. Evaluation, compilation (0 where the step ran "
    "eagerly), what was learned before a stream, looks at gradients, and tests amid tasks (watch) "
    "are seconds per batch of replicates; memory is the examples held plus the state beside the "
    "parameters; peak is the whole process (on a GPU: its tensors), with what looks at gradients "
    "hold. One section never mixes machines, versions of torch, numbers of threads, of jobs at a "
    "time, or of replicates. Columns with nothing but 0 are left out."
)


def _frame(records: Sequence[Record]) -> pd.DataFrame:
    label = labels(records)
    rows = [_row(record, *label[record.cell]) for record in ordered(records) if _trained(record)]
    return pd.DataFrame(
        rows, columns=[*PLACE, *STRATEGY, *(name for name in FIGURES if name != "step_ratio")]
    )


def _trained(record: Record) -> bool:
    return record.status == "done" and record.counts["steps"] > 0


def _row(record: Record, benchmark: str, strategy: str, settings: str) -> dict[str, object]:
    how, counts, memory = record.how, record.counts, record.memory
    train = record.clocks["train"]
    examples = counts["new"] + counts["replayed"] or float(
        "nan"
    )  # steps of some learner may take none
    return {
        "benchmark": benchmark,
        "machine": record.machine,
        "strategy": strategy,
        "settings": settings,
        "backend": how["backend"],
        "compiled": how["compiled"],
        "train_ms_per_step": 1e3 * train / how["steps"],
        "train_ms_per_replicate_step": 1e3 * train / how["steps"] / how["replicates"],
        "train_us_per_example": 1e6 * train / how["replicates"] / examples,
        "forward_per_example": counts.get("forward", float("nan")) / examples,
        "backward_per_example": counts.get("backward", float("nan")) / examples,
        "evaluate_s": record.clocks["evaluate"],
        "compile_s": record.clocks.get("compile", 0.0),
        "prepare_s": record.clocks.get("prepare", 0.0),
        "probe_s": record.clocks.get("probe", 0.0),
        "watch_s": record.clocks.get("watch", 0.0),
        "memory_kB": (memory["bytes"] + memory["state_bytes"]) / 1e3,
        "peak_MB": memory["peak_bytes"] / 1e6,
    }


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"


def _section(heading: str, group: pd.DataFrame) -> Section:
    shown = {name: title for name, title in FIGURES.items() if group[name].fillna(0).any()}
    rows = [
        (
            Entry(f"{row.strategy} {row.settings}".strip()),
            *(Entry(_figure(getattr(row, name))) for name in shown),
            Entry(f"{row.backend}, {'compiled' if row.compiled else 'eager'}"),
            Entry(str(row.n)),
        )
        for row in group.itertuples()
    ]
    return Section(heading, ("strategy", *shown.values(), "how", "n"), tuple(rows))
