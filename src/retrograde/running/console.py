"""A run as a person sees it: progress, one line for each cell as it ends, and what failed and why."""

import tempfile
from collections import Counter, deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, cast, get_args

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from retrograde.data.sources import data_folder
from retrograde.errors import UserError, nearest, shown
from retrograde.machine import physical_bytes, usable_cores
from retrograde.metrics.intervals import t_interval
from retrograde.models.build import forget_files
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.records.cell import Cell
from retrograde.records.claims import Holder
from retrograde.records.record import Record
from retrograde.records.store import Store, takes_no_more
from retrograde.running.cell import Job, Source
from retrograde.running.interruption import orderly, told
from retrograde.running.jobs import Ended, Jobs, run_here
from retrograde.running.plan import Changed, Context, plan, since
from retrograde.running.sharing import Heard, Share
from retrograde.running.suite import Request
from retrograde.running.workers import run_in_workers
from retrograde.training.compiling import Compile, check_compiler

WORTH_A_PROCESS = 2000
"""Steps of a batch of replicates, a few milliseconds each, that a process must have to do: to begin takes it 3 s."""
COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("steps"),
    TimeElapsedColumn(),
    TextColumn("left"),
    TimeRemainingColumn(),
)


class Options(NamedTuple):
    """What the command line, or a call from Python, says of a run."""

    plugins: tuple[Path, ...]
    data: Source | Path | None
    device: str
    compile: str
    jobs: int | None  # None: as many as pay
    only: str | None
    cluster: str
    timeout: float | None
    changed: str = "rerun"
    traceback: bool = False  # of what failed, all of it is shown


Stored = tuple[Path, list[Request], int]
"""The folder of a store, the cells that go there, and how many seeds."""


class Planned(NamedTuple):
    """The jobs of each store, and what they need to know."""

    stores: list[tuple[Store, list[Job]]]
    registry: Registry
    context: Context


def run_all(stores: list[Stored], options: Options, out: Console, err: Console) -> int:
    """Plan every suite, then run every job; returns the exit code."""
    planned = plan_all(stores, options, err)
    try:
        with orderly():
            return work(planned, options, out, err)
    except KeyboardInterrupt as stopped:
        what, code = told(stopped)
        err.print(f"{what}. What had finished is kept; the same command goes on from there.")
        return code


def plan_all(stores: list[Stored], options: Options, err: Console) -> Planned:
    """Plan every suite; raises `UserError` before anything trains."""
    forget_files()  # of a run before this one in the same process
    context, changed, registry = _context(options), _changed(options), Registry(options.plugins)
    planned = []
    for folder, requests, seeds in stores:
        store = Store(folder)
        store.begin()
        planned.append(
            (store, plan(_chosen(requests, options.only), seeds, registry, context, store, changed))
        )
    for store, _ in planned:
        store.check_writable()
        for path, why in store.damaged.items():
            err.print(
                f"[yellow]warning:[/] {escape(str(path))} is damaged and will be run again ({escape(why)})."
            )
    return Planned(planned, registry, context)


def work(planned: Planned, options: Options, out: Console, err: Console) -> int:
    """Run every job; returns the exit code."""
    codes = [0]
    for store, jobs in planned.stores:
        spread = options.device == "cpu" and not options.cluster
        at_once = options.jobs or (_workers(jobs) if spread else 1)
        _tell_changed(jobs, _changed(options), err)
        context = planned.context._replace(jobs=at_once)
        codes.append(_run(store, jobs, planned.registry, context, options, out, err))
    return max(codes)


def _changed(options: Options) -> Changed:
    if options.changed not in get_args(Changed):
        raise UserError(
            f"--changed takes {', '.join(get_args(Changed))}; it was {options.changed!r}."
        )
    return cast("Changed", options.changed)


def _workers(jobs: list[Job]) -> int:
    """How many processes pay: with a core, 2 GiB and some work for each; 1 stands for this one."""
    todo = [job.steps for job in jobs if job.missing]
    return max(
        1, min(usable_cores(), physical_bytes() // 2**31, len(todo), sum(todo) // WORTH_A_PROCESS)
    )


def _context(options: Options) -> Context:
    if options.compile not in get_args(Compile):
        raise UserError(
            f"--compile takes {', '.join(get_args(Compile))}; it was {options.compile!r}."
        )
    if options.device not in ("cpu", "cuda"):
        raise UserError(f"--device takes cpu or cuda; it was {options.device!r}.")
    if options.cluster and (options.jobs or 1) > 1:
        raise UserError(
            f"--jobs is of this machine, and --cluster has as many jobs at a time as its nodes have CPUs or GPUs; "
            f"--jobs was {options.jobs}. Leave one of them out."
        )
    if options.cluster and options.timeout:
        raise UserError(
            f"--timeout stops processes of this machine, and --cluster has none; --timeout was {options.timeout:g}. "
            "Leave one of them out."
        )
    if options.device == "cuda" and not options.cluster and not torch.cuda.is_available():
        raise UserError(
            "--device cuda needs a GPU that PyTorch can use, and there is none. Use --device cpu."
        )
    if options.compile == "on" and not options.cluster:
        check_compiler(torch.device(options.device))
    plugins = tuple(path.resolve() for path in options.plugins)
    mode = cast("Compile", options.compile)
    data = (
        data_folder(options.data)
        if options.data is None or isinstance(options.data, Path)
        else options.data
    )
    return Context(
        plugins, data, options.device, mode, cluster=options.cluster, timeout=options.timeout
    )


def _chosen(requests: list[Request], only: str | None) -> list[Request]:
    if only is None:
        return requests
    known = ("benchmark", "strategy")
    wanted = parse(f"only:{only}")[1] if "=" in only else {only: ""}
    for key in wanted:
        if key not in known or not wanted[key]:
            raise UserError(
                f"--only takes benchmark=NAME,strategy=NAME; it was {shown(only)}. {nearest(key, known)}"
            )
    chosen = [
        r
        for r in requests
        if all(parse(str(getattr(r, key)))[0] == name for key, name in wanted.items())
    ]
    if not chosen:
        names = {key: sorted({parse(str(getattr(r, key)))[0] for r in requests}) for key in wanted}
        raise UserError(f"--only {only} leaves no cell. There are {names}.")
    return chosen


def _run(
    store: Store,
    jobs: list[Job],
    registry: Registry,
    context: Context,
    options: Options,
    out: Console,
    err: Console,
) -> int:
    todo = [job for job in jobs if job.missing]
    skipped = sum(len(job.seeds) - len(job.missing) for job in jobs)
    out.print(
        f"{store.folder}: {sum(len(j.missing) for j in todo)} replicates to run, {skipped} done already"
    )
    with Progress(*COLUMNS, console=err, transient=True) as bar:
        task = bar.add_task("training", total=sum(job.steps for job in todo))

        def advance(steps: int) -> None:
            bar.advance(task, steps)

        outcome = _Outcome(todo, out)
        share = Share(
            store, todo, _heard(outcome, advance, err), any_version=options.changed == "keep"
        )
        with closing(share), closing(_started(todo, share, registry, context, advance)) as running:
            for job, records in running:
                _write(share, job, records)
                outcome.add(records)
    return _verdict(outcome, store, out, err, options.traceback)


class _Outcome:
    """What a run, and others beside it, made of its cells; a line is printed as each ends."""

    def __init__(self, todo: list[Job], out: Console) -> None:
        self.troubles: list[Record] = []
        self.elsewhere = 0
        self._out = out
        self._left = Counter[Cell]()
        self._of_cell: dict[Cell, list[Record]] = {}
        self._others = Counter[Cell]()  # how many of a cell's records other runs made
        for job in todo:
            self._left[job.cell] += len(job.missing)

    def add(self, records: list[Record], *, elsewhere: bool = False) -> None:
        """Take in records of one cell, made here or elsewhere."""
        cell = records[0].cell
        found = self._of_cell.setdefault(cell, [])
        found += records
        if elsewhere:
            self.elsewhere += len(records)
            self._others[cell] += len(records)
        if len(found) == self._left[cell]:
            self._out.print(_line(cell, self._of_cell.pop(cell), self._others[cell]))
        self.troubles += [record for record in records if record.status != "done"]


def _heard(outcome: _Outcome, advance: Callable[[int], None], err: Console) -> Heard:
    """What is said and counted of other runs on the same store."""

    def made(rest: Job, records: list[Record]) -> None:
        outcome.add(records, elsewhere=True)
        if not rest.missing:
            advance(rest.steps)

    def waits(count: int, holders: list[Holder]) -> None:
        who = ", ".join(holder.text for holder in holders) or "another run"
        err.print(
            f"The last {count} replicates are with {escape(who)}. Waiting for them, and taking over what is given up."
        )

    def inherits(job: Job, holders: list[Holder]) -> None:
        who = ", ".join(holder.text for holder in holders)
        gone = f"was begun by {who}, which shows no sign of life; it begins again."
        err.print(f"[yellow]note:[/] {escape(f'{job.cell.text} {gone}')}")

    return Heard(made, waits, inherits)


def _started(
    todo: list[Job],
    share: Jobs,
    registry: Registry,
    context: Context,
    advance: Callable[[int], None],
) -> Ended:
    """The jobs at work: on a cluster, here, or, where there are several or some may be stopped, in processes of their own."""
    if context.cluster and todo:
        from retrograde.running.cluster import run_on_cluster

        return run_on_cluster(share, context, advance)
    here = (context.jobs == 1 and context.timeout is None) or not todo
    return (
        run_here(share, registry, context, advance)
        if here
        else run_in_workers(share, context, advance)
    )


_FATE = {
    "rerun": "They are measured anew; where that succeeds, the old record is set aside beside, as seed-N.superseded-VERSION.",
    "keep": "They are kept, and other seeds make rows of their own.",
}


def _tell_changed(jobs: list[Job], changed: Changed, err: Console) -> None:
    """Name the files that changed since records were made, those records, and what becomes of them."""
    found = since(jobs)
    for change, records in found.items():
        err.print(
            f"[yellow]warning:[/] {escape(f'{change.what} changed since {records} ({change.digests})')}."
        )
    if found:
        err.print(_FATE[changed])


def _write(share: Share, job: Job, records: list[Record]) -> None:
    """Write records; where the store takes no more, put them elsewhere and raise `UserError`."""
    unwritten = deque(records)
    store = share.store
    try:
        while unwritten:
            share.write(job, unwritten[0])
            unwritten.popleft()
    except OSError as error:
        raise takes_no_more(store.folder, error, f"{_rescued(store, list(unwritten))} ") from error
    share.done(job)


def _rescued(store: Store, records: list[Record]) -> str:
    """Write records to a store in the folder for temporary files; says what became of them."""
    what = ", ".join(f"{record.cell.text} seed {record.seed}" for record in records)
    try:
        other = Store(Path(tempfile.mkdtemp(prefix="retrograde-")))
        for record in records:
            other.write(record)
    except OSError:
        return f"Lost, and to be trained again: {what}."
    return f"What had just ended ({what}) lies in {other.folder}: copy what is in it to {store.folder}."


def _line(cell: Cell, records: list[Record], elsewhere: int = 0) -> str:
    done = [record for record in records if record.status == "done"]
    colour = "green" if len(done) == len(records) else "red"
    word = (
        "done"
        if len(done) == len(records)
        else ", ".join(sorted({r.status for r in records} - {"done"}))
    )
    line = f"[{colour}]{word:8}[/] {escape(cell.text)}  n={len(done)}"
    share = f"{elsewhere} of {len(records)}" if elsewhere < len(records) else "all"
    others = f"  ({share} from another run)" if elsewhere else ""
    if not done:
        return line + others
    what, values = _headline(done)
    score = t_interval(values)
    spread = f" ± {score.mean - score.low:.2f}" if score.n > 1 else ""
    compiled = (
        f", compile {done[0].clocks.get('compile', 0.0):.1f} s" if done[0].how["compiled"] else ""
    )
    seconds = sum(record.clocks["train"] / record.how["replicates"] for record in done)
    note = f", not compiled: {escape(done[0].how['note'])}" if done[0].how["note"] else ""
    return f"{line}  {what} {score.mean:.2f}{spread}  train {seconds:.1f} s{compiled}{note}{others}"


def _headline(done: list[Record]) -> tuple[str, np.ndarray]:
    """The score that stands for a cell, of each replicate: accuracy in percent, or the loss in regression."""
    left = [record.adaptation for record in done if record.adaptation]
    if not left:
        return "ACC %", 100 * np.array([record.R[-1].mean() for record in done])
    steps = f"after {len(left[0].loss) - 1} inner steps"
    if left[0].correct:
        return f"accuracy % {steps}", 100 * np.array([each.accuracy[-1].mean() for each in left])
    return f"loss {steps}", np.array([np.mean(each.loss[-1]) for each in left])


def _verdict(outcome: _Outcome, store: Store, out: Console, err: Console, traceback: bool) -> int:
    alike: dict[tuple[str, str, str], list[int]] = {}
    for record in outcome.troubles:
        alike.setdefault((record.status, record.cell.text, record.reason.strip()), []).append(
            record.seed
        )
    for (status, text, reason), seeds in alike.items():
        first, _, rest = reason.partition("\n")
        hint = " (--traceback shows all of it)" if rest and not traceback else ""
        said = reason if traceback else first
        err.print(
            f"[bold red]{status}[/] {escape(text)} seeds {', '.join(map(str, seeds))}: {escape(said)}{hint}"
        )
    if outcome.elsewhere:
        out.print(
            f"{outcome.elsewhere} replicates were trained by other runs on this store meanwhile."
        )
    out.print(f"Tables: retrograde report {store.folder}")
    return 1 if any(record.status == "failed" for record in outcome.troubles) else 0
