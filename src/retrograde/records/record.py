"""The record of one replicate: a JSON document from which every score is computed later."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field, TypeAdapter, ValidationError
from torch import nn

from retrograde.errors import UserError
from retrograde.networks.build import names_code
from retrograde.parts.provenance import Change, Sources, changes
from retrograde.parts.spec import as_text
from retrograde.records.account import Account
from retrograde.records.cell import CellSpec
from retrograde.records.class_counts import ClassCounts
from retrograde.records.consistency import inconsistency, misfit
from retrograde.records.experiences import Experiences
from retrograde.records.few_shot import Adaptation
from retrograde.records.gradient_probe import GradientProbe
from retrograde.records.online_accuracy import OnlineAccuracy
from retrograde.records.plasticity import Plasticity
from retrograde.records.prequential import Prequential
from retrograde.records.privacy import scrubbed
from retrograde.records.schema import Length, Positive, Seconds, Whole
from retrograde.records.sidecars import (
    Predictions,
    Sidecar,
    Sidecars,
    digest,
    path_of,
    read_model,
    read_predictions,
)
from retrograde.records.statistics import Statistics
from retrograde.records.validation import Validation

SCHEMA = 7
"""The version of the layout; that of retrograde 0.1 was 6 or lower."""


Status = Literal["done", "diverged", "failed"]


class Damaged(Exception):
    """A record that cannot be read."""


class OtherSchema(Exception):
    """A record with the layout of an earlier or a later version, and the remedy."""


@dataclass(frozen=True)
class Record:
    """One replicate of one cell.

    A replicate of a stream has `correct` or, in regression, `squared_errors`; one of few-shot tasks
    has `adaptation`.

    Attributes:
        cell: benchmark and strategy, with their settings and data.
        seed: seed of the replicate.
        status: done, diverged or failed.
        reason: why it diverged or failed.
        upper_bound: True if the strategy does not compete and others are measured against it.
        test_examples: number of test examples of each task.
        correct: number of correct answers on each task; row 0 is before training, row i after the
            i-th experience.
        correct_given_task: the same with the task given at test; empty unless class-incremental.
        squared_errors: in regression, the sum of the squared errors on each task, in the rows of
            `correct`; that of an example is averaged over its values.
        experiences: the experiences of the stream; None if each trains one task, in order.
        classes: the correct answers by class; None if they were not counted.
        adaptation: adaptation to test tasks.
        gradients: gradient probes at task ends.
        accounts: one for each task after the first.
        online_accuracy: accuracy along the stream.
        prequential: predictions on incoming examples before they are trained on.
        plasticity: hidden units and weights at the end of each experience, if they are measured.
        validation: correct answers on validation examples, if the benchmark holds some out.
        statistics: what the strategy logs of its own steps; None if it logs nothing.
        clocks: seconds by activity, shared by the replicates of a batch.
        counts: numbers of steps and of incoming and replayed examples.
        memory: sizes of the memory and of the state, and peak memory.
        how: the execution of the replicate, see `How`.
        environment: the machine and the versions, see `Place`.
        knows_ahead: facts of the stream that the strategy used in advance; None if unknown.
        sources: digest of each file, by role of the part; empty if unknown.
        kept: the files beside the record, if the run kept some.
        schema: version of this layout.
        files: the content of these files, by name, until they are written.
        place: the path of the record, once it has been read from a store.
    """

    cell: CellSpec
    seed: Whole
    status: Status
    reason: str = ""
    upper_bound: bool = False
    test_examples: list[Positive] = field(default_factory=list)
    correct: list[list[Whole]] = field(default_factory=list)
    correct_given_task: list[list[Whole]] = field(default_factory=list)
    squared_errors: list[list[Length]] = field(default_factory=list)
    experiences: Experiences | None = None
    classes: ClassCounts | None = None
    adaptation: Adaptation | None = None
    gradients: list[GradientProbe] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)
    online_accuracy: OnlineAccuracy | None = None
    prequential: Prequential | None = None
    plasticity: Plasticity | None = None
    validation: Validation | None = None
    statistics: Statistics | None = None
    clocks: dict[str, Seconds] = field(default_factory=dict)
    counts: dict[str, Whole] = field(default_factory=dict)
    memory: dict[str, Whole] = field(default_factory=dict)
    how: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    knows_ahead: list[str] | None = None
    sources: dict[str, dict[str, str]] = field(default_factory=dict)
    kept: Sidecars | None = None
    schema: int = SCHEMA
    files: Annotated[dict[Sidecar, bytes], Field(exclude=True)] = field(
        default_factory=dict, repr=False, compare=False
    )
    place: Annotated[Path | None, Field(exclude=True)] = field(
        default=None, repr=False, compare=False
    )

    @property
    def R(self) -> Float[np.ndarray, "rows tasks"]:  # noqa: N802 - the field's name for it
        """R[i, j]: accuracy on task j after i experiences; row 0 is before any training.

        Raises:
            UserError: the stream is one of regression, which has no right answers.
        """
        if self.squared_errors:
            raise UserError(
                f"Regression has no accuracy; {self.cell.benchmark.name} has mean squared errors, "
                "the matrix `MSE` of a record."
            )
        return _rates(self.correct, self.test_examples)

    @property
    def MSE(self) -> Float[np.ndarray, "rows tasks"] | None:  # noqa: N802 - the field's name for it
        """The mean squared errors in the layout of `R`; None in classification."""
        return _rates(self.squared_errors, self.test_examples) if self.squared_errors else None

    @property
    def R_task_aware(self) -> Float[np.ndarray, "rows tasks"] | None:  # noqa: N802
        """As `R`, with the task given at test; None unless the stream is class-incremental.

        The logits of other tasks' classes are left out.
        """
        return (
            _rates(self.correct_given_task, self.test_examples) if self.correct_given_task else None
        )

    @property
    def timeline(self) -> Experiences:
        """The experiences of the stream, also where each trains one task."""
        return self.experiences or Experiences.one_per_task(len(self.test_examples))

    def model(self, name: str = "") -> nn.Module:
        """The model at the end of training, in evaluation mode, if the run kept it.

        It takes what the strategy's net takes: normalised inputs, if the benchmark says so. What a
        strategy predicts with besides, such as class means, is not part of it.

        Args:
            name: the name of the model, as in the setting `model` of benchmarks; empty: the one in
                the record, if that names no code of a user's own.

        Raises:
            UserError: the run did not keep it, its file is missing or another one, or the model of
                that name is another one now.
        """
        kept, content, where = self._sidecar("model")
        spec = name or str(self.cell.benchmark.settings["model"])
        # A record may come from anyone, and does not know the folder of a file.
        if not name and names_code(spec):
            raise UserError(
                f"A record does not choose code to run; its model is {spec}. If that is code of "
                f"yours, name it: record.model({spec!r}), with the folder of a file."
            )
        return read_model(content, spec, self.adaptation is None, kept, where)

    @property
    def predictions(self) -> Predictions:
        """The predictions for all test examples after each experience, if the run kept them.

        Raises:
            UserError: the run did not keep them, or their file is missing or another one.
        """
        _, content, where = self._sidecar("predictions")
        return read_predictions(content, where)

    def with_files(self) -> "Record":
        """The same record with the content of its files, for when its store is no more."""
        kept = self.kept.digests if self.kept else {}
        files = {name: self._sidecar(name)[1] for name in kept}
        return replace(self, files=files, place=None)

    def keeps(self, names: Iterable[Sidecar]) -> bool:
        """True if all of these files lie beside the record, as the run has written them."""
        try:
            for name in names:
                self._sidecar(name)
        except UserError:
            return False
        return True

    def _sidecar(self, name: Sidecar) -> tuple[Sidecars, bytes, str]:
        """The sizes of the model, the content of a file beside the record, and the file's name."""
        if name == "predictions" and not self.correct:
            raise UserError(
                "Predictions are those of a stream of classes; "
                f"{self.cell.spec}, seed {self.seed}, has counted none. Choose another record."
            )
        if self.kept is None or name not in self.kept.digests:
            raise UserError(
                f"A record has its {name} if the run kept it, with keep={name}; the run of "
                f"{self.cell.spec}, seed {self.seed}, did not. Run it again with keep={name}."
            )
        file = path_of(self.place, name) if self.place else None
        where = str(file or f"the {name} of seed {self.seed}")
        content = self.files.get(name) if file is None else _content(file, name)
        if content is None or digest(content) != self.kept.digests[name]:
            raise UserError(
                f"A kept file is as its run has written it, and {where} has changed since. "
                f"Run the cell again with keep={name}."
            )
        return self.kept, content, where

    def outdated_by(self, cell: CellSpec, sources: Sources) -> list[Change]:
        """The files and the defaults that changed since the record was made.

        Args:
            cell: the cell as it is now; its path is that of the record's.
            sources: its files now.
        """
        differing = [
            *self.cell.benchmark.differing(cell.benchmark),
            *self.cell.strategy.differing(cell.strategy),
        ]
        defaults = [
            Change("the default of", name, name, as_text(before), as_text(now))
            for name, before, now in differing
        ]
        return changes(self.sources, sources) + defaults

    @property
    def machine(self) -> str:
        """The conditions of timing; clocks are comparable only between records that share them.

        They are the machine, the version of torch, the threads, the jobs at a time and the
        replicates that train together.
        """
        where = self.environment
        return (
            f"{where['cpu']} ({where['cores']} cores), {where['device']}, torch {where['torch']}, "
            f"{where['threads']} threads, {where['jobs']} jobs, "
            f"{self.how['replicates']} replicates"
        )

    @property
    def public(self) -> "Record":
        """The same record without folders of this machine, the user's name and the host's."""
        how = dict(self.how)
        if "note" in how:
            how["note"] = scrubbed(how["note"])
        reason = scrubbed(self.reason)
        return replace(self, cell=self.cell.public, reason=reason, how=how)

    def to_json(self) -> str:
        """The record as one JSON document without private names; it contains no NaN."""
        return _ADAPTER.dump_json(self.public).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Record":
        """Read a record.

        Raises:
            OtherSchema: an earlier or a later version of retrograde wrote it.
            Damaged: it is not a consistent record.
        """
        try:
            record = _ADAPTER.validate_json(text, strict=True)
        except ValidationError as error:
            # A record of another schema may not fit this one; its schema is then the reason.
            with suppress(ValidationError):
                _check_schema(_SCHEMA.validate_json(text).schema)
            raise Damaged(misfit(error)) from None
        _check_schema(record.schema)
        fault = inconsistency(record)
        if fault:
            raise Damaged(fault)
        return record


def _content(file: Path, name: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(
            f"A kept file lies beside its record, and {file} cannot be read: {error.strerror}. "
            f"Copy it there, or run the cell again with keep={name}."
        ) from error


def _check_schema(schema: int) -> None:
    if schema > SCHEMA:
        raise OtherSchema(
            f"a later version (schema {schema}; this one reads {SCHEMA}). "
            "Upgrade retrograde, or take it out of the store."
        )
    if 0 < schema < SCHEMA:
        raise OtherSchema(
            f"retrograde 0.1 (schema {schema}; this version reads {SCHEMA}). Move the whole store "
            "with tools/migrate_from_0_1.py of the repository, or choose another folder."
        )


def _rates(
    sums: list[list[int]] | list[list[float]],
    test_examples: list[int],
) -> Float[np.ndarray, "rows tasks"]:
    return np.asarray(np.array(sums) / np.array(test_examples))


# The part of a document from which its schema is read.
@dataclass(frozen=True)
class _Schema:
    schema: int


_SCHEMA = TypeAdapter(_Schema)


_ADAPTER = TypeAdapter(Record)
