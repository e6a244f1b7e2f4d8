"""Tuning: settings chosen on validation examples, and then measured on fresh seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape

from retrograde.errors import UserError, nearest, shown
from retrograde.interface.benchmark import Benchmark
from retrograde.parts.fields import SEEDS
from retrograde.parts.part import Part
from retrograde.parts.registry import Registry
from retrograde.parts.spec import as_pairs, parse
from retrograde.randomness import generator
from retrograde.records.cell import PartSpec
from retrograde.records.record import Record
from retrograde.records.store import Store
from retrograde.running.cell import Source, data_of
from retrograde.running.console import Stored, plan_all, records_of, work
from retrograde.running.options import Options, source_of
from retrograde.running.search_space import SearchSpace, ValueRange, canonical
from retrograde.running.seeds import seeds_of
from retrograde.running.suite import Pair
from retrograde.running.trials import CHOSEN_BY, Trials

if TYPE_CHECKING:
    import optuna

Method = Literal["grid", "random", "tpe"]
"""All values; draws at random; or draws near those that did well (Optuna's TPE sampler)."""

SHARE = 0.1
"""The share of training examples that is held out, if the benchmark says nothing."""

TRIALS = 20
"""The number of settings that `random` and `tpe` try, if nothing is said."""


@dataclass(frozen=True)
class Search:
    """The search for settings.

    Args:
        method: grid, random or tpe.
        protocol: The examples that settings are chosen on. All are held out from training examples;
            no test example is ever used.

            - `within`: those of every experience.
            - `first:3`: those of the first three experiences; the chosen settings are measured on
              the others (Chaudhry et al. 2019, arXiv 1812.00420).
            - `other-order`: as `within`, with the classes in other orders than the benchmark's (Cha
              and Cho 2024).
            - `other-dataset:NAME`: as `within`, on another dataset.
        trials: The number of settings that `random` and `tpe` try; None: 20.
        seeds: The number of seeds of each trial.
        fresh: The seeds on which the chosen settings are measured.
        metric: The score to maximise.
    """

    method: str = "grid"
    protocol: str = "within"
    trials: int | None = None
    seeds: int = 1
    fresh: str | Sequence[int] = "100-104"
    metric: str = "ACC"

    def __post_init__(self) -> None:
        """Raise `UserError` if the search cannot be done."""
        if self.method not in get_args(Method):
            raise UserError(
                f"A search is {', '.join(get_args(Method))}; it was {shown(self.method)}."
            )
        if self.trials is not None and self.method == "grid":
            raise UserError(
                f"A grid tries every setting; trials={shown(self.trials)} is for random and tpe. "
                "Leave it out."
            )
        _check_count("trials", TRIALS if self.trials is None else self.trials)
        _check_count("seeds", self.seeds)
        if self.metric not in CHOSEN_BY:
            raise UserError(
                "Settings are chosen by an accuracy; "
                f"{shown(self.metric)} is none. {nearest(self.metric, CHOSEN_BY)}"
            )
        if any(seed < self.seeds for seed in self.fresh_seeds):
            raise UserError(
                "Chosen settings are measured on seeds that no trial had; trials have 0 to "
                f"{self.seeds - 1}, and fresh is {shown(self.fresh)}. Give such as "
                f"{self.seeds}-{self.seeds + 4}."
            )

    @property
    def fresh_seeds(self) -> Sequence[int]:
        """The seeds on which the chosen settings are measured; one number is one seed."""
        single = str(self.fresh).isdigit()
        return [int(str(self.fresh))] if single else seeds_of(self.fresh)

    def random(self, number: int) -> np.random.Generator:
        """The generator of the search of one pair."""
        return generator(number, "tune")

    def candidates(
        self, space: SearchSpace, registry: Registry, random: np.random.Generator
    ) -> list[str]:
        """The strategies that a grid or a random search tries, each once.

        Raises:
            UserError: A setting is not possible, or there is nothing to choose.
        """
        # Of a range, both ends: they show what is not possible between them.
        grid = list(dict.fromkeys(canonical(spec, registry) for spec in space.grid()))
        if len(grid) < 2:
            raise UserError(
                "A search has at least two settings to choose from, such as er:lr=0.01|0.1; "
                f"{shown(grid[0])} is the only one."
            )
        if self.method == "grid":
            ranges = [key for key, each in space.choices.items() if isinstance(each, ValueRange)]
            if ranges:
                raise UserError(
                    f"A grid has values, such as {ranges[0]}=A|B; {ranges[0]} of "
                    f"{space.strategy} has a range. Search by random or tpe."
                )
            return grid
        count = self.trials or TRIALS
        if not space.finite:
            drawn = [canonical(space.draw(random), registry) for _ in range(count)]
            return list(dict.fromkeys(drawn))
        return [grid[place] for place in random.permutation(len(grid))[:count]]


def _check_count(name: str, value: object) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not 1 <= value <= SEEDS:  # type: ignore[operator]
        raise UserError(f"{name} is a whole number, from 1 to {SEEDS}; it was {shown(value)}.")


class Tuned(NamedTuple):
    """The settings that were chosen for a strategy on a benchmark.

    Args:
        benchmark: The benchmark on which they were measured.
        strategy: The strategy with these settings, as text.
        chosen: How they were chosen, such as `tuned (within, 15 trials of 1 seed)`.
        trials: Every trial: strategy, seeds, and the mean score on validation examples, which is
            NaN if a replicate diverged or failed.
        records: The records of the fresh seeds.
    """

    benchmark: str
    strategy: str
    chosen: str
    trials: pd.DataFrame
    records: list[Record]

    def __repr__(self) -> str:
        done = sum(record.status == "done" for record in self.records)
        return (
            f"<{self.strategy} on {self.benchmark}, {self.chosen}; {done} of {len(self.records)} "
            "fresh replicates done>"
        )


class _Planned(NamedTuple):
    """A search for one strategy on one benchmark.

    Args:
        space: The settings to choose from.
        trial: The benchmark of the trials, scored on validation examples.
        measured: The benchmark on which the choice is measured.
    """

    space: SearchSpace
    trial: Benchmark
    measured: Benchmark


class Runs(NamedTuple):
    """The runs of a search.

    Args:
        folder: The folder of their stores.
        options: Their options.
        out: The console for results.
        err: The console for progress.
    """

    folder: Path
    options: Options
    out: Console
    err: Console

    def train(
        self, store: str, pairs: list[Pair], seeds: Sequence[int], out: Console
    ) -> list[Record]:
        """Train what a store lacks, and read all of its records."""
        planned = plan_all([Stored(self.folder / store, pairs, seeds)], self.options, self.err)
        troubles: list[Record] = []
        work(planned, self.options, out, self.err, troubles)
        return records_of(planned, troubles)


def tune(pairs: Sequence[tuple[str | Part, str | Part]], search: Search, runs: Runs) -> list[Tuned]:
    """Choose settings for each strategy on each benchmark, and measure them on fresh seeds.

    Trials are records in `trials`, and those of the fresh seeds are in `measured`, so that the same
    call goes on after an interruption. The chosen settings are written to `tuned.toml`, a suite.

    Args:
        pairs: Benchmarks, and strategies as text: `er:lr=0.01|0.1|1` has three values, and
            `er:lr=0.001..1` any between, which `random` and `tpe` search.
        search: The search.
        runs: The folder and the options of the runs.

    Raises:
        UserError: A search is not possible; raised before anything trains.
    """
    registry = Registry(runs.options.plugins)
    planned = [_planned(*pair, search, registry, runs.options.data) for pair in pairs]
    _check(planned, search, registry, runs)
    tuned = []
    for number, each in enumerate(planned):
        trials = _tried(number, each, search, registry, runs)
        best = trials.best()
        chosen = _said(each, best, search, registry, runs)
        runs.out.print(f"[green]chosen[/]   {escape(best)}  {escape(chosen)}")
        pair = Pair(each.measured, best, chosen)
        records = runs.train("measured", [pair], search.fresh_seeds, runs.out)
        name = PartSpec.of(registry.name_of(each.measured), each.measured).spec
        tuned.append(Tuned(name, best, chosen, trials.frame(), records))
        # Rewritten after each, so that an interruption loses none.
        (runs.folder / "tuned.toml").write_text(_suite(tuned, search), encoding="utf-8")
    return tuned


def _said(planned: _Planned, best: str, search: Search, registry: Registry, runs: Runs) -> str:
    """How settings were chosen, with their values and the trials of all searches in the folder."""
    name, settings = parse(best)
    resolved = registry.get("strategies", name, settings).settings()
    values = as_pairs({key: resolved[key] for key in planned.space.choices})
    trial = PartSpec.of(registry.name_of(planned.trial), planned.trial).spec
    tried = {
        record.cell.strategy.spec
        for record in Store(runs.folder / "trials")
        if record.cell.benchmark.spec == trial and record.cell.strategy.name == name
    }
    plural = "s" * (search.seeds > 1)
    return (
        f"tuned ({search.protocol}, {search.method} by {search.metric}, {len(tried)} trials of "
        f"{search.seeds} seed{plural}: {values})"
    )


def _planned(
    given: str | Part,
    strategy: str | Part,
    search: Search,
    registry: Registry,
    data: Source | Path | None,
) -> _Planned:
    """The search for a strategy on a benchmark."""
    if not isinstance(strategy, str):
        raise UserError(
            "A search is over settings of a strategy that is given as text, such as "
            f"'er:lr=0.01|0.1'; it was {shown(strategy)}."
        )
    benchmark = given if isinstance(given, Part) else registry.get("benchmarks", *parse(given))
    if not isinstance(benchmark, Benchmark):
        raise UserError(
            "Settings are chosen on validation examples, which streams have; "
            f"{shown(given)} has none. Take a stream."
        )
    if benchmark.evaluate_on == "validation":
        raise UserError(
            "Settings are chosen on validation examples and measured on test examples; the "
            "benchmark has evaluate_on=validation. Leave it out."
        )
    source = source_of(data)
    stream = benchmark.stream(data_of(benchmark, source))
    trial, measured = _benchmarks(benchmark, search.protocol, len(stream))
    dataset = data_of(trial, source)
    own = dataset is not None and dataset.x_val is not None
    if stream.regression:
        raise UserError(
            f"Settings are chosen by an accuracy, and {type(benchmark).__name__} has values to "
            "predict. Take a stream of classes."
        )
    share = 0.0 if own else benchmark.validation or SHARE
    trial = replace(trial, validation=share, evaluate_on="validation")
    return _Planned(SearchSpace.read(strategy, registry), trial, measured)


def _benchmarks(
    benchmark: Benchmark, protocol: str, experiences: int
) -> tuple[Benchmark, Benchmark]:
    """The benchmarks of the trials, before examples are held out, and of the measurement.

    Args:
        benchmark: The benchmark.
        protocol: The examples that settings are chosen on.
        experiences: The number of experiences of the benchmark.
    """
    name, _, argument = protocol.partition(":")
    if name == "within" and not argument:
        return benchmark, benchmark
    if name == "first" and argument.isdigit() and int(argument):
        if int(argument) >= experiences:
            raise UserError(
                "first:N chooses on the first N experiences and measures on the others; N was "
                f"{argument}, and the stream has {experiences}. Give a smaller N, or use within."
            )
        first = benchmark.skip_experiences + int(argument)
        return (
            replace(benchmark, first_experiences=first),
            replace(benchmark, skip_experiences=first),
        )
    if name == "other-order" and not argument:
        order = getattr(benchmark, "class_order", None)
        if order is None:
            raise UserError(
                "other-order draws class orders that the benchmark does not have; the classes of "
                f"{type(benchmark).__name__} have no order. Use within."
            )
        if not order:
            raise UserError(
                "other-order draws class orders that the benchmark does not have; this one draws "
                "its own from the seed. Use within, or give an order, such as "
                "class_order=0,1,2,3,4,5,6,7,8,9."
            )
        setting: dict[str, Any] = {"class_order": ()}
        return replace(benchmark, **setting), benchmark
    if name == "other-dataset" and argument:
        if argument == benchmark.dataset:
            raise UserError(
                "other-dataset chooses on another dataset than the benchmark's; both are "
                f"{shown(argument)}. Name another one, or use within."
            )
        return replace(benchmark, dataset=argument), benchmark
    raise UserError(
        "A protocol is within, first:N, other-order or other-dataset:NAME; it was "
        f"{shown(protocol)}."
    )


def _check(planned: Sequence[_Planned], search: Search, registry: Registry, runs: Runs) -> None:
    """Raise `UserError` if a search cannot be run; for ranges, both ends are looked at."""
    if search.method == "tpe":
        _optuna()
    for number, each in enumerate(planned):
        specs = search.candidates(each.space, registry, search.random(number))
        for store, benchmark in (("trials", each.trial), ("measured", each.measured)):
            pairs = [Pair(benchmark, spec) for spec in specs]
            plan_all([Stored(runs.folder / store, pairs, [0])], runs.options, runs.err)


def _tried(
    number: int, planned: _Planned, search: Search, registry: Registry, runs: Runs
) -> Trials:
    """The trials of a search."""
    # Lines of single cells would not say that they are about validation examples.
    quiet = Console(quiet=True)

    def train(specs: list[str], seeds: Sequence[int]) -> list[Record]:
        pairs = [Pair(planned.trial, spec) for spec in specs]
        return runs.train("trials", pairs, seeds, quiet)

    trials = Trials(train, search.metric, search.seeds, runs.out)
    random = search.random(number)
    if search.method != "tpe":
        trials.race(search.candidates(planned.space, registry, random))
        return trials
    optuna = _optuna()
    sampler = optuna.samplers.TPESampler(seed=int(random.integers(2**31)))
    study = optuna.create_study(sampler=sampler, direction="maximize")
    for _ in range(search.trials or TRIALS):
        trial = study.ask()
        choices = planned.space.choices.items()
        spec = planned.space.spec(_suggested(trial, key, choice) for key, choice in choices)
        spec = canonical(spec, registry)
        trials.run([spec], range(search.seeds))
        mean = trials.mean(spec)
        if np.isfinite(mean):
            study.tell(trial, mean)
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return trials


def _optuna() -> Any:
    """Optuna, which logs warnings alone."""
    try:
        import optuna
    except ImportError as error:
        raise UserError(
            "search=tpe uses Optuna, which is not installed. Install it: "
            "pip install 'retrograde[tune]', or search=random."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _suggested(trial: "optuna.Trial", key: str, choice: tuple[str, ...] | ValueRange) -> str:
    if isinstance(choice, ValueRange):
        value = trial.suggest_float(key, choice.low, choice.high, log=choice.logarithmic)
        return choice.text(value)
    return str(trial.suggest_categorical(key, choice))


def _suite(tuned: Sequence[Tuned], search: Search) -> str:
    """The chosen settings as a suite, in TOML."""
    seeds = ",".join(map(str, search.fresh_seeds))
    lines = [
        f'title = "Chosen by {search.metric} on validation examples, protocol {search.protocol}"',
        f'seeds = "{seeds}"',
    ]
    for each in tuned:
        lines += [
            "",
            "[[cells]]",
            f'chosen = "{each.chosen}"',
            f'benchmarks = ["{each.benchmark}"]',
            f'strategies = ["{each.strategy}"]',
        ]
    return "\n".join([*lines, ""])
