"""The Python API: one function for each command of the command line."""

import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import pandas as pd
from rich.console import Console

from retrograde.contract.claims import Verdict
from retrograde.data.dataset import Dataset
from retrograde.errors import UserError, shown
from retrograde.metrics.conventions import metrics
from retrograde.metrics.errors import ERRORS
from retrograde.metrics.frames import cell_labels, score_frame
from retrograde.metrics.matrix_input import score_matrix
from retrograde.metrics.pooled import POOLED
from retrograde.parts.fields import LONGEST_TIMEOUT
from retrograde.parts.part import Part
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse, words
from retrograde.paths import home_path
from retrograde.records.experiences import Experiences
from retrograde.records.presentation import Presentation, read_presentation
from retrograde.records.record import Record
from retrograde.records.store import Store
from retrograde.records.versions import told_apart
from retrograde.reporting import comparison
from retrograde.reporting.files import write
from retrograde.reporting.names import with_names
from retrograde.reporting.report import Report, report as made_of
from retrograde.reporting.request import (
    COLUMN,
    Request,
    formats as formats_of,
    patterns,
)
from retrograde.reporting.table import Table
from retrograde.running.cell import AnyBenchmark, AnyStrategy
from retrograde.running.console import Stored, plan_all, records_of, work
from retrograde.running.options import SNAPSHOTS, Options
from retrograde.running.seeds import seeds_of
from retrograde.running.suite import Pair, Suite, all_pairs, grids, read_suite
from retrograde.running.tuning import Runs, Search, Tuned, tune as tuned

Parts = str | Part | Sequence[str | Part]
"""One part or several, each as text, such as `er:buffer_size=500`, or as an object."""
Recorded = str | Path | Sequence[Record]
"""A folder of records, or the records themselves."""


_NO_WORDS = Presentation()


class Records(tuple[Record, ...]):
    """Records of replicates; a notebook shows them as a table of their scores.

    Attributes:
        words: the title and the names of their suite.
    """

    words: Presentation

    def __new__(cls, records: Iterable[Record] = (), words: Presentation = _NO_WORDS) -> "Records":
        """Make records of any others."""
        made = super().__new__(cls, records)
        made.words = words
        return made

    def __repr__(self) -> str:
        cells = {record.cell for record in self}
        done = sum(record.status == "done" for record in self)
        return f"<{len(self)} records of {len(cells)} cells, {done} done>"

    def _repr_markdown_(self) -> str:
        """First table of a report, for notebooks."""
        from retrograde.reporting.formats import markdown

        tables = report(self).tables
        return markdown(next(iter(tables.values()))) if tables else repr(self)


def run(
    benchmarks: Parts | Suite,
    strategies: Parts = (),
    seeds: int | Sequence[int] | None = None,
    *,
    store: str | Path | None = None,
    data: str | Path | Mapping[str, Dataset] | None = None,
    jobs: int = 1,
    device: str = "cpu",
    compile: str = "auto",  # noqa: A002 - the command line's word
    timeout: float | None = None,
    changed: str = "rerun",
    keep: str | Sequence[str] = (),
    checkpoint: bool = False,
    continue_from: str | Path | None = None,
    log: str = "",
    progress: bool = True,
) -> Records:
    """Train every strategy on every benchmark and return a record of each replicate.

    Args:
        benchmarks: one or several, as text or as objects; or a `Suite`, to which `strategies` are
            added.
        strategies: one or several, as text or as objects.
        seeds: replicates of every cell, at least 1, or the list of their seeds. Default: 5, or as
            many as the suite says.
        store: a folder that keeps the records, and whose finished records are not made again;
            None: nothing is kept.
        data: the data folder, or datasets by name, for a benchmark's setting `dataset`.
        jobs: processes that train at a time. A script that takes several, or a `timeout`, must
            start its work under `if __name__ == "__main__"`, as always where Python starts
            processes.
        device: cpu or cuda.
        compile: auto, on or off (`docs/running.md`, "Execution modes").
        timeout: seconds after which replicates that train together are stopped and have failed.
        changed: treatment of finished records that other versions of the code made: rerun, keep
            or stop.
        keep: what to keep of each replicate besides its record, as names or as text: model, for
            `record.model()`; predictions, for `record.predictions`; snapshots, in the store, for
            `continue_from`.
        checkpoint: keep snapshots in the store after each experience, from which the same call goes
            on if it was stopped.
        continue_from: a store with kept snapshots of streams that are the first experiences of
            these; only later experiences are trained, with the same results as of the whole.
        log: tensorboard: write the curves of each record to the folder tensorboard of the store.
        progress: show a bar, and warnings, while the replicates train.

    Returns:
        The records, cell by cell. `status` and `reason` tell those that diverged or failed, and a
        warning names the first.

    Raises:
        UserError: something cannot be run; raised before anything trains.
    """
    pairs, replicates, added = _pairs(benchmarks, strategies, seeds)
    words = _words(benchmarks)
    options = _options(data, jobs, compile, device, timeout, changed)
    options = options._replace(keep=_names("keep", keep), checkpoint=checkpoint, log=log)
    if continue_from is not None:
        options = options._replace(continue_from=_path("continue_from", continue_from))
    _check_snapshots(options, store)
    quiet = Console(quiet=True)
    shows = Console(stderr=True, quiet=not progress)
    with _folder(store) as folder:
        stored = [Stored(folder, pairs, replicates, added, words)]
        planned = plan_all(stored, options, shows)
        troubles: list[Record] = []
        work(planned, options, quiet, shows, troubles)
        found = records_of(planned, troubles)
        whole = found if store else [record.with_files() for record in found]
        # Before a temporary folder is removed.
        records = Records(whole, read_presentation(folder))
    _warn(records)
    return records


def tune(
    benchmarks: Parts,
    strategies: str | Sequence[str],
    *,
    search: str = "grid",
    protocol: str = "within",
    trials: int | None = None,
    seeds: int = 1,
    fresh: str | Sequence[int] = "100-104",
    metric: str = "ACC",
    store: str | Path | None = None,
    data: str | Path | Mapping[str, Dataset] | None = None,
    jobs: int = 1,
    device: str = "cpu",
    compile: str = "auto",  # noqa: A002 - the command line's word
    timeout: float | None = None,
    checkpoint: bool = False,
    progress: bool = True,
) -> list[Tuned]:
    """Choose settings on validation examples, and measure them on fresh seeds.

    Args:
        benchmarks: one stream or several, as text or as objects.
        strategies: one or several as text, with the settings to choose from:
            `er:lr=0.01|0.1|1,buffer_size=50|200`, or `er:lr=0.001..1` for any rate between.
        search: grid; random; or tpe, which needs the extra `tune`.
        protocol: the examples that settings are chosen on: within, first:N, other-order or
            other-dataset:NAME; see `docs/tuning.md`.
        trials: settings that random and tpe try; None: 20.
        seeds: seeds of each trial.
        fresh: seeds on which the chosen settings are measured.
        metric: the score to choose by.
        store: a folder that keeps the records, so that the same call goes on; None: nothing is
            kept.
        data: the data folder, or datasets by name.
        jobs: processes that train at a time.
        device: cpu or cuda.
        compile: auto, on or off.
        timeout: seconds after which replicates that train together are stopped and have failed.
        checkpoint: keep snapshots in the store after each experience, from which the same call goes
            on if it was stopped.
        progress: show a bar while the replicates train.

    Returns:
        The chosen settings of each strategy on each benchmark, with every trial and the records of
        the fresh seeds.

    Raises:
        UserError: a search is not possible; raised before anything trains.
    """
    streams = _several("benchmarks", benchmarks)
    methods = _several("strategies", strategies)
    wanted = Search(search, protocol, trials, seeds, fresh, metric)
    options = _options(data, jobs, compile, device, timeout)._replace(checkpoint=checkpoint)
    quiet = Console(quiet=True)
    shows = Console(stderr=True, quiet=not progress)
    pairs = [(stream, method) for stream in streams for method in methods]
    with _folder(store) as folder:
        return tuned(pairs, wanted, Runs(folder, options, quiet, shows))


def _options(
    data: object,
    jobs: object,
    compile: str,  # noqa: A002 - the command line's word
    device: str = "cpu",
    timeout: object = None,
    changed: str = "rerun",
) -> Options:
    """Return the options of a run; raise `UserError` if one is not possible."""
    return Options(
        plugins=(),
        data=_data(data),
        device=device,
        compile=compile,
        jobs=_at_least_one("jobs", jobs),
        only=None,
        cluster="",
        timeout=_seconds(timeout),
        changed=changed,
    )


def _pairs(
    benchmarks: Parts | Suite,
    strategies: Parts,
    seeds: int | Sequence[int] | None,
) -> tuple[list[Pair], Sequence[int], list[str | Part]]:
    """Return the pairs, their seeds, and the strategies that were added to a suite."""
    if isinstance(benchmarks, Suite):
        added = grids(_several("strategies", strategies))
        replicates = seeds_of(benchmarks.seeds if seeds is None else seeds)
        return benchmarks.pairs(added), replicates, added
    streams = _several("benchmarks", benchmarks)
    methods = _several("strategies", strategies)
    if not (streams and methods):
        raise UserError(
            "A run has at least one benchmark and one strategy; one of the two is empty. Name both."
        )
    return all_pairs(streams, methods), seeds_of(5 if seeds is None else seeds), []


def _words(given: object) -> Presentation | None:
    """Return the title and the names of a suite; None for anything else."""
    return Presentation(given.title, given.names) if isinstance(given, Suite) else None


def _several(what: str, given: object) -> list[str | Part]:
    """Return parts as a list; raise `UserError` for anything else."""
    several = given if isinstance(given, list | tuple) else [given]
    return [_asked(what, part) for part in several]


def _asked(what: str, given: object) -> str | Part:
    """Return a part as it is given, as text or as an object; raise `UserError` otherwise."""
    if isinstance(given, str) or (isinstance(given, Part) and given.kind == what):
        return given
    if isinstance(given, type) and issubclass(given, Part):
        raise UserError(
            f"{what} are objects, and {given.__name__} is a class. "
            f"Make one of it: {given.__name__}()."
        )
    raise UserError(
        f"{what} are given as text, such as '{_EXAMPLES[what]}', as objects, or as a list of these "
        f"(list(...) makes one of a generator); {shown(given)} is none of them."
    )


_EXAMPLES = {"benchmarks": "split:tasks=5", "strategies": "er:lr=0.1"}


def _names(what: str, given: object, split: Callable[[str], Iterable[str]] = words) -> list[str]:
    """Return names that are given as a list, or as text with commas between them."""
    several = [*split(given)] if isinstance(given, str) else given
    if not isinstance(several, list | tuple) or not all(isinstance(each, str) for each in several):
        raise UserError(f"{what} are names, as text or as a list; it was {shown(given)}.")
    return [*several]


def _at_least_one(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{name} is a whole number, at least 1; it was {shown(value)}.")
    return value


def _seconds(timeout: object) -> float | None:
    if timeout is None:
        return None
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not number or not 1 <= cast("float", timeout) <= LONGEST_TIMEOUT:
        raise UserError(
            f"timeout is in seconds, from 1 to {LONGEST_TIMEOUT}; it was {shown(timeout)}."
        )
    return float(cast("float", timeout))


def _path(what: str, given: object) -> Path:
    """Return the path that a text stands for, with `~` as the home folder."""
    if not isinstance(given, str | Path):
        raise UserError(f"{what} is a path, as text or as a Path; it was {shown(given)}.")
    return home_path(str(given))


def _check_snapshots(options: Options, store: object) -> None:
    """Raise `UserError` if snapshots are to be kept without a store."""
    if SNAPSHOTS in options.keep and store is None:
        raise UserError(
            "Snapshots are kept in a store; keep has snapshots, and store is None. Give store=."
        )


def _data(given: object) -> Path | Mapping[str, Dataset] | None:
    if given is None:
        return None
    if isinstance(given, Dataset):
        raise UserError(
            f"A dataset is given by its name, data={{'{given.name}': dataset}}, and the benchmark "
            f"names it, dataset={given.name}; data was the dataset itself."
        )
    if not isinstance(given, Mapping):
        return _path("data", given)
    for name, dataset in given.items():
        if not isinstance(name, str) or not isinstance(dataset, Dataset):
            raise UserError(
                "data is a folder, or a dictionary of rg.Dataset by name; "
                f"{shown(name)} is {shown(dataset)}."
            )
    return given


@contextmanager
def _folder(store: str | Path | None) -> Iterator[Path]:
    """Yield the folder of a store, or a temporary folder if there is none."""
    if store is not None:
        yield _path("store", store)
        return
    with tempfile.TemporaryDirectory(prefix="retrograde-") as folder:
        yield Path(folder)


def _warn(records: Records) -> None:
    """Warn that replicates are not done, with the reason of the first."""
    troubles = [record for record in records if record.status != "done"]
    if troubles:
        first = troubles[0]
        reason = first.reason.partition("\n")[0]
        # Level 3 is the line that called `run`.
        warnings.warn(
            f"{len(troubles)} of {len(records)} replicates are not done; {first.cell.spec}, "
            f"seed {first.seed}, {first.status}: {reason}",
            stacklevel=3,
        )


def load(folder: str | Path) -> Records:
    """Read the records of a store; those that cannot be read are left out, with a warning.

    Args:
        folder: the folder of the store.

    Raises:
        UserError: there is no such folder, or it holds no record.
    """
    path = _path("folder", folder)
    if not path.is_dir():
        raise UserError(
            f"Records are loaded from a folder that a run has written; there is none at {path}."
        )
    store = Store(path)
    records = Records(store, read_presentation(path))
    for damaged, why in store.damaged.items():
        warnings.warn(f"{damaged} is left out: {why}", stacklevel=2)
    if not records:
        raise UserError(
            f"Records lie at BENCHMARK/STRATEGY/DIGEST/seed-N.json in a folder; {path} holds none."
        )
    return records


def _are_records(given: Sequence[object]) -> bool:
    return all(isinstance(record, Record) for record in given)


def _recorded(given: Recorded) -> Records:
    """Return records, read from a folder if one is given; raise `UserError` for anything else."""
    if isinstance(given, str | Path):
        return load(given)
    if isinstance(given, Records):
        return given
    if isinstance(given, Record):
        return Records([given])
    if isinstance(given, list | tuple) and _are_records(given):
        return Records(given)
    raise UserError(f"Records are those of a run or a store's folder; it was {shown(given)}.")


def scores(
    given: object,
    *,
    tests: Sequence[int] | None = None,
    experiences: Experiences | None = None,
    convention: str = "own",
) -> pd.DataFrame:
    """Compute every metric of every replicate.

    Args:
        given: records; a store's folder; or an accuracy matrix that other code has made: an array,
            nested lists or a CSV file without a heading. It has a row after each of E experiences,
            or one more before the first, and T columns: the accuracy on task j after experience i,
            from 0 to 1. In a stack of matrices, each is of a replicate.
        tests: the number of test examples of each task, if the matrix has counts of right answers.
        experiences: the experiences of the matrix; None if each trains one task, in order, so that
            E = T.
        convention: the definitions of forgetting and transfer: own, avalanche, gem, lamaml or
            mammoth.

    Returns:
        The columns benchmark, strategy, settings, seed, upper_bound, metric and value. For a
        matrix: seed, metric and value, without metrics for which it does not suffice.

    Raises:
        UserError: `given` is neither records nor a matrix of accuracies.

    Example:
        >>> frame = rg.scores([[0.9, 0.1], [0.5, 0.8]])
        >>> frame.set_index("metric").value[["ACC", "BWT", "forgetting"]].round(2).to_dict()
        {'ACC': 0.65, 'BWT': -0.4, 'forgetting': 0.4}
    """
    if not isinstance(convention, str):
        raise UserError(f"convention is a name, such as avalanche; it was {shown(convention)}.")
    wanted = metrics(convention) + POOLED
    if _is_store(given):
        if tests is not None:
            raise UserError("Records know their numbers of test examples. Leave tests out.")
        if experiences is not None:
            raise UserError("Records know their experiences. Leave experiences out.")
        records, _ = told_apart(_recorded(cast("Recorded", given)))
        return score_frame(records, cell_labels(records), (*wanted, *ERRORS))
    return score_matrix(given, tests, experiences, wanted)


def _is_store(given: object) -> bool:
    """True for records and for a store's folder, false for a matrix or its file."""
    if isinstance(given, str | Path):
        return Path(given).suffix.lower() != ".csv"
    if isinstance(given, Record):
        return True
    # An empty list is no store: as a matrix, its error says what a matrix looks like.
    return isinstance(given, list | tuple) and bool(given) and _are_records(given)


def report(
    given: Recorded,
    out: str | Path | None = None,
    formats: str | Sequence[str] = "md",
    *,
    only: str | Sequence[str] = (),
    metrics: str | Sequence[str] = (),
    across: str = "",
    benchmarks: str | Sequence[str] = (),
    strategies: str | Sequence[str] = (),
    decimals: int = 2,
    spread: str = "ci",
    label: str = "",
    caption: str = "",
    width: float = COLUMN,
    names: Mapping[str, str] | None = None,
    convention: str = "own",
) -> Report:
    """Make tables from records alone, and figures if a format needs them.

    Args:
        given: records, or a store's folder.
        out: a folder for the files; None: none are written.
        formats: some of md, csv, tex, svg, png, pdf and html (one page that holds everything), as a
            list or separated by commas; CSV is always written.
        only: the tables and figures to make, such as scores; empty: all.
        metrics: the metrics of the table of scores, in order; empty: all.
        across: benchmarks, for one table of scores with a group of columns for each benchmark.
        benchmarks: the benchmarks to keep, by name or as text, such as split:tasks=5; empty: all.
        strategies: the strategies to keep, in the order of rows; empty: all.
        decimals: decimal places of the table of scores.
        spread: the number after ±: ci, half of the 95 % interval, or sd, the standard deviation.
        label: the LaTeX label of the table of scores.
        caption: the LaTeX caption of the table of scores, as plain text.
        width: the width of PDF figures in inches.
        names: names of benchmarks and strategies, such as {"er": "ER (ours)"}, besides those of
            the suite.
        convention: the definitions of forgetting and transfer: own, avalanche, gem, lamaml or
            mammoth.

    Returns:
        The tables and figures, by name: `report(records).tables["scores"].frame()` is the table
        as a data frame, and `.tidy` has its numbers.

    Raises:
        UserError: there are no such records, or something else that is asked for is not there.
    """
    records = _recorded(given)
    if not records:
        raise UserError("A report is made from records, and there are none.")
    registry = Registry()
    asked = Request(
        _formats(formats),
        convention,
        tuple(_names("only", only)),
        tuple(_names("metrics", metrics)),
        across,
        tuple(_names("benchmarks", benchmarks, patterns)),
        tuple(_names("strategies", strategies, patterns)),
        decimals,
        spread,
        label,
        width,
        caption,
    )
    title = home_path(str(given)).resolve().name if isinstance(given, str | Path) else "records"
    words = with_names(records.words, _cell_names(names), records)
    words = replace(words, title=words.title or title)
    made = made_of(records, asked, registry, words)
    if out is not None:
        write(_path("out", out), asked, made, registry)
    return made


def _cell_names(given: object) -> Mapping[str, str]:
    """Return names by pattern; raise `UserError` for anything else."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(
        isinstance(text, str) for pair in given.items() for text in pair
    ):
        raise UserError(
            f'names is a dictionary of names, such as {{"er": "ER (ours)"}}; it was {shown(given)}.'
        )
    return given


def _formats(given: str | Sequence[str]) -> list[str]:
    return formats_of(",".join(_names("formats", given)))


def compare(a: Recorded, b: Recorded) -> Table:
    """Test two sets of records cell by cell.

    Args:
        a: the records, or a store's folder, before a change.
        b: those after it.

    Returns:
        A table with a verdict for each cell: changed, changed within noise, or identical.

    Raises:
        UserError: they share no replicate.
    """
    table, _ = comparison.compare(_recorded(a), _recorded(b), ("a", "b"))
    return table


def check(
    part: str | Part,
    benchmark: str | Part | None = None,
    *,
    data: str | Path | None = None,
) -> list[Verdict]:
    """Run the contract on a strategy, or on a part of another kind.

    Args:
        part: the strategy, as text or as an object; another part as an object.
        benchmark: a benchmark of streams, as text or as an object. The strategy is then tried on
            a few of its examples, and on toy examples of their shape, with as many classes per
            task and the benchmark's scenario, model and optimiser. None: on toy vectors, or on
            images if the strategy's `contract_model` needs them.
        data: the data folder.

    Returns:
        A verdict, with the claim and the reason, for each check. An error is reported once: checks
        that stop at the same line are `not reached`.

    Raises:
        UserError: a part is unknown or cannot be a part, or there is no dataset.
    """
    # The contract's checks are slow to import, and only this call needs them.
    from retrograde.contract.parts import verdicts

    given = _object("strategies", part)
    ground = None if benchmark is None else _object("benchmarks", benchmark)
    folder = None if data is None else _path("data", data)
    return list(verdicts(given, ground, folder))


def _object(kind: str, given: object) -> Part:
    """Return a part that is given as text or as an object, with a class that can be one."""
    other = isinstance(given, Part) and kind == "strategies"
    asked = given if other else _asked(kind, given)
    part = _part(kind, asked) if isinstance(asked, str) else cast("Part", asked)
    Registry().name_of(part)  # raises for a class that cannot be a part
    return part


def benchmark(text: str) -> AnyBenchmark:
    """Return the benchmark that a text names, such as `split:dataset=mnist,tasks=5`.

    Example:
        >>> rg.benchmark("split:tasks=2").overrides()
        {'tasks': 2}
        >>> stream = rg.benchmark("split:tasks=2").stream(seed=0)
        >>> [experience.x_train.shape for experience in stream]
        [(668, 1, 8, 8), (679, 1, 8, 8)]
    """
    return cast("AnyBenchmark", _part("benchmarks", text))


def strategy(text: str) -> AnyStrategy:
    """Return the strategy that a text names, such as `er:buffer_size=500`.

    Example:
        >>> rg.strategy("er:buffer_size=500")
        ER(lr=0.1, buffer_size=500, replay_batch=10, policy='reservoir')
    """
    return cast("AnyStrategy", _part("strategies", text))


def _part(kind: str, text: str) -> Part:
    if not isinstance(text, str):
        raise UserError(
            f"A part is named by a text, NAME:key=value,key=value; it was {shown(text)}."
        )
    return Registry().get(kind, *parse(text))


def suite(name: str) -> Suite:
    """Return the shipped suite of that name, or the suite in that TOML file, for `run`.

    Example:
        >>> len(rg.suite("quick").pairs())
        22
    """
    return read_suite(str(_path("A suite", name)))
