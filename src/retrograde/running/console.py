"""Runs with output for people: progress, a line per cell as it ends, and failures with reasons."""

import tempfile
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape

from retrograde.machine import physical_bytes, usable_cores
from retrograde.networks.build import forget_files
from retrograde.parts.part import Part
from retrograde.parts.registry import Registry
from retrograde.records.claims import Holder
from retrograde.records.presentation import Presentation, write_presentation
from retrograde.records.record import Record
from retrograde.records.store import Store, takes_no_more
from retrograde.running.cell import Job, forget_datasets
from retrograde.running.checkpoints import remove_checkpoints
from retrograde.running.continuation import begun
from retrograde.running.interruption import orderly, told
from retrograde.running.jobs import Ended, Jobs, Told, run_here
from retrograde.running.options import Options, changed_of, chosen, context_of
from retrograde.running.outcome import RunOutcome, verdict
from retrograde.running.plan import Changed, Context, plan, since
from retrograde.running.progress import RunState, Tally, displayed
from retrograde.running.sharing import Heard, Share
from retrograde.running.suite import Pair
from retrograde.running.trackers import curves_folder, track
from retrograde.running.workers import run_in_workers

WORTH_A_PROCESS = 2000
"""Least steps of a batch of replicates for a process of its own.

A step takes a few milliseconds, and to start a process takes 3 s.
"""


class Stored(NamedTuple):
    """The records that a run is to make in one store.

    Args:
        folder: the folder of the store.
        pairs: the benchmarks and strategies to pair.
        seeds: the seeds.
        added: strategies that were added to a suite, and run only on the benchmarks that they fit.
        words: the title and the names of the suite; None: cells without a suite.
    """

    folder: Path
    pairs: list[Pair]
    seeds: Sequence[int]
    added: Sequence[str | Part] = ()
    words: Presentation | None = None


class Planned(NamedTuple):
    """The jobs of each store, with the registry of their parts and the settings of the run."""

    stores: list[tuple[Store, list[Job]]]
    registry: Registry
    context: Context


def run_all(stores: list[Stored], options: Options, out: Console, err: Console) -> int:
    """Plan every suite, then run every job, and return the exit code."""
    planned = plan_all(stores, options, err)
    try:
        with orderly():
            return work(planned, options, out, err)
    except KeyboardInterrupt as stopped:
        what, code = told(stopped)
        err.print(f"{what}. What had finished is kept; the same command goes on from there.")
        return code


def plan_all(stores: list[Stored], options: Options, err: Console) -> Planned:
    """Plan every suite, before anything trains.

    Raises:
        UserError: an option is not possible, a cell cannot be trained, or a store takes no records.
    """
    # Files may have been edited since a run before this one in the same process.
    forget_files()
    forget_datasets()
    context = context_of(options)
    changed = changed_of(options)
    registry = Registry(options.plugins)
    planned = []
    for wanted in stores:
        store = Store(wanted.folder)
        store.check_layout()
        store.begin()
        pairs = chosen(wanted.pairs, options.only)
        jobs = plan(
            pairs, wanted.seeds, registry, context, store, changed=changed, added=wanted.added
        )
        if options.continue_from:
            jobs = [begun(job, context, options.continue_from) for job in jobs]
        planned.append((store, jobs))
    # Only now are folders made: an error of any suite above leaves nothing behind.
    for wanted, (store, jobs) in zip(stores, planned, strict=True):
        store.check_writable()
        write_presentation(store.folder, wanted.words, _own_titles(jobs))
        for path, why in store.damaged.items():
            err.print(
                f"[yellow]warning:[/] {escape(str(path))} is damaged and will be run again "
                f"({escape(why)})."
            )
    return Planned(planned, registry, context)


def _own_titles(jobs: list[Job]) -> dict[str, str]:
    """The titles that strategies and benchmarks give themselves, by name."""
    titles = {}
    for job in jobs:
        parts = {
            job.spec.benchmark.name: job.cell.benchmark,
            job.spec.strategy.name: job.cell.strategy,
        }
        for name, part in parts.items():
            # a setting may have the same name
            if isinstance(type(part).title, str) and "title" not in part.settings():
                titles[name] = type(part).title
    return {name: title for name, title in titles.items() if title}


def work(
    planned: Planned,
    options: Options,
    out: Console,
    err: Console,
    troubles: list[Record] | None = None,
) -> int:
    """Run every job, and return the exit code; records that are not done go to `troubles`."""
    codes = [0]
    for store, jobs in planned.stores:
        # The number of cores says nothing about a GPU or about a cluster.
        spread = options.device == "cpu" and not options.cluster
        at_once = options.jobs or (_workers(jobs) if spread else 1)
        _tell_changed(jobs, changed_of(options), err)
        checkpoints = store.folder.resolve() if options.checkpoints else None
        context = planned.context._replace(jobs=at_once, checkpoints=checkpoints)
        code, found = _run(store, jobs, planned.registry, context, options, out, err)
        codes.append(code)
        if troubles is not None:
            troubles += found
    return max(codes)


def records_of(planned: Planned, troubles: list[Record]) -> list[Record]:
    """Return the records of all replicates of a run, those that were there before too.

    Args:
        planned: the jobs of the run.
        troubles: the records of this run that are not done.
    """
    # A store keeps the record of an older version if a new one fails; this run's is what counts.
    failed = {(record.cell, record.seed): record for record in troubles}
    read = [
        failed.get((job.spec, seed)) or store.read(store.path(job.spec, seed))
        for store, jobs in planned.stores
        for job in jobs
        for seed in job.seeds
    ]
    return [record for record in read if record is not None]


def _workers(jobs: list[Job]) -> int:
    """Number of processes that pay: each with a core, 2 GiB and enough work; 1: this process."""
    steps = [job.steps for job in jobs if job.missing]
    limits = (
        usable_cores(),
        physical_bytes() // 2**31,
        len(steps),
        sum(steps) // WORTH_A_PROCESS,
    )
    return max(1, min(limits))


def _run(
    store: Store,
    jobs: list[Job],
    registry: Registry,
    context: Context,
    options: Options,
    out: Console,
    err: Console,
) -> tuple[int, list[Record]]:
    todo = [job for job in jobs if job.missing]
    missing = sum(len(job.missing) for job in todo)
    skipped = sum(len(job.seeds) - len(job.missing) for job in jobs)
    out.print(f"{store.folder}: {missing} replicates to run, {skipped} done already")
    _say_chosen(store, jobs)
    if options.log:
        _track_finished(store, jobs)
    # Two consoles on one terminal would write into each other's lines.
    lines = err if out.is_terminal and err.is_terminal and not (out.quiet or err.quiet) else out
    outcome = RunOutcome(todo, lines)
    state = RunState(todo, Tally(skipped, missing))
    with displayed(state, err):
        heard = _heard(outcome, state, err, checkpoint=options.checkpoints)
        share = Share(store, todo, heard, any_version=options.changed == "keep")
        # Work stops first, then its claims are released: contexts close in reverse.
        with (
            closing(share),
            closing(_started(todo, share, registry, context, state.hear)) as running,
        ):
            for job, records in running:
                _write(share, job, records)
                if all(record.status != "failed" for record in records):
                    remove_checkpoints(store, job)
                for record in records if options.log else ():
                    track(record, store.folder)
                state.end(job)
                state.count(records)
                outcome.add(records)
    out.print(state.counts)
    return verdict(outcome, store, out, err, options.traceback), outcome.troubles


def _say_chosen(store: Store, jobs: list[Job]) -> None:
    """Let finished records say how their settings were chosen, if another choice made them."""
    for job in jobs:
        finished = set(job.seeds) - set(job.missing) if job.chosen else ()
        for seed in sorted(finished):
            record = store.read(store.path(job.spec, seed))
            if record is not None and record.how.get("chosen") != job.chosen:
                store.restate(replace(record, how=record.how | {"chosen": job.chosen}))


def _track_finished(store: Store, jobs: list[Job]) -> None:
    """Write the curves of records that were made before, if they have none."""
    for job in jobs:
        for seed in sorted(set(job.seeds) - set(job.missing)):
            record = store.read(store.path(job.spec, seed))
            if record is not None and not curves_folder(record, store.folder).exists():
                track(record, store.folder)


def _heard(outcome: RunOutcome, state: RunState, err: Console, *, checkpoint: bool) -> Heard:
    """Return callbacks that print and count the news of other runs on the same store."""

    def made(rest: Job, records: list[Record]) -> None:
        outcome.add(records, elsewhere=True)
        state.count(records)
        # The bar counts jobs of others too, or it would not reach its end.
        if not rest.missing:
            state.end(rest)

    def waits(count: int, holders: list[Holder]) -> None:
        who = ", ".join(holder.text for holder in holders) or "another run"
        err.print(
            f"The last {count} replicates are with {escape(who)}. Waiting for them, and taking "
            "over what is given up."
        )

    def inherits(job: Job, holders: list[Holder]) -> None:
        who = ", ".join(holder.text for holder in holders)
        again = "goes on from its last snapshot, if it has one" if checkpoint else "begins again"
        gone = f"was begun by {who}, which shows no sign of life; it {again}."
        err.print(f"[yellow]note:[/] {escape(f'{job.spec.spec} {gone}')}")

    return Heard(made, waits, inherits)


def _started(
    todo: list[Job],
    share: Jobs,
    registry: Registry,
    context: Context,
    told: Told,
) -> Ended:
    """Start the jobs on a cluster, in this process, or in processes of their own.

    Processes of their own are for several jobs at a time, and for jobs that may be stopped.
    """
    if context.cluster and todo:
        # Ray is an optional dependency.
        from retrograde.running.cluster import run_on_cluster

        return run_on_cluster(share, context, told)
    here = (context.jobs == 1 and context.timeout is None) or not todo
    if here:
        return run_here(share, registry, context, told)
    return run_in_workers(share, context, told)


_FATE = {
    "rerun": "They are measured anew; where that succeeds, the old record is set aside beside, as "
    "seed-N.superseded-VERSION.",
    "keep": "They are kept, and other seeds make rows of their own.",
}


def _tell_changed(jobs: list[Job], changed: Changed, err: Console) -> None:
    """Print the files that changed since records were made, and the treatment of those records."""
    found = since(jobs)
    for change, records in found.items():
        said = f"{change.what} changed since {records} ({change.digests})"
        err.print(f"[yellow]warning:[/] {escape(said)}.")
    if found:
        err.print(_FATE[changed])


def _write(share: Share, job: Job, records: list[Record]) -> None:
    """Write the records of a job, and release it.

    Raises:
        UserError: the store takes no more; records that are left were written elsewhere.
    """
    store = share.store
    # A record leaves the queue only once it is written.
    unwritten = deque(records)
    try:
        while unwritten:
            share.write(job, unwritten[0])
            unwritten.popleft()
    except OSError as error:
        rescued = _rescued(store, list(unwritten))
        raise takes_no_more(store.folder, error, f"{rescued} ") from error
    share.done(job)


def _rescued(store: Store, records: list[Record]) -> str:
    """Write records to a temporary store, and return a sentence that says where they are."""
    what = ", ".join(f"{record.cell.spec} seed {record.seed}" for record in records)
    try:
        other = Store(Path(tempfile.mkdtemp(prefix="retrograde-")))
        for record in records:
            other.write(record)
    except OSError:
        return f"Lost, and to be trained again: {what}."
    return (
        f"What had just ended ({what}) lies in {other.folder}: "
        f"copy what is in it to {store.folder}."
    )
