"""Tuning: settings chosen on validation examples, and then measured on fresh seeds."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape

from retrograde.data.sources import data_folder
from retrograde.errors import UserError, nearest, shown
from retrograde.interface.benchmark import Benchmark
from retrograde.metrics.conventions import metrics
from retrograde.metrics.frames import cell_labels, score_frame
from retrograde.metrics.pooled import POOLED
from retrograde.parts.part import Part
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse, write
from retrograde.randomness import generator
from retrograde.records.cell import PartSpec
from retrograde.records.record import Record
from retrograde.running.cell import Source, data_of
from retrograde.running.console import Options, Stored, plan_all, records_of, work
from retrograde.running.seeds import seeds_of
from retrograde.running.suite import Pair

if TYPE_CHECKING:
    import optuna

How = Literal["grid", "random", "tpe"]
"""All values; draws at random; or draws near those that did well (Optuna's TPE sampler)."""

SHARE = 0.1
"""The share of training examples that is held out, if the benchmark says nothing."""

BOUNDED = ("ACC", "ACC_pooled", "AIA", "LA", "ACC_task_aware")
"""Scores of at most 1, so that a trial whose other seeds cannot help is known to lose."""


@dataclass(frozen=True)
class Search:
    """The search for settings.

    Args:
        how: grid, random or tpe.
        protocol: The examples that settings are chosen on. All are held out from training examples;
            no test example is ever used.

            - `within`: those of every experience.
            - `first:3`: those of the first three experiences; the chosen settings are measured on
              the others (Chaudhry et al. 2019, arXiv 1812.00420).
            - `other-order`: as `within`, with the classes in other orders than the benchmark's (Cha
              and Cho 2024).
            - `other-dataset:NAME`: as `within`, on another dataset.
        trials: The number of settings that `random` and `tpe` try.
        seeds: The number of seeds of each trial.
        fresh: The seeds on which the chosen settings are measured.
        metric: The score to maximise, or to minimise if less of it is better.
    """

    how: str = "grid"
    protocol: str = "within"
    trials: int = 20
    seeds: int = 1
    fresh: str | Sequence[int] = "100-104"
    metric: str = "ACC"

    def __post_init__(self) -> None:
        """Raise `UserError` if the search cannot be done."""
        if self.how not in get_args(How):
            raise UserError(f"A search is {', '.join(get_args(How))}; it was {shown(self.how)}.")
        for name in ("trials", "seeds"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"{name} is a whole number, at least 1; it was {shown(value)}.")
        known = [metric.name for metric in _SCORES]
        if self.metric not in known:
            raise UserError(
                f"Settings are chosen by a metric of the table of scores; {shown(self.metric)} is "
                f"none. {nearest(self.metric, known)}"
            )
        if set(seeds_of(self.fresh)) & set(range(self.seeds)):
            raise UserError(
                "Chosen settings are measured on seeds that no trial had; trials have 0 to "
                f"{self.seeds - 1}, and fresh is {shown(self.fresh)}. Give others, as 100-104."
            )


_SCORES = metrics("own") + POOLED


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


def tune(
    pairs: Sequence[Pair],
    search: Search,
    folder: Path,
    options: Options,
    out: Console,
    err: Console,
) -> list[Tuned]:
    """Choose settings for each strategy on each benchmark, and measure them on fresh seeds.

    Trials are records in `folder/trials`, and those of the fresh seeds are in `folder/measured`, so
    that the same call goes on after an interruption. The chosen settings are written to
    `folder/tuned.toml`, a suite.

    Args:
        pairs: Benchmarks, and strategies as text: `er:lr=0.01|0.1|1` has three values, and
            `er:lr=0.001..1` any between, which `random` and `tpe` search.
        search: The search.
        folder: The folder of the records.
        options: The options of the runs.
        out: The console for results.
        err: The console for progress.

    Raises:
        UserError: A search is not possible; raised before anything trains.
    """
    registry = Registry(options.plugins)
    searches = [_of_pair(pair, search, registry, options.data) for pair in pairs]
    for space, *grounds in searches:
        for part, ground in zip(("trials", "measured"), grounds, strict=True):
            plan_all([Stored(folder / part, [(ground, space.first)], [0])], options, err)
    tuned = []
    for place, (space, trial_ground, ground) in enumerate(searches):
        trials = _Trials(trial_ground, search, folder / "trials", options, out, err)
        if search.how == "tpe":
            _tpe(space, search, registry, trials, generator(place, "tune"))
        else:
            trials.race(_candidates(space, search, registry, generator(place, "tune")))
        best = trials.best(search)
        plural = "s" * (search.seeds > 1)
        count = len(trials.scores)
        chosen = f"tuned ({search.protocol}, {count} trials of {search.seeds} seed{plural})"
        out.print(f"[green]chosen[/]   {escape(best)}  of {count} trials")
        stored = Stored(folder / "measured", [(ground, best)], seeds_of(search.fresh), (), chosen)
        records = _run(stored, options, out, err)
        name = PartSpec.of(registry.name_of(ground), ground).spec
        tuned.append(Tuned(name, best, chosen, trials.frame(), records))
        # Rewritten after each, so that an interruption loses none.
        (folder / "tuned.toml").write_text(_suite(tuned, search), encoding="utf-8")
    return tuned


def _of_pair(
    pair: Pair, search: Search, registry: Registry, data: Source | Path | None
) -> tuple["Space", Benchmark, Benchmark]:
    """The space of a search, the benchmark of its trials, and the one of the measurement."""
    given, strategy = pair
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
    space = Space.read(strategy, search, registry)
    source = data_folder(data) if data is None or isinstance(data, Path) else data
    dataset = data_of(benchmark, source)
    own = dataset is not None and dataset.x_val is not None
    share = 0.0 if own else benchmark.validation or SHARE
    trial, measured = _grounds(benchmark, search.protocol, share)
    return space, trial, measured


def _grounds(benchmark: Benchmark, protocol: str, share: float) -> tuple[Benchmark, Benchmark]:
    """The benchmarks of the trials, which hold out a share, and of the measurement."""
    name, _, argument = protocol.partition(":")
    held_out = replace(benchmark, validation=share, evaluate_on="validation")
    if name == "within" and not argument:
        return held_out, benchmark
    if name == "first" and argument.isdigit() and int(argument):
        first = int(argument)
        return (
            replace(held_out, first_experiences=first),
            replace(benchmark, skip_experiences=first),
        )
    if name == "other-order" and not argument:
        if not getattr(benchmark, "class_order", ()):
            raise UserError(
                "other-order draws class orders that the benchmark does not have; this one draws "
                "its own from the seed. Use within, or give class_order."
            )
        setting: dict[str, Any] = {"class_order": ()}
        return replace(held_out, **setting), benchmark
    if name == "other-dataset" and argument:
        return replace(held_out, dataset=argument), benchmark
    raise UserError(
        "A protocol is within, first:N, other-order or other-dataset:NAME; it was "
        f"{shown(protocol)}."
    )


@dataclass(frozen=True)
class Span:
    """Any value between two ends; drawn on a logarithmic scale if both are above 0."""

    low: float
    high: float
    whole: bool

    @classmethod
    def read(cls, text: str) -> "Span | None":
        """The span that a text such as `0.001..1` stands for; None if it is none."""
        low, dots, high = text.partition("..")
        if not dots:
            return None
        try:
            ends = float(low), float(high)
            whole = all(end.strip().lstrip("-").isdigit() for end in (low, high))
        except ValueError:
            return None
        return cls(*ends, whole) if ends[0] < ends[1] else None

    @property
    def ends(self) -> tuple[str, str]:
        """Both ends as settings."""
        return self.text(self.low), self.text(self.high)

    @property
    def logarithmic(self) -> bool:
        """True if both ends are above 0."""
        return self.low > 0

    def draw(self, random: np.random.Generator) -> str:
        """A random value, with four digits."""
        low, high = self.low, self.high
        share = random.random()
        value = low + share * (high - low)
        if self.logarithmic:
            value = exp(log(low) + share * (log(high) - log(low)))
        return self.text(value)

    def text(self, value: float) -> str:
        """A value as a setting."""
        return str(round(value)) if self.whole else f"{value:.4g}"


@dataclass(frozen=True)
class Space:
    """The settings of a strategy to choose from.

    Args:
        name: The strategy.
        choices: The values of each setting, or a span of them.
    """

    name: str
    choices: dict[str, tuple[str, ...] | Span]

    @classmethod
    def read(cls, spec: str, search: Search, registry: Registry) -> "Space":
        """The space that a text stands for.

        Raises:
            UserError: It leaves nothing to choose, or has a span and the search is a grid.
        """
        name, settings = parse(spec)
        choices: dict[str, tuple[str, ...] | Span] = {}
        for key, text in settings.items():
            span = Span.read(text)
            values = tuple(value.strip() for value in text.split("|"))
            if span is None and not all(values):
                raise UserError(
                    f"Values to choose from are written {key}=A|B, or {key}=A..B for any between; "
                    f"{shown(spec)} has {key}={text}."
                )
            if span and search.how == "grid":
                raise UserError(
                    f"A grid has values, such as {key}=0.01|0.1; {key}={text} is a span. "
                    "Search by random or tpe."
                )
            choices[key] = span or values
        if all(isinstance(values, tuple) and len(values) == 1 for values in choices.values()):
            raise UserError(
                "A search has at least two settings to choose from, such as er:lr=0.01|0.1; "
                f"{shown(spec)} has one."
            )
        space = cls(name, choices)
        ends = [each.ends if isinstance(each, Span) else each for each in choices.values()]
        for values in itertools.zip_longest(*ends):
            # Every value is looked at; a shorter list goes on with its first one.
            pairs = zip(values, ends, strict=True)
            _canonical(space.spec(value or several[0] for value, several in pairs), registry)
        return space

    @property
    def first(self) -> str:
        """The strategy with the first value of each setting, or the lower end, as text."""
        ends = [each.ends if isinstance(each, Span) else each for each in self.choices.values()]
        return self.spec(several[0] for several in ends)

    def grid(self) -> list[str]:
        """Every strategy of the space, if it has no span."""
        several = [values for values in self.choices.values() if not isinstance(values, Span)]
        return [self.spec(values) for values in itertools.product(*several)]

    def spec(self, values: Iterable[str]) -> str:
        """The strategy with these values of its settings, as text."""
        return write(self.name, dict(zip(self.choices, values, strict=True)))

    @property
    def finite(self) -> bool:
        """True if no setting has a span."""
        return all(isinstance(values, tuple) for values in self.choices.values())


def _candidates(
    space: Space, search: Search, registry: Registry, random: np.random.Generator
) -> list[str]:
    """The strategies that a grid or a random search tries, each once."""
    if space.finite:
        several = space.grid()
        if search.how == "random" and search.trials < len(several):
            several = [several[place] for place in random.permutation(len(several))]
            several = several[: search.trials]
    else:
        several = [_drawn(space, random) for _ in range(search.trials)]
    return list(dict.fromkeys(_canonical(spec, registry) for spec in several))


def _drawn(space: Space, random: np.random.Generator) -> str:
    values = [
        choice.draw(random) if isinstance(choice, Span) else choice[random.integers(len(choice))]
        for choice in space.choices.values()
    ]
    return space.spec(values)


def _canonical(spec: str, registry: Registry) -> str:
    """A strategy as records name it."""
    name, settings = parse(spec)
    return PartSpec.of(name, registry.get("strategies", name, settings)).spec


class _Trials:
    """The trials of one search, and their scores by strategy and seed.

    Args:
        ground: The benchmark, on which everything is scored on validation examples.
        search: The search.
        folder: The store of the trials.
        options: The options of the runs.
        out: The console for results.
        err: The console for progress.
    """

    def __init__(
        self,
        ground: Benchmark,
        search: Search,
        folder: Path,
        options: Options,
        out: Console,
        err: Console,
    ) -> None:
        self.scores: dict[str, dict[int, float]] = {}
        self._search = search
        (self._metric,) = (metric for metric in _SCORES if metric.name == search.metric)
        self._sign = 1 if self._metric.higher_is_better else -1
        self._ground = ground
        self._folder = folder
        self._options = options
        self._err = err
        self._out = out

    def run(self, specs: list[str], seeds: Sequence[int]) -> None:
        """Run trials on some seeds, and note their scores."""
        if not (specs and seeds):
            return
        stored = Stored(self._folder, [(self._ground, spec) for spec in specs], seeds)
        # Lines of single cells would not say that they are about validation examples.
        for record in _run(stored, self._options, Console(quiet=True), self._err):
            of_spec = self.scores.setdefault(record.cell.strategy.spec, {})
            of_spec[record.seed] = self._score(record)
        leader = self._leader()
        if leader:
            self._out.print(
                f"best so far: {escape(leader)}, {self._search.metric} "
                f"{100 * abs(self.mean(leader)):.2f} % on validation examples "
                f"({len(self.scores[leader])} of {self._search.seeds} seeds); "
                f"{len(self.scores)} trials"
            )

    def _score(self, record: Record) -> float:
        """The score of a replicate on its validation examples; NaN if it is not done."""
        frame = score_frame([record], cell_labels([record]), [self._metric])
        return float(frame.value.iloc[0]) if len(frame) else float("nan")

    def mean(self, spec: str) -> float:
        """The mean score of a trial over its seeds, to maximise; NaN if one is not done."""
        return self._sign * float(np.mean([*self.scores[spec].values()]))

    def race(self, specs: list[str]) -> None:
        """Run every trial on the first seed, and those that can still win on the others."""
        first, others = [0], range(1, self._search.seeds)
        self.run(specs, first)
        leader = self._leader()
        if not others or leader is None:
            return
        self.run([leader], others)
        self.run([spec for spec in specs if spec != leader and self._can_win(spec, leader)], others)

    def _can_win(self, spec: str, leader: str) -> bool:
        """False if a trial loses whatever its other seeds give."""
        if not np.isfinite(self.mean(spec)):
            return False
        if self._search.metric not in BOUNDED or self._sign < 0:
            return True
        known = [*self.scores[spec].values()]
        most = (sum(known) + self._search.seeds - len(known)) / self._search.seeds
        return most > self.mean(leader)

    def _leader(self) -> str | None:
        """The best trial so far, on the seeds that it has; None if none is finite."""
        finite = [spec for spec in self.scores if np.isfinite(self.mean(spec))]
        return max(finite, key=self.mean, default=None)

    def best(self, search: Search) -> str:
        """The trial with the best mean of those that had every seed.

        Raises:
            UserError: Every trial diverged or failed.
        """
        whole = [
            spec
            for spec, values in self.scores.items()
            if len(values) == search.seeds and np.isfinite(self.mean(spec))
        ]
        if not whole:
            raise UserError(
                "A search chooses among trials that ended; all "
                f"{len(self.scores)} diverged or failed. Search lower rates."
            )
        return max(whole, key=self.mean)

    def frame(self) -> pd.DataFrame:
        """Every trial with its seeds and mean score, the best first."""
        rows = [
            (spec, len(each), self._sign * self.mean(spec)) for spec, each in self.scores.items()
        ]
        frame = pd.DataFrame(rows, columns=["strategy", "seeds", self._search.metric])
        ascending = self._sign < 0
        return frame.sort_values(
            self._search.metric, ascending=ascending, kind="stable", ignore_index=True
        )


def _run(stored: Stored, options: Options, out: Console, err: Console) -> list[Record]:
    """Train what a store lacks, and read all of its records."""
    planned = plan_all([stored], options, err)
    troubles: list[Record] = []
    work(planned, options, out, err, troubles)
    return records_of(planned, troubles)


def _tpe(
    space: Space,
    search: Search,
    registry: Registry,
    trials: _Trials,
    random: np.random.Generator,
) -> None:
    """Try settings one after the other, as Optuna's TPE sampler asks for them."""
    try:
        import optuna
    except ImportError as error:
        raise UserError(
            "search=tpe uses Optuna, which is not installed. Install it: "
            "pip install 'retrograde[tune]', or search=random."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=int(random.integers(2**31)))
    study = optuna.create_study(sampler=sampler, direction="maximize")
    for _ in range(search.trials):
        trial = study.ask()
        asked = space.spec(_suggested(trial, key, each) for key, each in space.choices.items())
        spec = _canonical(asked, registry)
        trials.run([spec], range(search.seeds))
        mean = trials.mean(spec)
        if np.isfinite(mean):
            study.tell(trial, mean)
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _suggested(trial: "optuna.Trial", key: str, choice: tuple[str, ...] | Span) -> str:
    if isinstance(choice, Span):
        value = trial.suggest_float(key, choice.low, choice.high, log=choice.logarithmic)
        return choice.text(value)
    return str(trial.suggest_categorical(key, choice))


def _suite(tuned: Sequence[Tuned], search: Search) -> str:
    """The chosen settings as a suite, in TOML."""
    seeds = ",".join(map(str, seeds_of(search.fresh)))
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
