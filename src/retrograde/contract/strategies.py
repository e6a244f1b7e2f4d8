"""The contract that every strategy must satisfy; public, for the tests of plugins."""

import re
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial, update_wrapper
from typing import Any, NamedTuple, TypeVar, get_args

import numpy as np
import torch
from jaxtyping import Bool
from torch.nn.modules.batchnorm import _BatchNorm
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
    tried_in_time,
    verdict,
)
from retrograde.contract.toys import IMAGES, VECTOR, Blobs, Ground, like
from retrograde.data.dataset import Dataset
from retrograde.errors import UserError
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.learner import Learner
from retrograde.interface.metastrategy import MetaStrategy
from retrograde.interface.strategy import Strategy
from retrograde.networks.build import build
from retrograde.networks.checks import agree
from retrograde.networks.head import HEAD, of_head
from retrograde.randomness import seeded, torch_seed
from retrograde.streams.memory import Memory
from retrograde.streams.schedule import test_chunks, train_rows
from retrograde.streams.stream import Examples, Experience, Scenario, Stream
from retrograde.training.backend import Outcome
from retrograde.training.boundary import misfits
from retrograde.training.cell_check import check
from retrograde.training.clocks import Clocks
from retrograde.training.columns import Columns
from retrograde.training.opaque import OpaqueReplica
from retrograde.training.pretraining import pretrain, pretrained_replicas
from retrograde.training.replicas import spread
from retrograde.training.stream_loop import train
from retrograde.training.stream_replicas import StreamReplicas

Part = Strategy | Learner


CPU = torch.device("cpu")


BIAS = f"{HEAD}.bias"


FEW = 12
"""The number of training examples of a cluster where a check takes a step for each of them.

Pretraining draws up to 11 of them.
"""


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
    for number in range(len(backend.streams[0])):
        backend.learn(number, lambda _: None)
        results.correct.append(backend.evaluate(backend.test_rows).correct)
        leaves = pytree.tree_leaves(backend.state)
        results.leaves.append([leaf.clone() for leaf in leaves])
    return results


def _trace_learner(backend: OpaqueReplica) -> list[np.ndarray]:
    """True for test examples that one replicate predicts correctly, after each task."""
    correct = []
    for number in range(len(backend.stream)):
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


def _scenario(part: Part, on: Ground) -> Scenario:
    """The scenario of the ground, if the part does it; else one that it does."""
    wanted = on.settings.get("scenario", "class")
    return wanted if wanted in part.scenarios else part.scenarios[0]


def _benchmark(part: Part, on: Ground, **changes: Any) -> Blobs:
    """The toy stream for a part, with changed settings."""
    return on.benchmark(**{"scenario": _scenario(part, on)} | changes)


def _ready(part: Strategy, on: Ground, **changes: Any) -> tuple[StreamReplicas, torch.Tensor]:
    """Two replicates after a task, and the rows of the next one, whose last batch is ragged."""
    benchmark = _benchmark(part, on, **changes)
    streams = [benchmark.stream(on.data(), seed) for seed in (0, 1)]
    backend = StreamReplicas(benchmark, part, streams, [0, 1], CPU)
    pretrain(backend, Clocks(CPU))
    backend.learn(0, lambda _: None)
    return backend, torch.from_numpy(backend.memories.rows(1).array)


def is_pure(part: Part, on: Ground) -> None:
    """A step leaves its inputs unchanged, and gives the same result again."""
    if not isinstance(part, Strategy):
        return
    need_frozen(part)
    backend, rows = _ready(part, on)
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


def repeats_itself(part: Part, on: Ground) -> None:
    """The same seed gives the same result."""
    first = trace(part, _benchmark(part, on), on.data(), [3])
    second = trace(part, _benchmark(part, on), on.data(), [3])
    _equal(first, second, "two runs of seed 3")


def does_not_depend_on_other_replicates(part: Part, on: Ground) -> None:
    """Replicate i of a batch equals replicate i alone."""
    benchmark = _benchmark(part, on, uneven=True)
    together = trace(part, benchmark, on.data(), [0, 1, 2])
    alone = trace(part, benchmark, on.data(), [1])
    leaves = [[leaf[1:2] for leaf in task] for task in together.leaves]
    correct = [task[1:2] for task in together.correct]
    company = Trace(leaves, correct)
    # Products of stacked tensors may be summed in another order, and dividing by the spread of a
    # batch enlarges the difference.
    tolerance = 1e-3 if _normalises(on) else 1e-4
    _equal(alone, company, "seed 1 alone and with seeds 0 and 2", tolerance)


def keeps_its_shapes(part: Part, on: Ground) -> None:
    """The state keeps its structure, shapes and dtypes."""
    if not isinstance(part, Strategy) or part.grows:
        return
    backend, _ = _ready(part, on)
    faults = misfits(backend.state, backend.initial)
    if faults:
        raise Broken(f"after a task, of two replicates, {faults}")


def uses_no_global_randomness(part: Part, on: Ground) -> None:
    """The global random generators are neither used nor changed."""
    runs = []
    for seed in (1, 2):
        with seeded(seed):
            before = global_state()
            runs.append(trace(part, _benchmark(part, on), on.data(), [0]))
            if global_state() != before:
                raise Broken("a global generator moved; take randomness from the arguments")
    _equal(runs[0], runs[1], "two runs under different global seeds")


def _outcome(
    part: Part,
    on: Ground,
    benchmark: Blobs,
    train_rows: int | None = None,
) -> Outcome:
    """Train one replicate without compiling.

    Args:
        part: The strategy or the learner.
        on: The ground on which it is tried.
        benchmark: The toy benchmark.
        train_rows: The number of training examples of each cluster; None: that of the ground.
    """
    stream = benchmark.stream(on.data(benchmark.tasks, train_rows), 0)
    outcomes = train(benchmark, part, [stream], [0], CPU, "off")
    return outcomes[0]


def takes_any_batch(part: Part, on: Ground) -> None:
    """It learns from ragged batches and batches of one example, and padding changes nothing."""
    # Normalised over a batch, an example needs company, and rows see padding.
    normalised = _normalises(on)
    for batch_size in (7,) if normalised else (1, 7):
        benchmark = _benchmark(part, on, batch_size=batch_size)
        # Batches of one are many: fewer examples keep their number near that of other checks.
        rows = FEW if batch_size == 1 else None
        if not _outcome(part, on, benchmark, rows).finite:
            raise Broken(f"a parameter or a score became non-finite with batch_size={batch_size}")
    if isinstance(part, Strategy) and part.schedule().batch_size != 1 and not normalised:
        _ignores_padding(part, on)


def _normalises(on: Ground) -> bool:
    """True if the model of a ground normalises the rows of a batch by each other."""
    module = build(on.benchmark().model, on.shape, on.classes, seed=0, running=True)
    return any(isinstance(layer, _BatchNorm) for layer in module.modules())


def _ignores_padding(part: Strategy, on: Ground) -> None:
    """Raise `Broken` if a step depends on the examples that padding repeats."""
    backend, rows = _ready(part, on, batch_size=7)
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


def learns(part: Part, on: Ground) -> None:
    """It learns a trivial task."""
    own_updates = part.schedule().updates_per_batch if isinstance(part, Strategy) else None
    # A strategy that takes several steps on each mini-batch gets about as many steps in all.
    epochs = max(1, 10 // (own_updates or 1))
    benchmark = _benchmark(part, on, tasks=1, epochs=epochs)
    outcome = _outcome(part, on, benchmark)
    accuracy = outcome.correct[-1][0] / outcome.test_examples[0]
    if not accuracy > 0.9:
        raise Broken(
            f"its accuracy on separate clusters is {accuracy:.2f} after ten epochs, not above 0.9"
        )


def stays_within_its_memory(part: Part, on: Ground) -> None:
    """It stores no more past examples than it declares."""
    if isinstance(part, Learner):
        _grows_little(part, on)
        return
    _stores_few(part, on)
    memory = part.memory()
    declared = getattr(part, "buffer_size", None)
    if memory is None:
        return
    if declared is not None and memory.size > declared:
        raise Broken(f"memory() stores {memory.size} examples, more than buffer_size={declared}")
    _replays_few(part, on, memory)


def _replays_few(part: Strategy, on: Ground, memory: Memory) -> None:
    """Raise `Broken` if the memory, at any task, stores or replays more examples than its size."""
    benchmark = _benchmark(part, on)
    stream = benchmark.stream(on.data(), 0)
    schedule = part.schedule()
    incoming, _ = schedule.pace(benchmark, len(stream))
    content = memory.empty()
    for number in range(len(stream)):
        rows, after = train_rows(stream, number, benchmark, schedule, memory, content, 0)
        content = after or content
        # The replayed rows of the last step, without padding; an example may occur in two rounds.
        replayed = rows[-1, incoming:]
        distinct = set(replayed[replayed.real].examples.tuples())
        most = max(len(content.filled), len(distinct))
        if most > memory.size:
            raise Broken(f"{most} examples are stored, more than buffer_size={memory.size}")


def _stores_few(part: Strategy, on: Ground) -> None:
    """Raise `Broken` if a strategy with examples in its own state stores too many in all."""
    allowed = getattr(part, "buffer_size", None)
    if type(part).own_examples is Strategy.own_examples or allowed is None:
        return
    backend, _ = _ready(part, on)
    stored = max(backend.held_examples())
    if stored > allowed:
        raise Broken(
            f"{stored} examples are stored, with those of its own state, more than "
            f"buffer_size={allowed}"
        )


def _grows_little(learner: Learner, on: Ground) -> None:
    """Raise `Broken` if a learner's pickle grows by more than its buffer_size explains."""
    benchmark = _benchmark(learner, on)
    # Many examples: a learner that keeps them all grows by far more than the slack.
    data = on.data(train=2000)
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


def sees_no_future(part: Part, on: Ground) -> None:
    """Learning up to the end of a task does not depend on later tasks' examples."""
    # Test examples of the last task are scrambled too, and so are left out.
    earlier = _earlier(part, on)

    def before_the_last(scramble: bool) -> Trace:
        data = on.data(scramble_last=scramble)
        results = trace(part, _benchmark(part, on), data, [0])
        correct = [task[:, earlier] for task in results.correct[:-1]]
        return Trace(results.leaves[:-1], correct)

    plain = before_the_last(scramble=False)
    scrambled = before_the_last(scramble=True)
    _equal(plain, scrambled, "with and without a scrambled last task")


def predicts_examples_apart(part: Part, on: Ground) -> None:
    """Its scores of a test example do not depend on the others that are predicted with it."""
    if isinstance(part, Learner):
        _predicts_apart(part, on)
        return
    backend, _ = _ready(part, on)
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


def _predicts_apart(learner: Learner, on: Ground) -> None:
    """Raise `Broken` if a learner's scores of an example depend on others."""
    benchmark = _benchmark(learner, on)
    with seeded(0):
        backend = OpaqueReplica(benchmark, learner, benchmark.stream(on.data(), 0), 0, CPU)
        backend.learn(0, lambda _: None)
        try:
            backend.check_predictions()
        except UserError as error:
            raise Broken(str(error)) from error


def _earlier(part: Part, on: Ground) -> Bool[np.ndarray, " row"]:
    """True for the test rows of all tasks but the last."""
    stream = _benchmark(part, on).stream(on.data(), 0)
    counts = [len(task.test.row) for task in stream.tasks]
    return np.arange(sum(counts)) < sum(counts[:-1])


SHORT, LONG = 2, 20
"""The numbers of tasks of a stream, and of a longer one that begins with the same tasks.

In the longer one, a task's share of a memory is less than its examples.
"""


def knows_no_length(part: Part, on: Ground) -> None:
    """Learning is the same in a longer stream with the same first tasks and as many outputs."""
    if "length" in part.knows_ahead():
        raise Declared("it knows ahead how many tasks or classes the whole stream has")
    benchmark = _benchmark(part, on, tasks=LONG, train_examples=16)
    # The short one keeps the dataset, and so the output units, of the long one.
    long = benchmark.stream(on.data(LONG), 0)
    short = replace(
        long,
        experiences=long.experiences[:SHORT],
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
    results = []
    # A learner may draw from the global generators.
    with seeded(torch_seed(0, "opaque")):
        backend = _backend(part, benchmark, stream)
        for number in range(len(tested.tasks)):
            backend.learn(number, lambda _: None)
            slots = (
                pytree.tree_leaves(backend.state.slots)
                if isinstance(backend, StreamReplicas)
                else []
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


def ignores_later_classes(part: Part, on: Ground) -> None:
    """The output units of later classes do not affect its learning."""
    if "classes" in part.knows_ahead():
        raise Declared("the outputs of later classes are in its loss")
    if not isinstance(part, Strategy) or _scenario(part, on) != "class":
        return
    benchmark = _benchmark(part, on)
    stream = benchmark.stream(on.data(), 0)
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
    params = backend.state.params
    params = params | {BIAS: params[BIAS] + raised * later_units}
    backend.start_from(params)
    for number in range(len(stream.tasks) - 1):
        backend.learn(number, lambda _: None)
    learned = backend.state.params
    return [value[:, ~later_units] if of_head(name) else value for name, value in learned.items()]


def applies_weighting_as_declared(part: Part, on: Ground) -> None:
    """It applies weighting=tasks, has no need to, or refuses it, as it declares."""
    declared = part.handles_weighting()
    if declared == "refused":
        raise Declared("it refuses weighting=tasks")
    stream = _benchmark(part, on).stream(on.data(), 0)
    by_examples = _learned(part, _benchmark(part, on, weighting="examples"), stream, stream)
    by_tasks = _learned(part, _benchmark(part, on, weighting="tasks"), stream, stream)
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


def learns_the_same_without_boundaries(part: Part, on: Ground) -> None:
    """It learns the same without boundaries, also from mixed tasks, unless it needs them."""
    needed = part.needs_boundaries()
    if needed != "none":
        raise Declared(f"it needs to know the boundaries of {needed}")
    # Weights by tasks count experiences, and so need to know where they end.
    known = _benchmark(part, on, weighting="examples")
    unknown = replace(known, boundaries="unknown")
    stream = known.stream(on.data(), 0)
    with_them = _learned(part, known, stream, stream)
    without = _learned(part, unknown, stream, stream)
    pairs = zip(with_them, without, strict=True)
    if not all(same(mine, other) for mine, other in pairs):
        raise Broken(
            "boundaries=unknown changes the result; do without the number of the experience and "
            'the tasks of examples, or declare boundaries = "experiences"'
        )
    mixed = replace(unknown, mixed=True)
    if not _outcome(part, on, mixed).finite:
        raise Broken("a parameter or a score became non-finite in an experience of mixed tasks")


VALUE_SCALE = 0.5
"""The scale of toy examples in regression, in which losses are steeper."""
VALUE_EPOCHS = 4
"""The number of epochs of a toy task of regression."""


def learns_values(part: Part, on: Ground) -> None:
    """It learns a trivial task of regression, unless it needs classes."""
    if part.needs_classes():
        raise Declared("it needs classes")
    if "domain" not in part.scenarios:
        raise Declared(f"it does {', '.join(part.scenarios)}-incremental only")
    own_updates = part.schedule().updates_per_batch if isinstance(part, Strategy) else None
    benchmark = _benchmark(
        part,
        on,
        scenario="domain",
        regression=True,
        tasks=1,
        epochs=max(1, VALUE_EPOCHS // (own_updates or 1)),
    )
    stream = benchmark.stream(replace(on.data(1, train=FEW), scale=VALUE_SCALE), 0)
    (outcome,) = train(benchmark, part, [stream], [0], CPU, "off")
    if not outcome.finite:
        raise Broken("a parameter or a value became non-finite")
    before, after = (sums[0] / outcome.test_examples[0] for sums in outcome.squared_errors)
    # Two thirds: some take small steps by default.
    if not after < before * 2 / 3:
        raise Broken(
            f"its mean squared error on separate clusters is {after:.2g} after training, and was "
            f"{before:.2g} before; declare classes_only = True if it needs classes"
        )


CHECKS: tuple[Callable[[Part, Ground], None], ...] = (
    is_pure,
    repeats_itself,
    does_not_depend_on_other_replicates,
    keeps_its_shapes,
    uses_no_global_randomness,
    takes_any_batch,
    learns,
    stays_within_its_memory,
    sees_no_future,
    predicts_examples_apart,
    knows_no_length,
    ignores_later_classes,
    applies_weighting_as_declared,
    learns_the_same_without_boundaries,
    learns_values,
)


_IN = "It works in the {}-incremental scenario."


def works_in(part: Part, scenario: Scenario, on: Ground | None = None) -> Verdict:
    """Try the claim that a part trains in a scenario, unless it declares that it does not."""
    claim = _IN.format(scenario)
    if scenario not in part.scenarios:
        return Verdict(claim, "declared", f"it does {', '.join(part.scenarios)}-incremental only")
    ground = on or ground_of(part)
    benchmark = _benchmark(part, ground, scenario=scenario)

    def runs(_: Part) -> None:
        if not _outcome(part, ground, benchmark).finite:
            raise Broken("a parameter or a score became non-finite")

    return verdict(part, runs, claim)


def ground_of(part: Part) -> Ground:
    """The toy examples on which a part is tried: vectors, or images if its model needs them."""
    model = getattr(part, "contract_model", Blobs.model)
    fitting = (shape for shape in (VECTOR, *IMAGES) if _fits(model, shape))
    # If none fits, the first check says why.
    return Ground(next(fitting, VECTOR), held=_held_out(part), settings={"model": model})


def _fits(model: str, shape: tuple[int, ...]) -> bool:
    """True if a model can take examples of a shape."""
    try:
        module = build(model, shape, 4, seed=0, running=True).eval()
        module(torch.zeros(2, *shape))
    except Exception:
        return False
    return True


def _held_out(part: Part) -> int:
    """The number of clusters that are held out for pretraining."""
    return 4 if isinstance(part, Strategy) and part.pretraining() else 0


def tried_on(check: Callable[..., None], ground: Ground) -> Callable[[Any], None]:
    """A check of a part on a ground."""
    return update_wrapper(partial(check, on=ground), check)


def checks_of(
    part: Part | MetaStrategy,
    on: Ground | None = None,
) -> tuple[Callable[[Any], None], ...]:
    """The claims that a part of its kind must satisfy.

    Args:
        part: The part.
        on: The ground on which a strategy or a learner is tried; None: that of `ground_of`.
    """
    if isinstance(part, MetaStrategy):
        return metastrategies.CHECKS
    ground = on or ground_of(part)
    return (*(tried_on(check, ground) for check in CHECKS), pickles, is_recorded)


TRIED_ROWS = 20
"""The largest number of training and of test examples of a task of a benchmark that are tried."""
TRIED_EXPERIENCES = 2
"""The number of experiences of a benchmark that are tried."""

Some = TypeVar("Some", Examples, Experience)
"""Test examples of a task, or training examples of an experience."""


def train_briefly(part: Part, benchmark: Benchmark, stream: Stream) -> None:
    """Train for one epoch on a few examples of the first tasks of a stream.

    Raises:
        UserError: The part and the benchmark do not go together.
        Broken: A number became non-finite.
    """
    few = {name: value for name, value in _ONE_EPOCH.items() if name in _names(benchmark)}
    small = replace(benchmark, **few)
    some = _first_rows(stream)
    check(small, part, some, CPU)
    (outcome,) = train(small, part, [some], [0], CPU, "off")
    if not outcome.finite:
        raise Broken(f"a parameter or a score became non-finite: {outcome.divergence}")


_ONE_EPOCH: dict[str, Any] = {
    "epochs": 1,
    "steps": 0,
    "updates_per_batch": 1,
    "probe_examples": 0,
    "probe_every": 0,
    "eval_every": 0,
    "eval_examples": 0,
}
"""Settings of a benchmark that would take long, as a trial has them."""


def _names(benchmark: Benchmark) -> set[str]:
    return {field.name for field in fields(benchmark)}


def _first_rows(stream: Stream) -> Stream:
    """The first experiences of a stream and the tasks up to theirs, with a few examples of each."""
    experiences = tuple(map(_few, stream.experiences[:TRIED_EXPERIENCES]))
    last = max(int(experience.task.max()) for experience in experiences)
    tasks = tuple(task._replace(test=_few(task.test)) for task in stream.tasks[: last + 1])
    units = stream.units[: last + 1]
    return replace(stream, experiences=experiences, tasks=tasks, units=units, learned_after=None)


def _few(examples: Some) -> Some:
    """A few of the examples, evenly spread."""
    rows = len(examples.row)
    some = np.linspace(0, rows - 1, min(rows, TRIED_ROWS)).astype(np.int64)
    return examples.at(np.unique(some))


def verdicts(
    part: Part | MetaStrategy,
    benchmark: Benchmark | None = None,
    data: Dataset | None = None,
) -> Iterator[Verdict]:
    """Try the whole contract, check by check.

    If the time of all checks together is over, the last verdict is a failure that says so.

    Args:
        part: The strategy, the learner or the meta-strategy.
        benchmark: A benchmark of streams. A first claim is then that the part trains on a few of
            its examples, and the others are tried on toy examples of their shape, with as many
            classes and the benchmark's scenario, model and optimiser.
        data: The dataset of the benchmark; None: the one that it names, from the data folder.

    Raises:
        UserError: The benchmark and a meta-strategy do not go together, or there is no stream.
    """
    return tried_in_time(type(part).__name__, _outcomes(part, benchmark, data))


def _outcomes(
    part: Part | MetaStrategy,
    benchmark: Benchmark | None,
    data: Dataset | None,
) -> Iterator[tuple[str, Callable[[], Verdict]]]:
    """Every claim of the contract, and a call that tries it."""
    if isinstance(part, MetaStrategy):
        _need_none(benchmark)
        for check in checks_of(part):
            yield claim_of(check), partial(verdict, part, check)
        return
    ground = ground_of(part)
    if benchmark is not None:
        stream = benchmark.stream(data, 0)
        ground = replace(like(benchmark, stream), held=ground.held)
        trial = partial(train_briefly, benchmark=benchmark, stream=stream)
        claim = f"It trains on {type(benchmark).__name__} of {stream.data.name}."
        yield claim, partial(verdict, part, trial, claim)
    for bound in checks_of(part, ground):
        yield claim_of(bound), partial(_tried, part, bound, ground)
    if benchmark is None:
        for scenario in get_args(Scenario):
            yield _IN.format(scenario), partial(works_in, part, scenario, ground)


def _tried(part: Part, bound: Callable[[Any], None], ground: Ground) -> Verdict:
    """The verdict of a check, with a remedy if an author's line raises on toy data alone."""
    found = verdict(part, bound)
    if not found.stopped or not isinstance(bound, partial):
        return found
    if bound.func is learns_values:
        hint = _NEEDS_CLASSES
    else:
        hint = _for_images(part, bound.func, ground, found)
    return found._replace(why=f"{found.why.removesuffix('.')}. {hint}") if hint else found


_NEEDS_CLASSES = "If it needs classes, declare classes_only: ClassVar[bool] = True."

_FOR_IMAGES = 'declare contract_model: ClassVar[str] = "conv".'


def _for_images(
    part: Part,
    check: Callable[..., None],
    ground: Ground,
    found: Verdict,
) -> str:
    """The remedy for a part that stops on toy vectors and needs images; empty for any other.

    Args:
        part: The part.
        check: The check that stopped.
        ground: The toy examples on which it stopped.
        found: Its verdict.
    """
    if ground.shape != VECTOR:
        return ""
    tried = verdict(part, tried_on(check, replace(ground, shape=IMAGES[0])))
    if not tried.stopped:
        return f"On images it does not stop there: {_FOR_IMAGES}"
    if _is_later(tried.stopped, found.stopped):
        return f"If it is for images, {_FOR_IMAGES} Of these, {tried.why.removesuffix('.')}."
    return ""


def _is_later(stopped: str, before: str) -> bool:
    """True if a check got further than to a line such as `mine.py:23: KeyError`.

    An error without a line of the author is of a value that his code returned.
    """
    reached, known = map(_line, (stopped, before))
    if known is None:
        return False
    return reached is None or (reached[0] == known[0] and reached[1] > known[1])


def _line(stopped: str) -> tuple[str, int] | None:
    """The file and the line in `mine.py:23: KeyError`; None if there is none."""
    found = re.match(r"(.+?):(\d+): ", stopped)
    return (found[1], int(found[2])) if found else None


def _need_none(benchmark: Benchmark | None) -> None:
    if benchmark is not None:
        raise UserError(
            "A meta-strategy is checked on lines through the origin; it was to be checked on "
            f"{type(benchmark).__name__}. Leave the benchmark out, and run the two together."
        )
