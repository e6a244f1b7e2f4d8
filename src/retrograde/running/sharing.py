"""The share of one run in work that other runs may do too, on the same store at the same time."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from retrograde.records.claims import Claims, Holder
from retrograde.records.record import Record
from retrograde.records.store import Store, takes_no_more
from retrograde.running.cell import Job


class Heard(NamedTuple):
    """Callbacks for the news of other runs on the same store.

    Args:
        made: called with a job and the records of it that others have made; if the job has none
            missing, they are all of it.
        waits: called with the number of replicates that are left to others, and their holders.
        inherits: called with a job that other runs had begun and never ended, and those runs.
    """

    made: Callable[[Job, list[Record]], None]
    waits: Callable[[int, list[Holder]], None]
    inherits: Callable[[Job, list[Holder]], None]


class Share:
    """The jobs of a run; each is claimed before it is handed out, so that no other run trains it.

    Args:
        store: the store, which other runs may write to.
        jobs: the jobs of this run.
        heard: callbacks for the news of other runs.
        claims: the claims of this run.
        any_version: accept records that others made with other files, as with `changed=keep`.
    """

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
        self.any_version = any_version
        paths = [store.path(job.spec, seed) for job in jobs for seed in job.missing]
        # Files of missing records: they failed, or are damaged or outdated.
        self._old = {path for path in paths if path.exists() and not store.newer(path)}

    def close(self) -> None:
        """Release all claims that are left."""
        self.claims.close()

    def __iter__(self) -> Iterator[Job | None]:
        """Claimed jobs to train; None if others hold all that is left, for now."""
        left = self.jobs
        said = False
        while left:
            others: list[Job] = []
            holders: set[Holder] = set()
            claimed = False
            # The claim comes right before the job is handed out: other runs may take the next one.
            for job in left:
                mine = self._taken(job, others, holders)
                if mine is not None:
                    claimed = True
                    yield mine
            left = others
            if left and not claimed:
                if not said:
                    replicates = sum(len(job.missing) for job in left)
                    self.heard.waits(replicates, sorted(holders))
                said = True
                yield None

    def _taken(self, job: Job, others: list[Job], holders: set[Holder]) -> Job | None:
        """Claim a job; None if it is made already, or if others hold it, who are added."""
        unmade = self._unmade(job)
        if not unmade.missing:
            self.claims.sweep(self._folder(job), job.missing)
            return None
        claimed = self._claimed(unmade, holders)
        if claimed is None:
            others.append(unmade)
            return None
        return claimed if claimed.missing else None

    def write(self, job: Job, record: Record) -> None:
        """Write a record of a claimed job.

        A failure is written only while this run holds the claim: otherwise another run tries too.
        """
        if record.status != "failed" or not self.claims.lost(self._folder(job), record.seed):
            self.store.write(record)

    def done(self, job: Job) -> None:
        """Release the claim on a job whose records are written."""
        self.claims.release(self._folder(job), job.missing)

    def _folder(self, job: Job) -> Path:
        return self.store.folder / job.spec.path

    def _claimed(self, job: Job, holders: set[Holder]) -> Job | None:
        """Claim a job and return what is left of it; None if others hold some of it."""
        folder = self._folder(job)
        try:
            answer = self.claims.claim(folder, job.missing)
        except OSError as error:
            raise takes_no_more(self.store.folder, error) from error
        if not answer.ours:
            holders.update(answer.others)
            return None
        # The run that held it may have finished just before this claim.
        unmade = self._unmade(job)
        self.claims.release(folder, set(job.missing) - set(unmade.missing))
        if unmade.missing and answer.others:
            self.heard.inherits(unmade, answer.others)
        return unmade

    def _unmade(self, job: Job) -> Job:
        """Return the job without the replicates that others have made since it was planned."""
        found = {seed: self._made(job, seed) for seed in job.missing}
        records = [record for record in found.values() if record is not None]
        if not records:
            return job
        missing = tuple(seed for seed, record in found.items() if record is None)
        unmade = replace(job, missing=missing)
        self.heard.made(unmade, records)
        return unmade

    def _made(self, job: Job, seed: int) -> Record | None:
        """Read the record that another run has made of a missing replicate, if any."""
        path = self.store.path(job.spec, seed)
        if path in self._old and not self.store.newer(path):
            return None
        record = self.store.read(path)
        if record is None or not job.kept_with(record):
            return None
        # A record of other files does not count: this run makes its own.
        outdated = not self.any_version and record.outdated_by(job.spec, job.sources)
        return None if outdated else record
