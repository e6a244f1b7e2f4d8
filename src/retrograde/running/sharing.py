"""The work of a run that may not be alone: jobs are claimed before they train, and what other runs finish is left to them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from retrograde.parts.provenance import changes
from retrograde.records.claims import Claims, Holder
from retrograde.records.record import Record
from retrograde.records.store import Store, takes_no_more
from retrograde.running.cell import Job


class Heard(NamedTuple):
    """What a run hears of others."""

    made: Callable[
        [Job, list[Record]], None
    ]  # records of a job that others have made; none are missing: all of it
    waits: Callable[[int, list[Holder]], None]  # for so many replicates, which these train
    inherits: Callable[[Job, list[Holder]], None]  # a job that these had begun, and never ended


class Share:
    """The jobs of a run, each handed out once it is claimed."""

    def __init__(
        self,
        store: Store,
        jobs: list[Job],
        heard: Heard,
        claims: Claims | None = None,
        *,
        any_version: bool = False,
    ) -> None:
        self.store = store
        self.jobs = jobs
        self.heard = heard
        self.claims = claims or Claims()
        self.any_version = (
            any_version  # records that others made with other files count, as with `--changed keep`
        )
        paths = [store.path(job.cell, seed) for job in jobs for seed in job.missing]
        self._old = {
            path for path in paths if path.exists() and not store.newer(path)
        }  # failed, damaged or outdated

    def close(self) -> None:
        """Give up what is claimed still."""
        self.claims.close()

    def __iter__(self) -> Iterator[Job | None]:
        """Jobs to train, claimed; None where the others hold all that is left, so that it is worth asking again later."""
        left = self.jobs
        told = False
        while left:
            others: list[Job] = []
            holders: set[Holder] = set()
            given = False
            for job in left:
                rest = self._unmade(job)
                if not rest.missing:
                    self.claims.sweep(self._folder(job), job.missing)
                    continue
                claimed = self._claimed(rest, holders)
                if claimed is None:
                    others.append(rest)
                elif claimed.missing:
                    given = True
                    yield claimed
            left = others
            if left and not given:
                if not told:
                    self.heard.waits(sum(len(job.missing) for job in left), sorted(holders))
                told = True
                yield None

    def write(self, job: Job, record: Record) -> None:
        """Write a record of a claimed job; a failure, only while the claim is ours, since another run now tries as well."""
        if record.status != "failed" or not self.claims.lost(self._folder(job), record.seed):
            self.store.write(record)

    def done(self, job: Job) -> None:
        """Give up the claim of a job whose records are written."""
        self.claims.release(self._folder(job), job.missing)

    def _folder(self, job: Job) -> Path:
        return self.store.folder / job.cell.path

    def _claimed(self, job: Job, holders: set[Holder]) -> Job | None:
        """The job as it is left once it is claimed; None where others hold some of it."""
        folder = self._folder(job)
        try:
            answer = self.claims.claim(folder, job.missing)
        except OSError as error:
            raise takes_no_more(self.store.folder, error) from error
        if not answer.ours:
            holders.update(answer.others)
            return None
        rest = self._unmade(job)  # whoever held it may have finished just before
        self.claims.release(folder, set(job.missing) - set(rest.missing))
        if rest.missing and answer.others:
            self.heard.inherits(rest, answer.others)
        return rest

    def _unmade(self, job: Job) -> Job:
        """The job without the replicates that others have made since it was planned."""
        made = {seed: self._made(job, seed) for seed in job.missing}
        records = [record for record in made.values() if record is not None]
        if not records:
            return job
        rest = replace(job, missing=tuple(seed for seed, record in made.items() if record is None))
        self.heard.made(rest, records)
        return rest

    def _made(self, job: Job, seed: int) -> Record | None:
        path = self.store.path(job.cell, seed)
        if path in self._old and not self.store.newer(path):
            return None
        record = self.store.read(path)
        if record and job.code and not self.any_version and changes(record.code, job.code):
            return None  # of other files: this run measures its own
        return record
