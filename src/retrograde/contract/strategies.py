"""The contract: what every strategy must satisfy. Public, so that a plugin's own tests can use it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Bool
from torch.utils import _pytree as pytree

from retrograde.contract import metastrategies
from retrograde.contract.claims import (
    Broken,
    Declared,
    Verdict,
    claim_of,
    global_state,
    is_recorded,
    need_frozen,
    pickles,
    same,
    verdict,
)
from retrograde.contract.toys import Blobs, blobs
from retrograde.data.dataset import Dataset
from retrograde.errors import UserError
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.learner import Learner
from retrograde.interface.metastrategy import MetaStrategy
from retrograde.interface.strategy import Strategy, prepares
from retrograde.models.checks import agree
from retrograde.models.head import HEAD, of_head
from retrograde.parts.author_code import whole
from retrograde.parts.deadline import Late, limit, within
from retrograde.randomness import seeded, torch_seed
from retrograde.streams.schedule import test_chunks, train_rows
from retrograde.streams.stream import Scenario, Stream
from retrograde.training.clocks import Clocks
from retrograde.training.compiling import form
from retrograde.training.opaque import Opaque
from retrograde.training.pretraining import given, prepare
from retrograde.training.stream_loop import train
from retrograde.training.stream_replicas import Vectorised, spread

Part = Strategy | Learner


CPU = torch.device("cpu")


BIAS = f"{HEAD}.bias"


SLACK = 2**16
"""Bytes by which a learner may grow beyond what its memory setting explains."""


class Trace(NamedTuple):
    """What a run left after each task: the parameters (pure strategies only) and which test examples were right."""

    leaves: list[list[torch.Tensor]]
    hits: list[Bool[np.ndarray, "replicate row"]]


def trace(part: Part, benchmark: Benchmark, data: Dataset, seeds: list[int]) -> Trace:
    """Run replicates without compiling and keep what each task left."""
    streams = [benchmark.stream(data, seed) for seed in seeds]
    if isinstance(part, Strategy):
        return _trace(Vectorised(benchmark, part, streams, seeds, CPU))
    traces = []
    for stream, seed in zip(streams, seeds, strict=True):
        with seeded(torch_seed(seed, "opaque")):
            traces.append(_trace(Opaque(benchmark, part, stream, seed, CPU)))
    return Trace([], [np.concatenate(hits) for hits in zip(*(t.hits for t in traces), strict=True)])


def _trace(backend: Any) -> Trace:
    found = Trace([], [])
    if isinstance(backend, Vectorised):
        prepare(backend, Clocks(CPU))
    for number in range(
        len((backend.streams[0] if isinstance(backend, Vectorised) else backend.stream).tasks)
    ):
        backend.learn(number, lambda _: None)
        found.hits.append(backend.evaluate(backend.test_rows).hit)
        if isinstance(backend, Vectorised):
            found.leaves.append([leaf.clone() for leaf in pytree.tree_leaves(backend.state)])
    return found


def _equal(a: Trace, b: Trace, what: str, tolerance: float = 0.0) -> None:
    for task, (mine, other) in enumerate(zip(a.leaves, b.leaves, strict=True)):
        for left, right in zip(mine, other, strict=True):
            gap = float((left - right).abs().max()) if left.numel() else 0.0
            if not gap <= tolerance * (1 + float(left.abs().max() if left.numel() else 0)):
                raise Broken(f"{what}: after task {task + 1} the state differs by {gap:.2g}")
    for task, (mine_hits, other_hits) in enumerate(zip(a.hits, b.hits, strict=True)):
        if tolerance == 0 and not np.array_equal(mine_hits, other_hits):
            raise Broken(f"{what}: after task {task + 1} other test examples are right")


def _scenario(part: Part) -> Scenario:
    return "class" if "class" in part.scenarios else part.scenarios[0]


def _benchmark(part: Part, **changes: Any) -> Blobs:
    model = part.tried_on if isinstance(part, Strategy) else Blobs.model
    settings: dict[str, Any] = {"scenario": _scenario(part), "model": model, "held": _held(part)}
    return Blobs(**settings | changes)


def _held(part: Part) -> int:
    """How many clusters are kept for a preparation."""
    return 4 if isinstance(part, Strategy) and prepares(part) else 0


def _data(part: Part, tasks: int = 3, scramble_last: bool = False) -> Dataset:
    return blobs(tasks, scramble_last=scramble_last, held=_held(part))


def _ready(part: Strategy, **changes: Any) -> tuple[Vectorised, torch.Tensor]:
    """Two replicates that have learnt a task, and the rows of the next one; its last batch is ragged."""
    benchmark = _benchmark(part, **changes)
    streams = [benchmark.stream(_data(part), seed) for seed in (0, 1)]
    backend = Vectorised(benchmark, part, streams, [0, 1], CPU)
    prepare(backend, Clocks(CPU))
    backend.learn(0, lambda _: None)
    return backend, torch.from_numpy(backend.rows(1))


def is_pure(part: Part) -> None:
    """A step leaves its inputs unchanged, and gives the same again."""
    if not isinstance(part, Strategy):
        return
    need_frozen(part)
    backend, rows = _ready(part)
    _same_again(
        backend.step_all,
        "step",
        backend.state,
        backend.buffers,
        rows[0],
        backend.tables,
        backend.train_x,
    )
    if prepares(part):
        lesson = next(given(backend))
        _same_again(
            backend.prepare_all, "prepare", backend.state, backend.buffers, lesson, backend.train_x
        )
    backend.try_prediction()


def _same_again(run: Callable[..., Any], name: str, *inputs: Any) -> None:
    before = pytree.tree_map(torch.clone, inputs)
    first = pytree.tree_leaves(run(*inputs))
    if not same(pytree.tree_leaves(before), pytree.tree_leaves(inputs)):
        raise Broken(f"{name} changes a tensor in place; return new tensors")
    if not same(first, pytree.tree_leaves(run(*inputs))):
        raise Broken(
            f"the same {name} twice gives two results; keep nothing on self and draw nothing at random"
        )


def repeats_itself(part: Part) -> None:
    """The same seed gives the same result."""
    first, second = (trace(part, _benchmark(part), _data(part), [3]) for _ in range(2))
    _equal(first, second, "two runs of seed 3")


def is_alone_as_in_company(part: Part) -> None:
    """Replicate i of a batch equals replicate i alone."""
    benchmark = _benchmark(part, uneven=True)
    together = trace(part, benchmark, _data(part), [0, 1, 2])
    alone = trace(part, benchmark, _data(part), [1])
    own = Trace(
        [[leaf[1:2] for leaf in leaves] for leaves in together.leaves],
        [hits[1:2] for hits in together.hits],
    )
    _equal(alone, own, "seed 1 alone and beside seeds 0 and 2", tolerance=1e-4)


def keeps_its_shapes(part: Part) -> None:
    """The state keeps its structure, shapes and dtypes."""
    if not isinstance(part, Strategy):
        return
    backend, _ = _ready(part)
    forms = [form(state) for state in (backend.initial[0], backend.state)]
    if forms[0] != forms[1]:
        raise Broken(f"the state was {forms[0]} and became {forms[1]}")


def uses_no_global_randomness(part: Part) -> None:
    """The global random generators are neither used nor changed."""
    runs = []
    for seed in (1, 2):
        with seeded(seed):
            before = global_state()
            runs.append(trace(part, _benchmark(part), _data(part), [0]))
            if global_state() != before:
                raise Broken("a global generator moved; take randomness from the arguments")
    _equal(runs[0], runs[1], "two runs under different global seeds")


def takes_any_batch(part: Part) -> None:
    """Ragged and size-1 batches are learnt from, and padding changes nothing."""
    for batch in (1, 7):
        benchmark = _benchmark(part, batch=batch)
        outcome = train(benchmark, part, [benchmark.stream(_data(part), 0)], [0], CPU, "off")[0]
        if not outcome.sound:
            raise Broken(f"a parameter or a score became non-finite with batch={batch}")
    if isinstance(part, Strategy) and part.schedule().batch != 1:
        _ignores_padding(part)


def _ignores_padding(part: Strategy) -> None:
    backend, rows = _ready(part, batch=7)
    last = rows[-1]
    padding = last[..., 3] == 0
    if not padding.any():
        raise Broken("no batch was ragged, so that padding could not be tried")
    other = last.clone()
    other[..., 0] = torch.where(padding, (last[..., 0] + 1) % len(backend.train_x), last[..., 0])
    results = [
        backend.step_all(backend.state, backend.buffers, r, backend.tables, backend.train_x)
        for r in (last, other)
    ]
    if not same(*(pytree.tree_leaves(result) for result in results)):
        raise Broken("rows of weight 0 change the step; weigh each example's loss by batch.weight")


def learns(part: Part) -> None:
    """It learns a trivial task."""
    glances = (part.schedule().glances if isinstance(part, Strategy) else None) or 1
    benchmark = _benchmark(part, tasks=1, epochs=max(1, 10 // glances))
    outcome = train(benchmark, part, [benchmark.stream(_data(part, 1), 0)], [0], CPU, "off")[0]
    accuracy = outcome.correct[-1][0] / outcome.tests[0]
    if not accuracy > 0.9:
        raise Broken(
            f"two separate clusters are told apart with accuracy {accuracy:.2f} after ten epochs, not above 0.9"
        )


def stays_within_its_memory(part: Part) -> None:
    """It holds no more past examples than it declares."""
    if isinstance(part, Learner):
        _grows_little(part)
        return
    _holds_few(part)
    memory, declared = part.remember(), getattr(part, "memory", None)
    if memory is None:
        return
    if declared is not None and memory.size > declared:
        raise Broken(
            f"remember() keeps {memory.size} examples where the setting says memory={declared}"
        )
    benchmark = _benchmark(part)
    stream, held = benchmark.stream(_data(part), 0), memory.empty()
    for number in range(len(stream.tasks)):
        rows, after = train_rows(stream, number, benchmark, part.schedule(), memory, held, 0)
        held = after or held
        replayed = rows[-1, part.schedule().pace(benchmark, len(stream.tasks))[0] :]
        old = {tuple(row) for row in replayed[replayed[:, 3] > 0, :3].tolist()}
        if len(held.filled) > memory.size or len(old) > memory.size:
            raise Broken(
                f"{max(len(held.filled), len(old))} examples are held where memory={memory.size}"
            )


def _holds_few(part: Strategy) -> None:
    """Count what is held in all, where a strategy has examples in its own state."""
    allowed = getattr(part, "memory", None)
    if type(part).own_examples is Strategy.own_examples or allowed is None:
        return
    backend, _ = _ready(part)
    held = max(backend.held_examples())
    if held > allowed:
        raise Broken(
            f"{held} examples are held, with those of its own state, where the setting says memory={allowed}"
        )


def _grows_little(learner: Learner) -> None:
    benchmark, data = _benchmark(learner), blobs(train=2000)
    allowed = getattr(learner, "memory", 0) * (data.x_train[0].nbytes + 64) + SLACK
    with seeded(0):
        backend = Opaque(benchmark, learner, benchmark.stream(data, 0), 0, CPU)
        for number in range(benchmark.tasks):
            backend.learn(number, lambda _: None)
    if backend.at_first == 0:
        raise Broken("it cannot be pickled, so that its size is unknown")
    if backend.state_bytes() > allowed:
        raise Broken(
            f"it grew by {backend.state_bytes()} bytes; its memory setting allows {allowed}"
        )


def sees_no_future(part: Part) -> None:
    """What it has learnt after a task does not depend on later tasks' examples."""
    earlier = _earlier(part)

    def before_the_last(scramble: bool) -> Trace:
        whole = trace(part, _benchmark(part), _data(part, scramble_last=scramble), [0])
        return Trace(whole.leaves[:-1], [hits[:, earlier] for hits in whole.hits[:-1]])

    _equal(before_the_last(False), before_the_last(True), "with and without a scrambled last task")


def predicts_examples_apart(part: Part) -> None:
    """Its scores of a test example do not depend on the others that are predicted with it."""
    if isinstance(part, Learner):
        _answers_apart(part)
        return
    backend, _ = _ready(part)
    rows = torch.from_numpy(backend.test_rows[0])
    some = spread(rows.shape[1])
    together = backend.scores(rows)[:, some]
    alone = torch.cat([backend.scores(rows[:, [each]]) for each in some.tolist()], dim=1)
    if not agree(together.flatten(0, 1), alone.flatten(0, 1)):
        raise Broken(
            "an example alone and among others has different scores; predict each row by itself"
        )


def _answers_apart(learner: Learner) -> None:
    benchmark = _benchmark(learner)
    with seeded(0):
        backend = Opaque(benchmark, learner, benchmark.stream(_data(learner), 0), 0, CPU)
        backend.learn(0, lambda _: None)
        try:
            backend.check_predictions()
        except UserError as error:
            raise Broken(str(error)) from error


def _earlier(part: Part) -> Bool[np.ndarray, " row"]:
    """Which test rows belong to any but the last task."""
    stream = _benchmark(part).stream(_data(part), 0)
    counts = [len(task.test.row) for task in stream.tasks]
    return np.arange(sum(counts)) < sum(counts[:-1])


SHORT, LONG = 2, 20
"""Tasks of a stream, and of one that begins with the same tasks: so many that a share of a memory is less than a task."""


def knows_no_length(part: Part) -> None:
    """Learning is the same in a longer stream that begins with the same tasks, and has as many output units."""
    if "length" in part.knows():
        raise Declared("it knows ahead how many tasks or classes the whole stream has")
    benchmark = _benchmark(part, tasks=LONG, examples=16)
    long = benchmark.stream(_data(part, LONG), 0)
    short = replace(long, tasks=long.tasks[:SHORT], units=long.units[:SHORT])
    learnt = [_learnt(part, benchmark, stream, short) for stream in (short, long)]
    for task, (mine, other) in enumerate(zip(*learnt, strict=True)):
        if not _same_but_for_padding(part, mine, other):
            raise Broken(
                f"after task {task + 1} it differs between streams of {SHORT} and {LONG} tasks; "
                "let knows() declare the length, or do without net.tasks and memories that share their slots among all tasks"
            )


def _same_but_for_padding(part: Part, mine: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    """Compare bit for bit, or to rounding where steps of a longer stream have more padding."""
    padded = isinstance(part, Strategy) and part.schedule().widening
    tolerance = 1e-4 if padded else 0.0
    pairs = zip(mine, other, strict=True)
    return all(
        torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance) for a, b in pairs
    )


def _learnt(
    part: Part, benchmark: Blobs, stream: Stream, tested: Stream
) -> list[list[torch.Tensor]]:
    """The model's parameters, the optimiser's slots and the right answers on some tests after each of the first tasks."""
    backend = _backend(part, benchmark, stream)
    found = []
    for number in range(len(tested.tasks)):
        backend.learn(number, lambda _: None)
        slots = pytree.tree_leaves(backend.state.slots) if isinstance(backend, Vectorised) else []
        hit = torch.from_numpy(backend.evaluate(test_chunks([tested])).hit)
        found.append([value.clone() for value in (*backend.parameters().values(), *slots, hit)])
    return found


def _backend(part: Part, benchmark: Blobs, stream: Stream) -> Vectorised | Opaque:
    """One replicate, ready to learn its first task."""
    return (
        Opaque(benchmark, part, stream, 0, CPU)
        if isinstance(part, Learner)
        else _prepared(part, benchmark, stream)
    )


def _prepared(part: Strategy, benchmark: Blobs, stream: Stream) -> Vectorised:
    backend = Vectorised(benchmark, part, [stream], [0], CPU)
    prepare(backend, Clocks(CPU))
    return backend


def counts_no_class_to_come(part: Part) -> None:
    """Output units of classes to come have no part in what it learns."""
    if "classes" in part.knows():
        raise Declared("the outputs of classes to come are in its loss")
    if not isinstance(part, Strategy) or _scenario(part) != "class":
        return
    benchmark = _benchmark(part)
    stream = benchmark.stream(_data(part), 0)
    learnt = [_without_last(part, benchmark, stream, raised) for raised in (0.0, 5.0)]
    if not same(*learnt):
        raise Broken(
            "it differs where units of classes to come start higher; mask them, or let knows() declare classes"
        )


def _without_last(
    part: Strategy, benchmark: Blobs, stream: Stream, raised: float
) -> list[torch.Tensor]:
    """The parameters learned from all tasks but the last, without its units, whose biases start that much higher."""
    backend = _prepared(part, benchmark, stream)
    unmet = torch.from_numpy(stream.units[-1])
    params = backend.parameters()
    params = params | {BIAS: params[BIAS] + raised * unmet}
    backend.state = backend.state.replace(params=params)
    backend.initial = backend.state, backend.buffers
    for number in range(len(stream.tasks) - 1):
        backend.learn(number, lambda _: None)
    return [
        value[:, ~unmet] if of_head(name) else value for name, value in backend.parameters().items()
    ]


def weighs_as_it_says(part: Part) -> None:
    """It weighs losses on past examples by the number of tasks where the benchmark says so, or is refused."""
    said = part.weighs()
    if said == "refuses":
        raise Declared("it refuses weighting=tasks")
    stream = _benchmark(part).stream(_data(part), 0)
    by_examples, by_tasks = (
        _learnt(part, _benchmark(part, weighting=weighting), stream, stream)
        for weighting in ("examples", "tasks")
    )
    alike = all(same(mine, other) for mine, other in zip(by_examples, by_tasks, strict=True))
    if alike and said == "heeds":
        raise Broken(
            "weighting=tasks changes nothing; use arrival.now, arrival.past, arrival.with_memory or arrival.beside"
        )
    if not alike and said != "heeds":
        raise Broken(
            f"weighting=tasks changes what is learnt, though its weighing is {said!r}; make it 'heeds'"
        )


CHECKS: tuple[Callable[[Part], None], ...] = (
    is_pure, repeats_itself, is_alone_as_in_company, keeps_its_shapes, uses_no_global_randomness, takes_any_batch, pickles,
    is_recorded, learns, stays_within_its_memory, sees_no_future, predicts_examples_apart, knows_no_length,
    counts_no_class_to_come, weighs_as_it_says,
)  # fmt: skip


_IN = "It works in the {}-incremental scenario."


def works_in(part: Part, scenario: Scenario) -> Verdict:
    """Whether it trains in a scenario, or declares that it does not."""
    claim = _IN.format(scenario)
    if scenario not in part.scenarios:
        return Verdict(claim, "declared", f"it does {', '.join(part.scenarios)}-incremental only")
    benchmark = _benchmark(part, scenario=scenario)

    def runs(_: Part) -> None:
        if not train(benchmark, part, [benchmark.stream(_data(part), 0)], [0], CPU, "off")[0].sound:
            raise Broken("a parameter or a score became non-finite")

    return verdict(part, runs, claim)


def checks_of(part: Part | MetaStrategy) -> tuple[Callable[[Any], None], ...]:
    """The claims that a part of its kind must satisfy."""
    return metastrategies.CHECKS if isinstance(part, MetaStrategy) else CHECKS


def verdicts(part: Part | MetaStrategy) -> Iterator[Verdict]:
    """The whole contract, check by check; where their time is over, the last verdict says so."""
    until = time.monotonic() + limit("check")
    for claim, outcome in _outcomes(part):
        try:
            with within("check", type(part).__name__, max(0.001, until - time.monotonic())):
                found = outcome()
        except Late as error:
            why = f"{error} The claims after it were not tried."
            yield Verdict(claim, "failed", why, whole(error))
            return
        yield found


def _outcomes(part: Part | MetaStrategy) -> Iterator[tuple[str, Callable[[], Verdict]]]:
    """Every claim of the contract, and a call that tries it."""
    for check in checks_of(part):
        yield claim_of(check), partial(verdict, part, check)
    if not isinstance(part, MetaStrategy):
        for scenario in get_args(Scenario):
            yield _IN.format(scenario), partial(works_in, part, scenario)
