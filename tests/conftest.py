"""Tests live in a stricter world: shapes and types in annotations are checked at every call."""

from dataclasses import is_dataclass
from functools import wraps
from pathlib import Path
from typing import Any, get_type_hints

import jaxtyping
import pytest
from hypothesis import settings

CHECKED = (
    "augmentation", "bridges", "data", "episodes", "gradients", "interface", "learning_rate", "losses", "methods", "metrics", "models", "networks.checks", "networks.functional", "networks.head", "optim", "randomness", "streams",
    "training.backend", "training.episode_replicas", "training.example_rows", "training.memories", "training.opaque", "training.replicas",
    "training.stream_replicas",
    "benchmarks", "strategies",
)  # fmt: skip


def pytest_configure(config):
    """Benchmarks go unchecked: the checks take time."""
    if not any("benchmarks" in Path(word).parts for word in config.args):
        jaxtyping.jaxtyped = cheaply_jaxtyped  # which the import hook looks up there
        jaxtyping.install_import_hook(
            [f"retrograde.{name}" for name in CHECKED], "beartype.beartype"
        )


CONTEXT = jaxtyping.jaxtyped("context")
"""In it, an axis has one size."""
CHECKERS = {}
"""The checks of each function, by its code."""


def cheaply_jaxtyped(*, typechecker):
    """Decorate as `jaxtyping.jaxtyped` does; the checks are the same and cost a fifth.

    It makes the checks of a function that is defined within another again at each definition, and
    binds the arguments of every call.
    """

    def decorate(found):
        if not isinstance(found, type):
            return checked(found, typechecker)
        if is_dataclass(found) and not hasattr(found.__init__, "is_checked"):
            found.__init__ = checked(found.__init__, typechecker)
        return found

    return decorate


def checked(function, typechecker):
    """A function whose arguments and returned value are checked against their annotations."""
    code = function.__code__
    # By identity: dataclasses with fields of the same names have equal code.
    if id(code) not in CHECKERS:
        CHECKERS[id(code)] = code, *checkers(function, typechecker)
    _, accept, accept_value = CHECKERS[id(code)]

    @wraps(function)
    def call(*args, **kwargs):
        if jaxtyping.config.jaxtyping_disable:
            return function(*args, **kwargs)
        with CONTEXT:
            accept(*args, **kwargs)
            value = function(*args, **kwargs)
            accept_value(value)
        return value

    # Errors name an author's line; code without a file is no author's.
    call.__code__ = call.__code__.replace(co_filename="<checks>")
    call.is_checked = True
    return call


def checkers(function, typechecker):
    """Two functions: one takes a function's arguments, one its returned value, if they are right."""

    @wraps(function)
    def accept(*args, **kwargs):
        pass

    def accept_value(value):
        pass

    annotations = {
        name: resolved(each, function.__globals__)
        for name, each in function.__annotations__.items()
    }
    accept_value.__module__ = function.__module__
    accept_value.__annotations__ = {"value": annotations.pop("return", object)}
    accept.__annotations__ = annotations
    return typechecker(accept), typechecker(accept_value)


def resolved(annotation, names):
    """An annotation that may be text; anything if it names what is imported for type checkers only."""

    def function(value: annotation):
        pass

    try:
        return get_type_hints(function, names, include_extras=True)["value"]
    except Exception:
        return Any


settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture
def traces_alone(monkeypatch):
    """The traces of steps that are compiled. They are run as they are: a library takes seconds."""
    from retrograde.training import compiled_step

    traces = []

    def library(found, *_):
        traces.append(found)
        return lambda tensors: found.module.forward(*tensors)

    monkeypatch.setattr(compiled_step, "_library", library)
    return traces


def _spec(name, settings, overrides):
    """A part whose overrides are among its settings."""
    from retrograde.records.cell import PartSpec

    return PartSpec(name, settings | overrides, overrides)


@pytest.fixture(scope="session")
def make_record():
    """Build a record from its counts of correct answers, out of 100 per task unless given.

    `settings` and `strategy_settings` count as defaults of the benchmark and the strategy.
    `benchmark_overrides` and `overrides` differ from the defaults, so that records with other
    ones are of another cell. A `buffer_size` other than 200 is an override.
    """
    from retrograde.records.cell import CellSpec
    from retrograde.records.record import Record

    def make(
        strategy="er",
        seed=0,
        correct=((10, 10), (90, 20), (80, 90)),
        *,
        benchmark="split",
        of=100,
        data="digest",
        settings=None,
        benchmark_overrides=None,
        strategy_settings=None,
        buffer_size=200,
        overrides=None,
        machine=None,
        replicates=5,
        status="done",
        **fields,
    ):
        defaults = strategy_settings or {"buffer_size": 200, "lr": 0.1}
        changed = {} if buffer_size == 200 else {"buffer_size": buffer_size}
        cell = CellSpec(
            _spec(benchmark, {"task_size": 2} | (settings or {}), benchmark_overrides or {}),
            _spec(strategy, defaults, changed | (overrides or {})),
            data,
        )
        measured = {
            "clocks": {"train": 2.0, "evaluate": 0.5, "compile": 3.0},
            "counts": {"steps": 1000, "incoming": 10_000, "replayed": 6_000},
            "memory": {
                "examples": 200,
                "bytes": 51_200,
                "state_bytes": 800,
                "peak_bytes": 500_000_000,
            },
            "how": {
                "backend": "pure",
                "compiled": True,
                "note": None,
                "replicates": replicates,
                "steps": 1000,
            },
            "environment": {
                "cpu": "Test CPU",
                "cores": 2,
                "device": "cpu",
                "threads": 2,
                "jobs": 1,
                "torch": "2",
                **(machine or {}),
            },
        }
        rows = [list(row) for row in correct]
        given = {
            "cell": cell,
            "seed": seed,
            "status": status,
            "reason": "" if status == "done" else "It went wrong.",
            "test_examples": [of] * len(rows[0]) if rows else [],
            "correct": rows,
        }
        return Record(**(given | measured | fields))

    return make


@pytest.fixture(scope="session")
def make_adapted(make_record):
    """Build a few-shot record from its losses, or correct answers of 10, by inner step and task."""
    from retrograde.records.few_shot import Adaptation, Fit, MetaEvaluation

    episodes = {"test_tasks": 2, "transductive": True, "shots": 10, "test_shots": 5}

    def make(
        strategy="maml",
        seed=0,
        values=((4, 2), (3, 1)),
        *,
        benchmark="sinusoid",
        classified=False,
        cosines=(0.5, 0.25),
        settings=None,
        status="done",
        **fields,
    ):
        values = [[float(value) for value in row] for row in values]
        correct = [[int(value) for value in row] for row in values] if classified else []
        ends = [sum(row) / len(row) for row in values]
        rates = [end / 10 for end in ends] if classified else []
        evaluations = [MetaEvaluation(n, ends, rates, n / 10, -n / 10) for n in (0, 4)]
        curve = [0.0, 1.0]
        fits = (
            [] if classified else [Fit(curve, curve, curve[:1], curve[:1], [curve] * len(values))]
        )
        adaptation = (
            Adaptation(values, correct, 10, list(cosines), evaluations, fits)
            if status == "done"
            else None
        )
        more = {
            "benchmark": benchmark,
            "settings": episodes | (settings or {}),
            "strategy_settings": {"inner_lr": 0.1},
            "status": status,
            **fields,
        }
        return make_record(strategy, seed, (), adaptation=adaptation, **more)

    return make


@pytest.fixture(scope="session")
def make_published():
    """Build a row of the literature from its numbers and its cell, with fields of its source."""
    from retrograde.reporting.published import Published, Row, Source

    def make(
        values=None,
        *,
        benchmark="split",
        strategy="er:buffer_size=200",
        differs="",
        own=None,
        **source,
    ):
        row = Row(
            method="A",
            strategy=strategy,
            values=values or {"ACC": "85.0"},
            differs=differs,
            **(own or {}),
        )
        given = {
            "paper": "B 2020",
            "table": "table 1",
            "protocol": "C",
            "spread": "none",
            "checked": "paper",
        } | source
        return Published(
            Source(metrics=dict.fromkeys(row.values, "D"), cells={benchmark: [row]}, **given),
            benchmark,
            row,
        )

    return make


@pytest.fixture
def literature(monkeypatch):
    """Let a table know these rows of the literature, and no others."""
    from retrograde.parts.registry import Registry

    def know(table, *entries):
        monkeypatch.setitem(
            Registry().find("results", table).table.__globals__,
            "published_numbers",
            lambda: entries,
        )

    return know


@pytest.fixture(scope="session")
def make_probe():
    """Build a probe from the gradients of the probed tasks, as rows; ceilings are 1 unless given."""
    import numpy as np

    from retrograde.records.gradient_probe import GradientProbe

    def build(task, gradients, losses=None, *, ceiling=None, layers=None, step=None):
        gradients = np.array(gradients, dtype=float)
        count = len(gradients)
        inner = (gradients @ gradients.T)[np.tril_indices(count)]
        losses = [1.0] * count if losses is None else [float(loss) for loss in losses]
        ceiling = [1.0] * count if ceiling is None else [float(each) for each in ceiling]
        return GradientProbe(
            task,
            10 * (task + 1) if step is None else step,
            losses,
            ceiling,
            inner.tolist(),
            layers or {},
        )

    return build


@pytest.fixture(scope="session")
def make_account():
    """Build an account from numbers, each for all earlier tasks or one for each."""
    import numpy as np

    from retrograde.records.account import Account

    def build(
        task,
        *,
        before=1.0,
        slope=-0.5,
        curvature=0.75,
        remainder=0.0,
        exposure=2.0,
        length=4.0,
        windows=5,
    ):
        given = before, slope, curvature, remainder, exposure
        start, down, bent, rest, most = (
            np.broadcast_to(np.asarray(each, dtype=float), (task,)) for each in given
        )
        lists = (each.tolist() for each in (start, start + down + bent + rest, down, bent, most))
        return Account(task, windows, float(length), *lists)

    return build


@pytest.fixture(scope="session")
def make_probed(make_record, make_probe, make_account):
    """Build a record from its correct answers at the end; probes and accounts are random unless given."""
    import numpy as np

    def make(
        strategy="er",
        seed=0,
        ends=(80, 90, 90),
        *,
        probes=None,
        accounts=None,
        probe_examples=50,
        every=5,
        slope=0.0,
        settings=None,
        **fields,
    ):
        tasks = len(ends)
        draw = np.random.default_rng([seed, len(strategy)])
        vectors = draw.normal(size=(tasks, 6)) + slope
        random_probes = [
            make_probe(i, vectors[: min(i + 2, tasks)], draw.uniform(size=min(i + 2, tasks)))
            for i in range(tasks)
        ]
        random_accounts = [
            make_account(
                i,
                before=draw.uniform(0.5, 2, i),
                curvature=draw.uniform(0.6, 2, i),
                length=draw.uniform(1, 3),
            )
            for i in range(1, tasks)
        ]
        rows = [[10] * tasks, *([90] * tasks for _ in ends[1:]), list(ends)]
        probing = {"probe_examples": 50, "probe_every": every} if probe_examples else {}
        if probe_examples not in (0, 50):
            fields = {"benchmark_overrides": {"probe_examples": probe_examples}} | fields
        return make_record(
            strategy,
            seed,
            rows,
            settings=(settings or {}) | probing,
            gradients=random_probes if probes is None else probes,
            accounts=random_accounts if accounts is None else accounts,
            **fields,
        )

    return make


@pytest.fixture(scope="session")
def demsar():
    """The ranks of four classifiers on 14 data sets (Demšar 2006, JMLR 7, table 6; section 3.2.2)."""
    import numpy as np

    return np.array([
        [4, 3, 2, 1], [1, 2, 3, 4], [4, 1, 2, 3], [4, 1, 3, 2], [4, 2, 3, 1], [1, 2.5, 4, 2.5], [3, 2, 4, 1],
        [2.5, 2.5, 4, 1], [4, 3, 2, 1], [2.5, 2.5, 2.5, 2.5], [4, 2.5, 1, 2.5], [3, 2, 4, 1], [4, 1, 2, 3], [3, 1, 4, 2],
    ])  # fmt: skip
