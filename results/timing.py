"""The cost of training and testing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from retrograde import Record, TableResult
from retrograde.metrics import Label, cell_labels, ordered
from retrograde.reporting import Entry, Section, Table

PLACE = ["benchmark", "machine"]
STRATEGY = ["strategy", "settings", "backend", "compiled"]
BASELINE = "finetune"
"""The strategy to compare steps with: incoming examples, one gradient, one update."""
NAN = float("nan")
FIGURES = {
    "train_ms_per_step": "train ms/step",
    "train_ms_per_replicate_step": "per replicate",
    "step_ratio": f"× {BASELINE}",
    "train_us_per_example": "µs/example",
    "forward_per_example": "forward",
    "backward_per_example": "backward",
    "evaluate_s": "evaluate s",
    "compile_s": "compile s",
    "pretrain_s": "pretrain s",
    "probe_s": "probe s",
    "online_s": "online s",
    "memory_kB": "memory kB",
    "peak_MB": "peak MB",
}


@dataclass(frozen=True)
class Timing(TableResult):
    """Training time per step and example, evaluation, compilation and memory.

    Times on different machines are never compared.
    """

    regression: ClassVar[bool] = True

    def table(self, records: Sequence[Record]) -> Table:
        frame = _frame(records)
        means = {name: (name, "mean") for name in FIGURES if name in frame}
        groups = frame.groupby(PLACE + STRATEGY, sort=True, as_index=False)
        tidy = groups.agg(**means, n=("train_ms_per_step", "size"), plain=("plain", "first"))
        # a compiled step is compared with a compiled one, an eager step with an eager one
        alike = [*PLACE, "compiled"]
        plain = tidy[tidy.pop("plain").astype(bool)].groupby(alike).train_ms_per_step.mean()
        tidy["step_ratio"] = (
            tidy.train_ms_per_step / tidy.join(plain.rename("plain"), on=alike).plain
        )
        sections = []
        for (benchmark, machine), group in tidy.groupby(PLACE, sort=True):
            sections.append(_section(f"{benchmark} — {machine}", group))
        return Table("Timing", (_NOTE,), tuple(sections), tidy)


_NOTE = (
    "Means over replicates. A step trains all replicates of a batch at once; per replicate is its "
    "share; × finetune is its time over fine-tuning's on the same stream, both compiled or both "
    "eager, ends of tasks included, whatever the examples replayed; and µs/example counts "
    "incoming and replayed examples of all replicates. Forward and backward: passes of an example "
    "through the model, padding included, for each example trained on; that of an outer gradient "
    "through inner steps is not counted. Building the replay schedule is in the training time; "
    "compilation and the first step are not. Evaluation, compilation (0 where the step ran "
    "eagerly), pretraining, gradient probes, and evaluations within tasks (online) are seconds "
    "per batch of replicates; memory is the stored examples plus the state other than the "
    "parameters; peak is the whole process (on a GPU: its tensors), gradient probes included. One "
    "section never mixes machines, versions of torch, numbers of threads, of jobs at a time, or "
    "of replicates. Columns with nothing but 0 are left out."
)


def _frame(records: Sequence[Record]) -> pd.DataFrame:
    label = cell_labels(records)
    rows = [_row(record, label[record.cell]) for record in ordered(records) if _trained(record)]
    # a column for the comparison alone; the ratio is of means over replicates
    measured = [name for name in FIGURES if name != "step_ratio"]
    return pd.DataFrame(rows, columns=[*PLACE, *STRATEGY, *measured, "plain"])


def _trained(record: Record) -> bool:
    return record.status == "done" and record.counts["steps"] > 0


def _row(record: Record, label: Label) -> dict[str, object]:
    row: dict[str, object] = {
        "benchmark": label.benchmark,
        "machine": record.machine,
        "strategy": label.strategy,
        "settings": label.settings,
        "backend": record.how["backend"],
        "compiled": record.how["compiled"],
        "plain": record.cell.strategy.name == BASELINE,
    }
    return row | _training(record) | _clocks(record) | _sizes(record)


def _training(record: Record) -> dict[str, float]:
    how = record.how
    counts = record.counts
    train = record.clocks["train"]
    # steps of some learner may take no examples
    examples = counts["incoming"] + counts["replayed"] or NAN
    return {
        "train_ms_per_step": 1e3 * train / how["steps"],
        "train_ms_per_replicate_step": 1e3 * train / how["steps"] / how["replicates"],
        "train_us_per_example": 1e6 * train / how["replicates"] / examples,
        "forward_per_example": counts.get("forward", NAN) / examples,
        "backward_per_example": counts.get("backward", NAN) / examples,
    }


def _clocks(record: Record) -> dict[str, float]:
    seconds = {"evaluate_s": record.clocks["evaluate"]}
    # a clock that was never started is not in the record
    for name in ("compile", "pretrain", "probe", "online"):
        seconds[f"{name}_s"] = record.clocks.get(name, 0.0)
    return seconds


def _sizes(record: Record) -> dict[str, float]:
    memory = record.memory
    stored = memory["bytes"] + memory["state_bytes"]
    return {"memory_kB": stored / 1e3, "peak_MB": memory["peak_bytes"] / 1e6}


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"


def _section(heading: str, group: pd.DataFrame) -> Section:
    shown = {name: title for name, title in FIGURES.items() if group[name].fillna(0).any()}
    rows = []
    for row in group.itertuples():
        title = f"{row.strategy} {row.settings}".strip()
        numbers = [_figure(getattr(row, name)) for name in shown]
        how = f"{row.backend}, {'compiled' if row.compiled else 'eager'}"
        rows.append(tuple(map(Entry, (title, *numbers, how, str(row.n)))))
    return Section(heading, ("strategy", *shown.values(), "how", "n"), tuple(rows))
