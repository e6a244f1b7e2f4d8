"""The contract that every strategy must satisfy; public, for the tests of plugins."""

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
from retrograde.interface.strategy import Strategy
from retrograde.networks.checks import agree
from retrograde.networks.head import HEAD, of_head
from retrograde.parts.author_code import whole
from retrograde.parts.deadline import Late, limit, within
from retrograde.randomness import seeded, torch_seed
from retrograde.streams.memory import Memory
from retrograde.streams.schedule import test_chunks, train_rows
from retrograde.streams.stream import Scenario, Stream
from retrograde.training.backend import Outcome
from retrograde.training.clocks import Clocks
from retrograde.training.columns import Columns
from retrograde.training.compiled_step import signature
from retrograde.training.opaque import OpaqueReplica
from retrograde.training.pretraining import pretrain, pretrained_replicas
from retrograde.training.replicas import spread
from retrograde.training.stream_loop import train
from retrograde.training.stream_replicas import StreamReplicas

Part = Strategy | Learner


CPU = torch.device("cpu")


BIAS = f"{HEAD}.bias"


SLACK = 2**16
"""The number of bytes that a learner may grow beyond those that its buffer_size explains."""


class Trace(NamedTuple):
    """The results of a run after each task.

    Args:
        leaves: The tensors of the state; empty for learners that are not pure.
        correct: True for test examples that were predicted correctly.
    """

    leaves: list[list[torch.Tensor]]
    correct: list[Bool[np.ndarray, "replicate row"]]


def trace(
    part: Part,
    benchmark: Benchmark,
    data: Dataset,
    seeds: list[int],
) -> Trace:
    """Run replicates without compiling.

    Args:
        part: The strategy or the learner.
        benchmark: The benchmark.
        data: The dataset that streams are cut from.
        seeds: The seeds of the replicates.
    """
    streams = [benchmark.stream(data, seed) for seed in seeds]
    if isinstance(part, Strategy):
        return _trace_strategy(StreamReplicas(benchmark, part, streams, seeds, CPU))
    replicates = []
    for stream, seed in zip(streams, seeds, strict=True):
        with seeded(torch_seed(seed, "opaque")):
            replicates.append(_trace_learner(OpaqueReplica(benchmark, part, stream, seed, CPU)))
    by_task = zip(*replicates, strict=True)
    return Trace([], [np.concatenate(correct) for correct in by_task])


def _trace_strategy(backend: StreamReplicas) -> Trace:
    results = Trace([], [])
    pretrain(backend, Clocks(CPU))
    for number in range(len(backend.streams[0].tasks)):
        backend.learn(number, lambda _: None)
        results.correct.append(backend.evaluate(backend.test_rows).correct)
        leaves = pytree.tree_leaves(backend.state)
        results.leaves.append([leaf.clone() for leaf in leaves])
    return results


def _trace_learner(backend: OpaqueReplica) -> list[np.ndarray]:
    """True for test examples that one replicate predicts correctly, after each task."""
    correct = []
    for number in range(len(backend.stream.tasks)):
        backend.learn(number, lambda _: None)
        correct.append(backend.evaluate(backend.test_rows).correct)
    return correct


def _equal(
    a: Trace,
    b: Trace,
    what: str,
    tolerance: float = 0.0,
) -> None:
    """Raise `Broken` unless two runs have the same results.

    Predictions are compared only if the tolerance is 0, since rounding may change one.
    """
    for task, (mine, other) in enumerate(zip(a.leaves, b.leaves, strict=True)):
        for left, right in zip(mine, other, strict=True):
            gap = _largest(left - right)
            if not gap <= tolerance * (1 + _largest(left)):
                raise Broken(f"{what}: after task {task + 1} the state differs by {gap:.2g}")
    if tolerance > 0:
        return
    for task, (left_correct, right_correct) in enumerate(zip(a.correct, b.correct, strict=True)):
        if not np.array_equal(left_correct, right_correct):
            raise Broken(
                f"{what}: after task {task + 1} other test examples are predicted correctly"
            )


def _largest(values: torch.Tensor) -> float:
    """The largest absolute value; 0 without any."""
    return float(values.abs().max()) if values.numel() else 0.0


def _scenario(part: Part) -> Scenario:
    return "class" if "class" in part.scenarios else part.scenarios[0]


def _benchmark(part: Part, **changes: Any) -> Blobs:
    """The toy stream for a part, with changed settings."""
    settings: dict[str, Any] = {
        "scenario": _scenario(part),
        "model": part.contract_model if isinstance(part, Strategy) else Blobs.model,
        "held": _held_out(part),
    }
    return Blobs(**settings | changes)


def _held_out(part: Part) -> int:
    """The number of clusters that are held out for pretraining."""
    return 4 if isinstance(part, Strategy) and part.pretraining() else 0


def _data(
    part: Part,
    tasks: int = 3,
    scramble_last: bool = False,
) -> Dataset:
    return blobs(tasks, scramble_last=scramble_last, held=_held_out(part))


def _ready(part: Strategy, **changes: Any) -> tuple[StreamReplicas, torch.Tensor]:
    """Two replicates after a task, and the rows of the next one, whose last batch is ragged."""
    benchmark = _benchmark(part, **changes)
    streams = [benchmark.stream(_data(part), seed) for seed in (0, 1)]
    backend = StreamReplicas(benchmark, part, streams, [0, 1], CPU)
    pretrain(backend, Clocks(CPU))
    backend.learn(0, lambda _: None)
    return backend, torch.from_numpy(backend.memories.rows(1).array)


def is_pure(part: Part) -> None:
    """A step leaves its inputs unchanged, and gives the same result again."""
    if not isinstance(part, Strategy):
        return
    need_frozen(part)
    backend, rows = _ready(part)
    inputs = (backend.carried, rows[0], backend.own, backend.shared)
    _same_again(backend.step_all, "step", *inputs)
    replicas = pretrained_replicas(backend)
    if replicas:
        trial = replicas.trial_inputs()
        _same_again(replicas.step_all, "meta_step", replicas.carried, *trial)
    backend.try_prediction()


def _same_again(run: Callable[..., Any], name: str, *inputs: Any) -> None:
    """Raise `Broken` if a function changes its inputs, or gives another result the second time."""
    before = pytree.tree_map(torch.clone, inputs)
    first = pytree.tree_leaves(run(*inputs))
    if not same(pytree.tree_leaves(before), pytree.tree_leaves(inputs)):
        raise Broken(f"{name} changes a tensor in place; return new tensors")
    if not same(first, pytree.tree_leaves(run(*inputs))):
        raise Broken(
            f"the same {name} twice gives two results; "
            "keep nothing on self and draw nothing at random"
        )


def repeats_itself(part: Part) -> None:
    """The same seed gives the same result."""
    first = trace(part, _benchmark(part), _data(part), [3])
    second = trace(part, _benchmark(part), _data(part), [3])
    _equal(first, second, "two runs of seed 3")


def does_not_depend_on_other_replicates(part: Part) -> None:
    """Replicate i of a batch equals replicate i alone."""
    benchmark = _benchmark(part, uneven=True)
    together = trace(part, benchmark, _data(part), [0, 1, 2])
    alone = trace(part, benchmark, _data(part), [1])
    leaves = [[leaf[1:2] for leaf in task] for task in together.leaves]
    correct = [task[1:2] for task in together.correct]
    company = Trace(leaves, correct)
    # Products of stacked tensors may be summed in another order.
    _equal(alone, company, "seed 1 alone and with seeds 0 and 2", tolerance=1e-4)


def keeps_its_shapes(part: Part) -> None:
    """The state keeps its structure, shapes and dtypes."""
    if not isinstance(part, Strategy) or part.grows:
        return
    backend, _ = _ready(part)
    before = signature(backend.initial)
    after = signature(backend.state)
    if before != after:
        raise Broken(f"the state was {before} and became {after}")


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


def _outcome(part: Part, benchmark: Blobs) -> Outcome:
    """Train one replicate without compiling."""
    stream = benchmark.stream(_data(part, benchmark.tasks), 0)
    outcomes = train(benchmark, part, [stream], [0], CPU, "off")
    return outcomes[0]


def takes_any_batch(part: Part) -> None:
    """It learns from ragged batches and batches of one example, and padding changes nothing."""
    for batch_size in (1, 7):
        benchmark = _benchmark(part, batch_size=batch_size)
        if not _outcome(part, benchmark).finite:
            raise Broken(f"a parameter or a score became non-finite with batch_size={batch_size}")
    if isinstance(part, Strategy) and part.schedule().batch_size != 1:
        _ignores_padding(part)


def _ignores_padding(part: Strategy) -> None:
    """Raise `Broken` if a step depends on the examples that padding repeats."""
    backend, rows = _ready(part, batch_size=7)
    last = rows[-1]
    columns = Columns.of(last)
    padding = columns.weight == 0
    if not padding.any():
        raise Broken("no batch was ragged, so padding was not checked")
    another = (columns.row + 1) % len(backend.examples_of.train)
    row = torch.where(padding, another, columns.row)
    other = columns._replace(row=row).stacked()

    def after(rows: torch.Tensor) -> list[torch.Tensor]:
        result = backend.step_all(backend.carried, rows, backend.own, backend.shared)
        leaves: list[torch.Tensor] = pytree.tree_leaves(result)
        return leaves

    if not same(after(last), after(other)):
        raise Broken("rows of weight 0 change the step; weigh each example's loss by batch.weight")


def learns(part: Part) -> None:
    """It learns a trivial task."""
    own_updates = part.schedule().updates_per_batch if isinstance(part, Strategy) else None
    # A strategy that takes several steps on each mini-batch gets about as many steps in all.
    epochs = max(1, 10 // (own_updates or 1))
    benchmark = _benchmark(part, tasks=1, epochs=epochs)
    outcome = _outcome(part, benchmark)
    accuracy = outcome.correct[-1][0] / outcome.test_examples[0]
    if not accuracy > 0.9:
        raise Broken(
            f"its accuracy on two separate clusters is {accuracy:.2f} after ten epochs, "
            "not above 0.9"
        )


def stays_within_its_memory(part: Part) -> None:
    """It stores no more past examples than it declares."""
    if isinstance(part, Learner):
        _grows_little(part)
        return
    _stores_few(part)
    memory = part.memory()
    declared = getattr(part, "buffer_size", None)
    if memory is None:
        return
    if declared is not None and memory.size > declared:
        raise Broken(f"memory() stores {memory.size} examples, more than buffer_size={declared}")
    _replays_few(part, memory)


def _replays_few(part: Strategy, memory: Memory) -> None:
    """Raise `Broken` if the memory, at any task, stores or replays more examples than its size."""
    benchmark = _benchmark(part)
    stream = benchmark.stream(_data(part), 0)
    schedule = part.schedule()
    incoming, _ = schedule.pace(benchmark, len(stream.tasks))
    content = memory.empty()
    for number in range(len(stream.tasks)):
        rows, after = train_rows(stream, number, benchmark, schedule, memory, content, 0)
        content = after or content
        # The replayed rows of the last step, without padding; an example may occur in two rounds.
        replayed = rows[-1, incoming:]
        distinct = set(replayed[replayed.real].examples.tuples())
        most = max(len(content.filled), len(distinct))
        if most > memory.size:
            raise Broken(f"{most} examples are stored, more than buffer_size={memory.size}")


def _stores_few(part: Strategy) -> None:
    """Raise `Broken` if a strategy with examples in its own state stores too many in all."""
    allowed = getattr(part, "buffer_size", None)
    if type(part).own_examples is Strategy.own_examples or allowed is None:
        return
    backend, _ = _ready(part)
    stored = max(backend.held_examples())
    if stored > allowed:
        raise Broken(
            f"{stored} examples are stored, with those of its own state, more than "
            f"buffer_size={allowed}"
        )


def _grows_little(learner: Learner) -> None:
    """Raise `Broken` if a learner's pickle grows by more than its buffer_size explains."""
    benchmark = _benchmark(learner)
    # Many examples: a learner that keeps them all grows by far more than the slack.
    data = blobs(train=2000)
    example = data.x_train[0].nbytes + 64
    allowed = getattr(learner, "buffer_size", 0) * example + SLACK
    with seeded(0):
        backend = OpaqueReplica(benchmark, learner, benchmark.stream(data, 0), 0, CPU)
        for number in range(benchmark.tasks):
            backend.learn(number, lambda _: None)
    if backend.at_first == 0:
        raise Broken("it cannot be pickled, so its size is unknown")
    if backend.state_bytes() > allowed:
        raise Broken(f"it grew by {backend.state_bytes()} bytes; its buffer_size allows {allowed}")


def sees_no_future(part: Part) -> None:
    """Learning up to the end of a task does not depend on later tasks' examples."""
    # Test examples of the last task are scrambled too, and so are left out.
    earlier = _earlier(part)

    def before_the_last(scramble: bool) -> Trace:
        data = _data(part, scramble_last=scramble)
        results = trace(part, _benchmark(part), data, [0])
        correct = [task[:, earlier] for task in results.correct[:-1]]
        return Trace(results.leaves[:-1], correct)

    plain = before_the_last(scramble=False)
    scrambled = before_the_last(scramble=True)
    _equal(plain, scrambled, "with and without a scrambled last task")


def predicts_examples_apart(part: Part) -> None:
    """Its scores of a test example do not depend on the others that are predicted with it."""
    if isinstance(part, Learner):
        _predicts_apart(part)
        return
    backend, _ = _ready(part)
    rows = torch.from_numpy(backend.test_rows[0].array)
    some = spread(rows.shape[1])
    state = backend.for_prediction()
    together = backend.scores(state, rows)[:, some]
    each_alone = [backend.scores(state, rows[:, [place]]) for place in some.tolist()]
    alone = torch.cat(each_alone, dim=1)
    if not agree(together.flatten(0, 1), alone.flatten(0, 1)):
        raise Broken(
            "an example alone and among others has different scores; predict each row by itself"
        )


def _predicts_apart(learner: Learner) -> None:
    """Raise `Broken` if a learner's scores of an example depend on others."""
    benchmark = _benchmark(learner)
    with seeded(0):
        backend = OpaqueReplica(benchmark, learner, benchmark.stream(_data(learner), 0), 0, CPU)
        backend.learn(0, lambda _: None)
        try:
            backend.check_predictions()
        except UserError as error:
            raise Broken(str(error)) from error


def _earlier(part: Part) -> Bool[np.ndarray, " row"]:
    """True for the test rows of all tasks but the last."""
    stream = _benchmark(part).stream(_data(part), 0)
    counts = [len(task.test.row) for task in stream.tasks]
    return np.arange(sum(counts)) < sum(counts[:-1])


SHORT, LONG = 2, 20
"""The numbers of tasks of a stream, and of a longer one that begins with the same tasks.

In the longer one, a task's share of a memory is less than its examples.
"""


def knows_no_length(part: Part) -> None:
    """Learning is the same in a longer stream with the same first tasks and as many outputs."""
    if "length" in part.knows_ahead():
        raise Declared("it knows ahead how many tasks or classes the whole stream has")
    benchmark = _benchmark(part, tasks=LONG, train_examples=16)
    # The short one keeps the dataset, and so the output units, of the long one.
    long = benchmark.stream(_data(part, LONG), 0)
    short = replace(
        long,
        tasks=long.tasks[:SHORT],
        units=long.units[:SHORT],
    )
    in_short = _learned(part, benchmark, short, short)
    in_long = _learned(part, benchmark, long, short)
    for task, (mine, other) in enumerate(zip(in_short, in_long, strict=True)):
        if not _same_but_for_padding(part, mine, other):
            raise Broken(
                f"after task {task + 1} it differs between streams of {SHORT} and {LONG} tasks; "
                "let knows_ahead() declare the length, or do without net.tasks and memories that "
                "share their slots among all tasks"
            )


def _same_but_for_padding(
    part: Part,
    mine: list[torch.Tensor],
    other: list[torch.Tensor],
) -> bool:
    """True if tensors are equal, but for rounding if steps of a longer stream have more padding."""
    # Rows of weight 0 add exact zeros, but a longer sum may be taken in another order.
    padded = isinstance(part, Strategy) and part.schedule().batch_per_task
    tolerance = 1e-4 if padded else 0.0
    close = partial(torch.allclose, rtol=tolerance, atol=tolerance)
    pairs = zip(mine, other, strict=True)
    return all(close(a.double(), b.double()) for a, b in pairs)


def _learned(
    part: Part,
    benchmark: Blobs,
    stream: Stream,
    tested: Stream,
) -> list[list[torch.Tensor]]:
    """The results of a stream after each of its first tasks.

    They are the model's parameters, the optimiser's slots, and True for right predictions on the
    tests of another stream.

    Args:
        part: The strategy or the learner.
        benchmark: The benchmark.
        stream: The stream to learn from.
        tested: The stream whose tasks are counted and tested.
    """
    backend = _backend(part, benchmark, stream)
    results = []
    for number in range(len(tested.tasks)):
        backend.learn(number, lambda _: None)
        slots = (
            pytree.tree_leaves(backend.state.slots) if isinstance(backend, StreamReplicas) else []
        )
        correct = torch.from_numpy(backend.evaluate(test_chunks([tested])).correct)
        tensors = (*backend.parameters().values(), *slots, correct)
        # Copies, because a learner trains its parameters in place.
        results.append([value.clone() for value in tensors])
    return results


def _backend(
    part: Part,
    benchmark: Blobs,
    stream: Stream,
) -> StreamReplicas | OpaqueReplica:
    """One replicate, ready to learn its first task."""
    if isinstance(part, Learner):
        return OpaqueReplica(benchmark, part, stream, 0, CPU)
    return _pretrained(part, benchmark, stream)


def _pretrained(
    part: Strategy,
    benchmark: Blobs,
    stream: Stream,
) -> StreamReplicas:
    backend = StreamReplicas(benchmark, part, [stream], [0], CPU)
    pretrain(backend, Clocks(CPU))
    return backend


def ignores_later_classes(part: Part) -> None:
    """The output units of later classes do not affect its learning."""
    if "classes" in part.knows_ahead():
        raise Declared("the outputs of later classes are in its loss")
    if not isinstance(part, Strategy) or _scenario(part) != "class":
        return
    benchmark = _benchmark(part)
    stream = benchmark.stream(_data(part), 0)
    plain = _without_last(part, benchmark, stream, raised=0.0)
    raised = _without_last(part, benchmark, stream, raised=5.0)
    if not same(plain, raised):
        raise Broken(
            "it differs if the units of later classes start higher; "
            "mask them, or let knows_ahead() declare classes"
        )


def _without_last(
    part: Strategy,
    benchmark: Blobs,
    stream: Stream,
    raised: float,
) -> list[torch.Tensor]:
    """The parameters that are learned from all tasks but the last, without the units of the last.

    Args:
        part: The strategy.
        benchmark: The benchmark.
        stream: The stream to learn from.
        raised: A number that is added to the initial biases of the last task's units.
    """
    backend = _pretrained(part, benchmark, stream)
    # If these units have a part in the loss, a higher bias changes the gradient of all others.
    later_units = torch.from_numpy(stream.units[-1])
    params = backend.parameters()
    params = params | {BIAS: params[BIAS] + raised * later_units}
    backend.start_from(params)
    for number in range(len(stream.tasks) - 1):
        backend.learn(number, lambda _: None)
    learned = backend.parameters()
    return [value[:, ~later_units] if of_head(name) else value for name, value in learned.items()]


def applies_weighting_as_declared(part: Part) -> None:
    """It applies weighting=tasks, has no need to, or refuses it, as it declares."""
    declared = part.handles_weighting()
    if declared == "refused":
        raise Declared("it refuses weighting=tasks")
    stream = _benchmark(part).stream(_data(part), 0)
    by_examples = _learned(part, _benchmark(part, weighting="examples"), stream, stream)
    by_tasks = _learned(part, _benchmark(part, weighting="tasks"), stream, stream)
    pairs = zip(by_examples, by_tasks, strict=True)
    alike = all(same(mine, other) for mine, other in pairs)
    if alike and declared == "applied":
        raise Broken(
            "weighting=tasks changes nothing; "
            "use data.combined, data.combine(), data.incoming_weight or data.replay_weight"
        )
    if not alike and declared != "applied":
        raise Broken(
            f"weighting=tasks changes the result, though its task_weighting is {declared!r}; "
            "declare 'applied'"
        )


CHECKS: tuple[Callable[[Part], None], ...] = (
    is_pure,
    repeats_itself,
    does_not_depend_on_other_replicates,
    keeps_its_shapes,
    uses_no_global_randomness,
    takes_any_batch,
    pickles,
    is_recorded,
    learns,
    stays_within_its_memory,
    sees_no_future,
    predicts_examples_apart,
    knows_no_length,
    ignores_later_classes,
    applies_weighting_as_declared,
)


_IN = "It works in the {}-incremental scenario."


def works_in(part: Part, scenario: Scenario) -> Verdict:
    """Try the claim that a part trains in a scenario, unless it declares that it does not."""
    claim = _IN.format(scenario)
    if scenario not in part.scenarios:
        return Verdict(claim, "declared", f"it does {', '.join(part.scenarios)}-incremental only")
    benchmark = _benchmark(part, scenario=scenario)

    def runs(_: Part) -> None:
        if not _outcome(part, benchmark).finite:
            raise Broken("a parameter or a score became non-finite")

    return verdict(part, runs, claim)


def checks_of(part: Part | MetaStrategy) -> tuple[Callable[[Any], None], ...]:
    """The claims that a part of its kind must satisfy."""
    return metastrategies.CHECKS if isinstance(part, MetaStrategy) else CHECKS


def verdicts(part: Part | MetaStrategy) -> Iterator[Verdict]:
    """Try the whole contract, check by check.

    If the time of all checks together is over, the last verdict is a failure that says so.
    """
    until = time.monotonic() + limit("check")
    for claim, outcome in _outcomes(part):
        # A check that begins late gets a moment, since a limit of 0 would be none.
        left = max(0.001, until - time.monotonic())
        try:
            with within("check", type(part).__name__, left):
                tried = outcome()
        except Late as error:
            why = f"{error} The claims after it were not tried."
            yield Verdict(claim, "failed", why, whole(error))
            return
        yield tried


def _outcomes(part: Part | MetaStrategy) -> Iterator[tuple[str, Callable[[], Verdict]]]:
    """Every claim of the contract, and a call that tries it."""
    for check in checks_of(part):
        yield claim_of(check), partial(verdict, part, check)
    if not isinstance(part, MetaStrategy):
        for scenario in get_args(Scenario):
            yield _IN.format(scenario), partial(works_in, part, scenario)
