"""The contract of a part of any kind."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from retrograde.contract import benchmarks, models, results, strategies
from retrograde.contract.claims import (
    Broken,
    Verdict,
    claim_of,
    is_recorded,
    pickles,
    tried_in_time,
    verdict,
)
from retrograde.data.sources import DataSource, data_folder, load
from retrograde.errors import UserError
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.episodic import EpisodicBenchmark
from retrograde.interface.learner import Learner
from retrograde.interface.metastrategy import MetaStrategy
from retrograde.interface.strategy import Strategy
from retrograde.networks.model import Model
from retrograde.parts.part import Part
from retrograde.reporting.result import FigureResult, TableResult


def verdicts(
    part: Part,
    benchmark: Part | None = None,
    folder: Path | None = None,
) -> Iterator[Verdict]:
    """Try the whole contract of a part, check by check.

    Args:
        part: The part.
        benchmark: For strategies: the benchmark on whose shape, classes, scenario and model the
            claims are tried.
        folder: The data folder; None: that of the environment.

    Raises:
        UserError: There is no dataset, or the benchmark is given with a part of another kind.
    """
    place = data_folder(folder)
    strategy = isinstance(part, Strategy | Learner | MetaStrategy)
    ground = _ground(part, benchmark, strategy)
    if isinstance(part, Strategy | Learner | MetaStrategy):
        data = load(ground.dataset, place) if ground and ground.dataset else None
        return strategies.verdicts(part, ground, data)
    outcomes = [
        (claim, partial(verdict, part, check, claim)) for claim, check in _checks(part, place)
    ]
    return tried_in_time(type(part).__name__, iter(outcomes))


def _ground(part: Part, benchmark: Part | None, strategy: bool) -> Benchmark | None:
    """The benchmark, if it is one of streams and the part is a strategy."""
    if benchmark is None:
        return None
    if not strategy:
        raise UserError(
            f"Strategies are checked on a benchmark; {type(part).__name__} is none. "
            "Leave the benchmark out."
        )
    if not isinstance(benchmark, Benchmark):
        raise UserError(
            "A strategy is checked on a benchmark of streams; "
            f"{type(benchmark).__name__} has few-shot tasks. Leave it out."
        )
    return benchmark


def _checks(part: Part, folder: Path) -> list[tuple[str, Callable[[Any], None]]]:
    if isinstance(part, Benchmark | EpisodicBenchmark):
        return benchmarks.checks_of(part, folder)
    if isinstance(part, Model):
        return models.checks()
    if isinstance(part, TableResult | FigureResult):
        return results.checks()
    if isinstance(part, DataSource):
        loads = partial(_loads_the_same_again, folder=folder)
        return [
            (claim_of(_loads_the_same_again), loads),
            *((claim_of(check), check) for check in (pickles, is_recorded)),
        ]
    raise UserError(f"There is no contract of parts like {type(part).__name__}.")


def _loads_the_same_again(part: DataSource, folder: Path) -> None:
    """It loads a dataset, the same again."""
    if part.load(folder).digest != part.load(folder).digest:
        raise Broken("two loads give two datasets; draw from generator(0, axis)")


def called(part: Part) -> str:
    """The interface of a part, in words."""
    names = (
        (MetaStrategy, "a meta-strategy"),
        (Strategy, "a pure strategy"),
        (Learner, "an opaque learner"),
        (Benchmark, "a benchmark of streams"),
        (EpisodicBenchmark, "a benchmark of few-shot tasks"),
        (Model, "a model"),
        (TableResult, "a table"),
        (FigureResult, "a figure"),
        (DataSource, "a dataset"),
    )
    return next(words for kind, words in names if isinstance(part, kind))
