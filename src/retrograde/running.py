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
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from retrograde.compiling import Compile, check_compiler
from retrograde.data import data_folder
from retrograde.environment import physical_bytes, usable_cores
from retrograde.errors import UserError, nearest
from retrograde.execute import Ended, run_here, run_in_workers
from retrograde.plan import Context, Job, Request, plan
from retrograde.record import Cell, Record
from retrograde.registry import Registry
from retrograde.settings import parse
from retrograde.stats import t_interval
from retrograde.store import Store

INTERRUPTED = 130
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
    """What the command line says of a run."""

    plugins: tuple[Path, ...]
    data: Path | None
    device: str
    compile: str
    jobs: int | None  # None: as many as pay
    only: str | None
    cluster: str
    timeout: float | None
    traceback: bool = False  # of what failed, all of it is shown


def run_all(stores: list[tuple[Path, list[Request], int]], options: Options, out: Console, err: Console) -> int:
    """Plan every suite, then run every job; returns the exit code."""
    context, registry = _context(options), Registry(options.plugins)
    planned = []
    for folder, requests, seeds in stores:
        store = Store(folder)
        planned.append((store, plan(_chosen(requests, options.only), seeds, registry, context, store)))
    for store, _ in planned:
        store.check_writable()
        for path, why in store.damaged.items():
            err.print(f"[yellow]warning:[/] {escape(str(path))} is damaged and will be run again ({escape(why)}).")
    codes = [0]
    for store, jobs in planned:
        if INTERRUPTED not in codes:
            spread = options.device == "cpu" and not options.cluster
            at_once = options.jobs or (_workers(jobs) if spread else 1)
            codes.append(_run(store, jobs, registry, context._replace(jobs=at_once), out, err, options.traceback))
    return max(codes)


def _workers(jobs: list[Job]) -> int:
    """How many processes pay: with a core, 2 GiB and some work for each; 1 stands for this one."""
    todo = [job.steps for job in jobs if job.missing]
    return max(1, min(usable_cores(), physical_bytes() // 2**31, len(todo), sum(todo) // WORTH_A_PROCESS))


def _context(options: Options) -> Context:
    if options.compile not in get_args(Compile):
        raise UserError(f"--compile takes {', '.join(get_args(Compile))}; it was {options.compile!r}.")
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
        raise UserError("--device cuda needs a GPU that PyTorch can use, and there is none. Use --device cpu.")
    if options.compile == "on" and not options.cluster:
        check_compiler(torch.device(options.device))
    plugins = tuple(path.resolve() for path in options.plugins)
    mode = cast("Compile", options.compile)
    folder = data_folder(options.data)
    return Context(plugins, folder, options.device, mode, cluster=options.cluster, timeout=options.timeout)


def _chosen(requests: list[Request], only: str | None) -> list[Request]:
    if only is None:
        return requests
    _, wanted = parse(f"only:{only}")
    for key in wanted:
        if key not in Request._fields:
            raise UserError(f"--only takes benchmark=NAME,strategy=NAME; {key!r} is neither. {nearest(key, Request._fields)}")
    chosen = [r for r in requests if all(parse(getattr(r, key))[0] == name for key, name in wanted.items())]
    if not chosen:
        names = {key: sorted({parse(getattr(r, key))[0] for r in requests}) for key in wanted}
        raise UserError(f"--only {only} leaves no cell. There are {names}.")
    return chosen


def _run(
    store: Store, jobs: list[Job], registry: Registry, context: Context, out: Console, err: Console, traceback: bool = False
) -> int:
    todo = [job for job in jobs if job.missing]
    skipped = sum(len(job.seeds) - len(job.missing) for job in jobs)
    out.print(f"{store.folder}: {sum(len(j.missing) for j in todo)} replicates to run, {skipped} done already")
    _warn_outdated(jobs, store, err)
    troubles: list[Record] = []
    of_cell: dict[Cell, list[Record]] = {}
    left = Counter[Cell]()
    for job in todo:
        left[job.cell] += len(job.missing)
    with Progress(*COLUMNS, console=err, transient=True) as bar:
        task = bar.add_task("training", total=sum(job.steps for job in todo))

        def advance(steps: int) -> None:
            bar.advance(task, steps)

        try:
            with closing(_started(todo, registry, context, advance)) as running:
                for job, records in running:
                    _write(store, records)
                    cell = of_cell.setdefault(job.cell, [])
                    cell += records
                    if len(cell) == left[job.cell]:
                        out.print(_line(job.cell, of_cell.pop(job.cell)))
                    troubles += [record for record in records if record.status != "done"]
        except KeyboardInterrupt:
            err.print("Interrupted. What had finished is kept; the same command goes on from there.")
            return INTERRUPTED
    return _verdict(troubles, store, out, err, traceback)


def _started(todo: list[Job], registry: Registry, context: Context, advance: Callable[[int], None]) -> Ended:
    """The jobs at work: on a cluster, here, or, where there are several or some may be stopped, in processes of their own."""
    if context.cluster:
        from retrograde.cluster import run_on_cluster

        return run_on_cluster(todo, context, advance)
    here = context.jobs == 1 and context.timeout is None
    return run_here(todo, registry, context, advance) if here else run_in_workers(todo, context, advance)


def _warn_outdated(jobs: list[Job], store: Store, err: Console) -> None:
    if outdated := sum(job.outdated for job in jobs):
        names = sorted({job.cell.strategy.name for job in jobs if job.outdated})
        where = " ".join(str(store.folder / "*" / name) for name in names)
        kept = f"They are kept; to measure anew, delete {where} or choose another --out."
        err.print(f"[yellow]warning:[/] {outdated} records come from another version of their strategy's file. {kept}")


def _write(store: Store, records: list[Record]) -> None:
    """Write records; where the store takes no more, put them elsewhere and raise `UserError`."""
    unwritten = deque(records)
    try:
        while unwritten:
            store.write(unwritten[0])
            unwritten.popleft()
    except OSError as error:
        raise UserError(
            f"Records are written to --out, and {store.folder} takes no more: {error}. What was written before is kept. "
            f"{_rescued(store, list(unwritten))} Make room, or put right who may write; then the same command goes on."
        ) from error


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


def _line(cell: Cell, records: list[Record]) -> str:
    done = [record for record in records if record.status == "done"]
    colour = "green" if len(done) == len(records) else "red"
    word = "done" if len(done) == len(records) else ", ".join(sorted({r.status for r in records} - {"done"}))
    line = f"[{colour}]{word:8}[/] {escape(cell.text)}  n={len(done)}"
    if not done:
        return line
    what, values = _headline(done)
    score = t_interval(values)
    spread = f" ± {score.mean - score.low:.2f}" if score.n > 1 else ""
    compiled = f", compile {done[0].clocks.get('compile', 0.0):.1f} s" if done[0].how["compiled"] else ""
    seconds = sum(record.clocks["train"] / record.how["replicates"] for record in done)
    note = f", not compiled: {escape(done[0].how['note'])}" if done[0].how["note"] else ""
    return f"{line}  {what} {score.mean:.2f}{spread}  train {seconds:.1f} s{compiled}{note}"


def _headline(done: list[Record]) -> tuple[str, np.ndarray]:
    """The score that stands for a cell, of each replicate: accuracy in percent, or the loss in regression."""
    left = [record.adaptation for record in done if record.adaptation]
    if not left:
        return "ACC %", 100 * np.array([record.R[-1].mean() for record in done])
    steps = f"after {len(left[0].loss) - 1} inner steps"
    if left[0].correct:
        return f"accuracy % {steps}", 100 * np.array([each.accuracy[-1].mean() for each in left])
    return f"loss {steps}", np.array([np.mean(each.loss[-1]) for each in left])


def _verdict(troubles: list[Record], store: Store, out: Console, err: Console, traceback: bool) -> int:
    alike: dict[tuple[str, str, str], list[int]] = {}
    for record in troubles:
        alike.setdefault((record.status, record.cell.text, record.reason.strip()), []).append(record.seed)
    for (status, text, reason), seeds in alike.items():
        first, _, rest = reason.partition("\n")
        hint = " (--traceback shows all of it)" if rest and not traceback else ""
        shown = reason if traceback else first
        err.print(f"[bold red]{status}[/] {escape(text)} seeds {', '.join(map(str, seeds))}: {escape(shown)}{hint}")
    out.print(f"Tables: retrograde report {store.folder}")
    return 1 if any(record.status == "failed" for record in troubles) else 0
