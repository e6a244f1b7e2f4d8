"""The backend of pure strategies: one step for all replicates at once, which may be compiled."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.func import grad_and_value, vmap
from torch.utils import _pytree as pytree

from retrograde.interface.batch import Batch
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.net import Net, Notes
from retrograde.interface.state import State
from retrograde.interface.strategy import ExperienceEnd, StepData, Strategy, share_weight
from retrograde.learning_rate import factors
from retrograde.losses import losses_of, squared_errors
from retrograde.networks.hidden_units import active_units, relu_outputs
from retrograde.optim import Params, Slots
from retrograde.randomness import keys
from retrograde.streams.memory import ExemplarMemory
from retrograde.streams.rows import Rows
from retrograde.streams.schedule import test_chunks
from retrograde.streams.stream import Stream
from retrograde.training import boundary
from retrograde.training.backend import PREDICTED_FIRST, TaskCost
from retrograde.training.columns import Columns
from retrograde.training.compiled_step import signature, unaliased
from retrograde.training.evaluation import Compared, Errors, Predictions, compare
from retrograde.training.example_rows import ExampleRows, targets_of, without_black
from retrograde.training.memories import Memories
from retrograde.training.replicas import Replicas, Tree, finite, spread, stacked
from retrograde.training.snapshots import Snapshot
from retrograde.training.step_counts import experience_steps, total_steps
from retrograde.training.trees import each

_AXES = (0, 0, 0, None)
"""Axes of `vmap` over state, rows, tensors of the replicate, and tensors that all share."""


class Carried(NamedTuple):
    """What a step changes, for all replicates.

    Attributes:
        state: The strategy's state.
        columns: What is kept with the examples in memory, slot by slot.
        totals: For each statistic that steps log, the sum of its values and their number, in
            double precision: sums of many steps are long.
    """

    state: State
    columns: Params
    totals: Params


class StreamReplicas(Replicas):
    """Replicates of one cell that learn their streams side by side.

    All replicates take as many steps as the longest one; the others end experiences in steps of
    padding, which change nothing.
    """

    backend = "pure"
    benchmark: Benchmark
    strategy: Strategy
    carried: Carried

    def __init__(
        self,
        benchmark: Benchmark,
        strategy: Strategy,
        streams: list[Stream],
        seeds: list[int],
        device: torch.device,
    ) -> None:
        super().__init__(benchmark, strategy, seeds, device)
        self.streams = streams
        self.memories = Memories(benchmark, strategy, streams, seeds)
        self.schedule = self.memories.schedule
        self.memory = self.memories.memory
        self.batch = self.memories.batch
        # Without boundaries, tasks would tell where one ends, unless the scenario gives them.
        tells_task = benchmark.boundaries == "known" or benchmark.scenario == "task"
        self.examples_of = ExampleRows(
            streams[0].data, device, streams[0].channels, benchmark.augment, tells_task
        )
        self.rates = self._rates()
        self.ragged = self.memories.ragged
        self.test_rows = test_chunks(streams)
        # Incoming examples of each replicate so far.
        self.incoming = np.zeros(len(seeds), np.int64)
        # The number of the experience that was begun, and of its steps so far.
        self.begun = -1
        self.step_number = 0
        self.carried = self._build()
        self.initial = self.state
        # The state that is ready for predictions, and the one that it was made from.
        self._ready: tuple[Carried | None, bool, State] = None, False, self.state

    @property
    def state(self) -> State:
        """The strategy's state of every replicate, stacked."""
        return self.carried.state

    def _build(self) -> Carried:
        """Build the net, and the state before the first experience."""
        streams = self.streams
        outputs = streams[0].units.shape[1]
        stored = self.examples_of.train
        some = without_black(stored[spread(len(stored))])
        first_view = torch.zeros(len(some), dtype=torch.long)
        images = self.examples_of.images(some, first_view)
        probe = self.examples_of.normalised(images).cpu()
        models = stacked(
            self.benchmark.model,
            probe,
            outputs,
            self.seeds,
            self.device,
            self.strategy,
            weights=self.benchmark.weights,
            rows_apart=True,
        )
        self.net = Net(
            models.networks,
            self.benchmark.build_optimizer(),
            losses=losses_of(streams[0].regression),
            shape=self.examples_of.shape,
            outputs=outputs,
            tasks=len(streams[0].tasks),
            normalised=streams[0].channels is not None,
        )
        if self.unmapped and models.networks.convolves:
            models.networks.prefer_channels_last(probe)
        # The key is that of `init`; every later hook gets another one.
        self.own = self._own_tensors() | {"fixed": models.own} | self._key("init", 0)
        self.own |= self._experience(0)
        self.shared = {"fixed": models.shared, "dataset": stored}
        # Of all modules, as they were built: pretraining learns those of the model alone.
        self.built = models.params
        initial = vmap(self._initial, in_dims=(0, 0, 0, None))(
            models.params, models.buffers, self.own, self.shared
        )
        columns = {
            column.name: self._empty_column(outputs if column.shape is None else column.shape)
            for column in (self.memory.columns if self.memory else ())
        }
        none = torch.zeros(len(self.seeds), 2, dtype=torch.double, device=self.device)
        totals = {PREDICTED_FIRST: none} if self.benchmark.predict_first else {}
        return Carried(unaliased(initial), columns, totals)

    def _empty_column(self, shape: int | tuple[int, ...]) -> Tensor:
        size = self.memory.size if self.memory else 0
        each = (shape,) if isinstance(shape, int) else shape
        return torch.zeros(len(self.seeds), size, *each, device=self.device)

    def _experience(self, number: int) -> Tree:
        """The number of an experience, as an entry of the tensors of a replicate."""
        # Without boundaries, nothing tells experiences apart.
        number = number if self.benchmark.boundaries == "known" else 0
        # As a tensor, since a number would become a constant of a compiled step.
        return {"experience": torch.full((len(self.seeds),), number, device=self.device)}

    def _own_tensors(self) -> Tree:
        arrays = {"units": [stream.units for stream in self.streams]}
        for name in ("pixels", "targets"):
            tables = [getattr(stream, name) for stream in self.streams]
            # The streams of a benchmark have a table, or none of them does.
            if tables[0] is not None:
                arrays[name] = tables
        return {
            name: torch.from_numpy(np.stack(of_replicates)).to(self.device)
            for name, of_replicates in arrays.items()
        }

    def _keys(self, axis: str, number: int, count: int) -> list[Tree]:
        """Random keys of the replicates, each as an entry of the tensors of a replicate.

        Args:
            axis: The axis of randomness.
            number: The place along the axis, such as the number of an experience.
            count: Number of keys per replicate. A longer request starts with the same keys.
        """
        by_seed = [keys(seed, axis, number, count) for seed in self.seeds]
        drawn = np.stack(by_seed, axis=1)
        on_device = torch.from_numpy(drawn).to(self.device)
        return [{"key": key} for key in on_device]

    def _key(self, axis: str, number: int) -> Tree:
        (key,) = self._keys(axis, number, 1)
        return key

    def _initial(self, params: Params, buffers: Params, own: Tree, shared: Tree) -> State:
        net = self.net_of(State(params, {}, {}, buffers), own, shared)
        state = self.strategy.start(net, params)
        boundary.check_kind(self.strategy, "start", state, State)
        boundary.check_tensors(self.strategy, "init", state.extra)
        return state.replace(buffers=buffers, to_keep={}, to_log={})

    def net_of(self, state: State, own: Tree, shared: Tree) -> Net:
        """The net of one replicate, for one call of a hook."""
        return replace(
            super().net_of(state, own, shared),
            units=own["units"] if self.benchmark.scenario == "task" else None,
            key=own.get("key"),
            rate=own.get("rate"),
            experience=own["experience"],
            notes=Notes(set(), state.buffers),
        )

    def _unrandom(self, state: State, own: Tree, shared: Tree) -> Net:
        """The net of one replicate for predictions, which are not random."""
        return replace(self.net_of(state, own, shared).in_eval_mode(), key=None)

    def start_from(self, params: Params) -> None:
        """Start the stream from parameters that pretraining has learned."""
        self.initial = self.started(self.built | params)
        self.carried = self.carried._replace(state=self.initial)

    def started(self, params: Params) -> State:
        """The state before the first experience, with these parameters of all modules."""
        initial = vmap(self._initial, in_dims=(0, 0, 0, None))(
            params, self.state.buffers, self.own, self.shared
        )
        return unaliased(initial)

    # Steps.

    def step_all(self, carried: Carried, rows: Tensor, own: Tree, shared: Tree) -> Carried:
        """One step of all replicates, as a pure function.

        Args:
            carried: What the step changes.
            rows: The rows of the step for each replicate, as `Columns` takes them apart.
            own: The other tensors that differ between replicates.
            shared: The tensors that all replicates share, among them all training examples.
        """
        after = self.mapped(self._one_step, _AXES)(carried, rows, own, shared)
        # Compiled and traced steps take their inputs with contiguous strides alone.
        whole: Carried = each(torch.Tensor.contiguous, after)
        return whole

    def _one_step(self, carried: Carried, rows: Tensor, own: Tree, shared: Tree) -> Carried:
        net, data = self._given(carried, rows, own, shared)
        after = self.strategy.step(net, carried.state, data)
        settled = self._settled(carried, after, net, data, rows)
        if not self.benchmark.predict_first:
            return settled
        right = carried.totals[PREDICTED_FIRST] + self._predicted(carried, data, own, shared)
        return settled._replace(totals=settled.totals | {PREDICTED_FIRST: right})

    def _predicted(
        self, carried: Carried, data: StepData, own: Tree, shared: Tree
    ) -> Float[Tensor, "2"]:
        """The number of incoming examples that are predicted rightly before a step, and of all."""
        batch = data.incoming
        task_is_given = self.benchmark.scenario == "task"
        net = self._unrandom(carried.state, own, shared)
        task = batch.task if task_is_given else None
        scores = self.strategy.predict(net, carried.state, batch.x, task)
        # The units of a task count only if the scenario gives it, and then it is known.
        found = compare(scores, batch.y, own["units"][batch.task], task_is_given)
        right = (found.correct * batch.weight).sum()
        return torch.stack([right, batch.weight.sum()]).detach().double()

    def _given(
        self, carried: Carried, rows: Tensor, own: Tree, shared: Tree
    ) -> tuple[Net, StepData]:
        """The net of one replicate, and the incoming and replayed examples of one step."""
        columns = Columns.of(rows)
        views = self.examples_of.views(columns, own, shared["dataset"], self.strategy.views)
        combined = views[0]
        incoming = combined.at(slice(self.batch))
        slots = columns.slot[self.batch :]
        kept = {name: column[slots] for name, column in carried.columns.items()}
        replayed = combined.at(slice(self.batch, None))._replace(kept=kept)
        incoming_weight = incoming.weight.new_ones(())
        replay_weight = incoming_weight
        share = None
        if self.benchmark.weighting == "tasks":
            incoming_weight = 1 / (1 + incoming.task.max())
            replay_weight = 1 - incoming_weight
            share = incoming_weight
            weight = share_weight(incoming.weight, replayed.weight, share)
            combined = combined._replace(weight=weight)
        rounds = self.memory.rounds if self.memory else 1
        others = tuple(view.x for view in views[1:])
        data = StepData(
            incoming, replayed, combined, incoming_weight, replay_weight, share, rounds, others
        )
        return self.net_of(carried.state, own, shared), data

    def _settled(
        self, carried: Carried, after: State, net: Net, data: StepData, rows: Tensor
    ) -> Carried:
        """What is carried after a step; unchanged if all of its rows are padding."""
        slots = Columns.of(rows).slot[: self.batch]
        buffers = net.notes.statistics if net.networks.statistics else after.buffers
        totals = dict(carried.totals)
        for name, value in after.to_log.items():
            number = value.detach().double()
            total = totals.get(name, number.new_zeros(2))
            totals[name] = total + torch.stack([number, torch.ones_like(number)])
        settled = Carried(
            after.replace(buffers=buffers, to_keep={}, to_log={}),
            _stored(carried.columns, slots, after.to_keep),
            totals,
        )
        if not self.ragged:
            return settled
        # Under `vmap` a step cannot be left out for some replicates, so it is undone.
        real = data.incoming.weight.sum() > 0
        # What is logged for the first time had no total.
        none = {name: torch.zeros_like(total) for name, total in totals.items()}
        before = carried._replace(totals=none | carried.totals)
        kept: Carried = pytree.tree_map(
            lambda now, then: torch.where(real, now, then), settled, before
        )
        return kept

    def trial_inputs(self) -> tuple[Tensor, Tree, Tree]:
        width = self.batch + (self.memory.replayed if self.memory else 0)
        shape = (len(self.seeds), width)
        zeros = torch.zeros(shape, dtype=torch.long, device=self.device)
        # Real examples of the first task, with one of its classes as label.
        first_units = self.own["units"][:, 0]
        y = first_units.long().argmax(-1, keepdim=True).expand(shape)
        rows = Columns(zeros, zeros, y, zeros, torch.ones_like(zeros), zeros).stacked()
        return rows, self.own | self._rate(0, 0), self.shared

    def expected_steps(self) -> int:
        steps = total_steps(self.benchmark, self.strategy, self.streams)
        # A growing state has another form in every experience.
        return steps // len(self.streams[0]) if self.strategy.grows else steps

    def _try_step(self, inputs: tuple[Any, ...]) -> Notes:
        """Take one step without keeping it.

        Raises:
            UserError: If the step gives no state of the same form, or changes its inputs.
        """
        noted: list[Notes] = []

        def tried(
            carried: Carried, rows: Tensor, own: Tree, shared: Tree
        ) -> tuple[Params, dict[str, Tensor]]:
            net, data = self._given(carried, rows, own, shared)
            given = {"state": carried.state, "data": data}
            before = boundary.copied(given)
            after = self.strategy.step(net, carried.state, data)
            boundary.check_state(self.strategy, "step", after, carried.state)
            boundary.check_kept(self.strategy, "step", after, carried.columns, self.batch)
            boundary.check_kept_in_time(self.strategy, after, self.memory)
            boundary.check_logged(self.strategy, "step", after)
            noted.append(net.notes)
            return after.to_log, boundary.changed(given, before)

        logged, marks = vmap(tried, in_dims=_AXES)(self.carried, *inputs)
        boundary.check_unchanged(self.strategy, "step", marks)
        totals = {
            name: torch.zeros(len(self.seeds), 2, dtype=torch.double, device=self.device)
            for name in logged
        }
        self.carried = self.carried._replace(totals=totals | self.carried.totals)
        return noted[0]

    def constants(self) -> tuple[object, ...]:
        """Constants of a compiled step other than settings and the form of the state."""
        return (
            self.ragged,
            self.net.networks.statistics,
            self.net.networks.channels_last,
            self.examples_of.scale,
            repr(self.streams[0].channels),
            self.memory,
            self.schedule,
            self.examples_of.shape,
            self.batch,
            signature((self.own, self.shared)),
        )

    def begin(self, number: int) -> bool:
        """See `Backend.begin`."""
        # A run that was taken up later has no step either.
        first = self.begun < 0
        self.begun = number
        self.own = self.own | self._experience(number)
        # A fresh schedule starts every experience from the initial state.
        if self.schedule.reinitialise:
            self.carried = self.carried._replace(state=self.initial)
        if not self.defines("begin_experience"):
            return first
        before = signature(self.carried)

        def begun(carried: Carried, own: Tree, shared: Tree) -> State:
            net = self.net_of(carried.state, own, shared)
            after = self.strategy.begin_experience(net, carried.state, number)
            boundary.check_kind(self.strategy, "begin_experience", after, State)
            boundary.check_no_log(self.strategy, "begin_experience", after)
            if self.strategy.grows:
                # The optimiser's state of parameters that are new starts as at first.
                after = after.replace(slots=_grown(after.slots, net.optimizer.init(after.params)))
            else:
                boundary.check_state(self.strategy, "begin_experience", after, carried.state)
            # Only steps log, and keep values with examples.
            return after.replace(to_keep={}, to_log={})

        own = self.own | self._key("begin", number)
        after = vmap(begun, in_dims=(0, 0, None))(self.carried, own, self.shared)
        self.carried = self.carried._replace(state=unaliased(after))
        return first or signature(self.carried) != before

    def defines(self, hook: str) -> bool:
        """True if the strategy defines a hook, whose inputs need not be made otherwise."""
        return getattr(type(self.strategy), hook) is not getattr(Strategy, hook)

    def learn(self, number: int, progress: Callable[[int], None]) -> TaskCost:
        """Learn one experience, which is begun if it was not.

        Args:
            number: The number of the experience, from 0.
            progress: Called with 1 after each step.
        """
        if number != self.begun:
            self.begin(number)
        rows = self.memories.rows(number)
        self.step_number = 0
        for step in self._steps(rows, number):
            self.carried = step(self.carried)
            self.step_number += 1
            progress(1)
        self._end(number)
        return self._used(rows)

    def _used(self, rows: Int64[Rows, "step replicate row"]) -> TaskCost:
        """Costs of an experience, with the examples that are replayed from the strategy's state."""
        weight, replay_weight = np.split(rows.weight, [self.batch], axis=2)
        incoming = weight.sum(2)
        real = weight.any(2)
        own_replay = []
        for start, sizes in zip(self.incoming, incoming.T, strict=True):
            before = start + sizes.cumsum() - sizes
            own_replay.append(self._own_replay(before))
        # Steps of padding replay nothing.
        own = np.stack(own_replay) * real.T
        in_experience = incoming.sum(0)
        self.incoming = self.incoming + in_experience
        from_memory = replay_weight.sum((0, 2))
        return TaskCost(real.sum(0), in_experience, from_memory + own.sum(1))

    def _own_replay(self, before: Int64[np.ndarray, " step"]) -> Int64[np.ndarray, " step"]:
        own = self.strategy.own_replay(before)
        boundary.check_counts(self.strategy, "own_replay", own, before)
        return own

    def _steps(
        self, rows: Int64[Rows, "step replicate row"], number: int
    ) -> Iterator[Callable[[Carried], Carried]]:
        """The steps of an experience, each a function of what they change."""
        # One transfer for all steps of the experience.
        on_device = torch.from_numpy(rows.array).to(self.device)
        step_keys = self._keys("chance", number, len(rows))
        for place, (step, key) in enumerate(zip(on_device, step_keys, strict=True)):
            yield partial(self._advance, step, key | self._rate(number, place))

    def _rates(self) -> list[Float[Tensor, "step replicate"]]:
        """The factors on the learning rate, for each experience; none without a schedule."""
        schedule = self.benchmark.rate_schedule
        if not schedule.changes:
            return []
        of_replicates = [
            factors(schedule, experience_steps(self.benchmark, self.strategy, stream))
            for stream in self.streams
        ]
        experiences = []
        for of_experience in zip(*of_replicates, strict=True):
            longest = max(map(len, of_experience))
            # Steps of padding change nothing, whatever their rate.
            padded = [np.pad(each, (0, longest - len(each))) for each in of_experience]
            steps = torch.from_numpy(np.stack(padded, axis=1))
            experiences.append(steps.float().to(self.device))
        return experiences

    def _rate(self, number: int, step: int) -> Tree:
        """The factor on the learning rate, as an entry of the tensors of a replicate."""
        return {"rate": self.rates[number][step]} if self.rates else {}

    def _advance(self, rows: Tensor, key: Tree, carried: Carried) -> Carried:
        after: Carried = self._step(carried, rows, self.own | key, self.shared)
        return after

    def _trial_steps(self) -> Iterator[Callable[[], object]]:
        # The rows move the memories on: a backend that is timed is not trained.
        steps = self._steps(self.memories.rows(0), 0)
        return (partial(step, self.carried) for step in steps)

    def _end(self, number: int) -> None:
        if isinstance(self.memory, ExemplarMemory):
            origins = self.memories.choose(self.memory, number, partial(self._ranks, number))
            columns = _moved(self.carried.columns, torch.from_numpy(origins).to(self.device))
            self.carried = self.carried._replace(columns=columns)
        # Without a hook its inputs, all examples of the experience, need not be gathered.
        if not self.defines("end_experience"):
            return
        parts = {
            "examples": self.memories.finished(number),
            "memory": self.memories.content(),
            "held_out": self.memories.held_out(),
        }
        rows = {name: self._on_device(part) for name, part in parts.items() if part is not None}
        # Verifying takes a copy of all inputs, and one experience is enough to find a mistake.
        end = partial(self._ended, number == 0)
        own = self.own | self._key("end", number)
        after, marks = vmap(end, in_dims=_AXES)(self.carried, rows, own, self.shared)
        boundary.check_unchanged(self.strategy, "end_experience", marks)
        self.carried = unaliased(after)

    def _ended(
        self, verify: bool, carried: Carried, rows: dict[str, Tensor], own: Tree, shared: Tree
    ) -> tuple[Carried, dict[str, Tensor]]:
        """End an experience for one replicate.

        Args:
            verify: True to mark the inputs that the hook changes in place.
            carried: What is carried after the last step of the experience.
            rows: The rows of what `ExperienceEnd` has, by name; without those that are None.
            own: The other tensors of the replicate.
            shared: The tensors that all replicates share.
        """
        parts = {name: Columns.of(part) for name, part in rows.items()}
        kept = {"memory": carried.columns}
        end = ExperienceEnd(
            **{
                name: self.examples_of.batch(part, own, shared["dataset"], kept.get(name, {}))
                for name, part in parts.items()
            }
        )
        given = {"state": carried.state}
        before = boundary.copied(given) if verify else {}
        net = self.net_of(carried.state, own, shared)
        after = self.strategy.end_experience(net, carried.state, end)
        # A compiled step would misread a state of another form, so every experience is checked.
        boundary.check_state(self.strategy, "end_experience", after, carried.state)
        boundary.check_no_log(self.strategy, "end_experience", after)
        boundary.check_kept(
            self.strategy, "end_experience", after, carried.columns, len(end.examples.x)
        )
        columns = _stored(carried.columns, parts["examples"].slot, after.to_keep)
        state = after.replace(to_keep={}, to_log={})
        marks = boundary.changed(given, before) if before else {}
        return carried._replace(state=state, columns=columns), marks

    def _content(self, step: int | None = None) -> list[Tensor]:
        """The rows of every memory, which `Memories.content` gives; empty without a memory."""
        content = self.memories.content(step)
        return [] if content is None else [self._on_device(content)]

    def _memory_batch(
        self, stored: list[Columns], carried: Carried, own: Tree, shared: Tree
    ) -> Batch | None:
        """The memory of one replicate, from the rows of `_content`."""
        if not stored:
            return None
        return self.examples_of.batch(stored[0], own, shared["dataset"], carried.columns)

    def _ranks(
        self, number: int, rows: Int64[Rows, "replicate row"], share: int
    ) -> Float[np.ndarray, "replicate row"]:
        """The strategy's ranks of the examples of an experience; those of padding mean nothing."""

        def rank(carried: Carried, rows: Tensor, own: Tree, shared: Tree) -> Tensor:
            net = self.net_of(carried.state, own, shared)
            examples = self.examples_of.batch(Columns.of(rows), own, shared["dataset"])
            ranks = self.strategy.rank_exemplars(net, carried.state, examples, share)
            boundary.check_ranks(self.strategy, "rank_exemplars", ranks, len(rows))
            return ranks

        own = self.own | self._key("choose", number)
        inputs = (self.carried, self._on_device(rows), own, self.shared)
        ranks: Tensor = vmap(rank, in_dims=_AXES)(*inputs)
        return np.asarray(ranks.cpu().numpy())

    def _on_device(self, rows: Int64[Rows, "replicate row"]) -> Int64[Tensor, "replicate row _"]:
        return torch.from_numpy(rows.array).to(self.device)

    # Measurements.

    def evaluate(
        self,
        chunks: Int64[Rows, "chunk replicate row"],
        during: bool = False,
        validation: bool = False,
    ) -> Predictions:
        """See `Backend.evaluate`; predicting is pure."""
        shape = chunks.shape
        predicted = torch.empty(shape, dtype=torch.int64, device=self.device)
        correct, given_task = torch.empty(2, *shape, dtype=torch.bool, device=self.device)
        confidence = torch.empty(shape, device=self.device)
        state = self.for_prediction(during)
        dataset = self.examples_of.train if validation else self.examples_of.test
        all_finite = finite(self.state.params)
        # Results go into place: small ones kept apart would fragment the heap.
        for chunk, rows in enumerate(chunks):
            found = self._predict(state, self._on_device(rows), dataset)
            predicted[chunk] = found.predicted
            correct[chunk] = found.correct
            given_task[chunk] = found.correct_given_task
            confidence[chunk] = found.confidence
            all_finite &= found.finite.all(1)
        columns = predicted, correct, given_task, confidence
        by_row = [value.transpose(0, 1).flatten(1) for value in columns]
        return Predictions(*(value.cpu().numpy() for value in (*by_row, all_finite)))

    def errors(self, chunks: Int64[Rows, "chunk replicate row"]) -> Errors:
        """See `Backend.errors`."""
        state = self.for_prediction()
        # In double precision, in which no error of finite values overflows.
        squared = torch.empty(chunks.shape, dtype=torch.double, device=self.device)
        for chunk, rows in enumerate(chunks):
            on_device = self._on_device(rows)
            values = self.scores(state, on_device)
            wanted = vmap(lambda rows, own: targets_of(Columns.of(rows), own))(on_device, self.own)
            squared[chunk] = vmap(squared_errors)(values.double(), wanted.double())
        by_row = squared.transpose(0, 1).flatten(1)
        all_finite = finite(self.state.params) & by_row.isfinite().all(1)
        return Errors(by_row.cpu().numpy(), all_finite.cpu().numpy())

    def for_prediction(self, during: bool = False) -> State:
        """The state of every replicate as `before_evaluation` makes it ready to predict.

        Args:
            during: True in the middle of an experience.
        """
        if not self.defines("before_evaluation"):
            return self.state
        # Several calls of `evaluate` may be one evaluation.
        carried, was_during, ready_state = self._ready
        if carried is self.carried and was_during == during:
            return ready_state
        rows = self._content(self.step_number if during else None)

        def ready(carried: Carried, rows: list[Tensor], own: Tree, shared: Tree) -> State:
            net = self._unrandom(carried.state, own, shared)
            memory = self._memory_batch([*map(Columns.of, rows)], carried, own, shared)
            state = self.strategy.before_evaluation(net, carried.state, memory)
            boundary.check_kind(self.strategy, "before_evaluation", state, State)
            return state

        with torch.no_grad():
            found: State = vmap(ready, in_dims=_AXES)(self.carried, rows, self.own, self.shared)
        self._ready = self.carried, during, found
        return found

    def _predict(
        self, state: State, rows: Int64[Tensor, "replicate row _"], dataset: Tensor
    ) -> Compared:
        """The predictions for one chunk."""
        columns = Columns.of(rows)
        pairs = zip(self.own["units"], columns.task, strict=True)
        units = torch.stack([units_by_task[task] for units_by_task, task in pairs])
        task_is_given = self.benchmark.scenario == "task"
        scores = self.scores(state, rows, dataset)
        return compare(scores, columns.y, units, task_is_given)

    def scores(
        self,
        state: State,
        rows: Int64[Tensor, "replicate row _"],
        dataset: Tensor | None = None,
        trial: bool = False,
    ) -> Float[Tensor, "replicate row unit"]:
        """The strategy's scores of examples; the highest is its answer.

        Args:
            state: The state of every replicate, as `for_prediction` gives it.
            rows: The rows of the examples.
            dataset: All examples; None: the test examples.
            trial: True to predict under `vmap` in any case, which shows what it refuses.
        """
        task_is_given = self.benchmark.scenario == "task"

        def predict(state: State, rows: Tensor, own: Tree, shared: Tree) -> Tensor:
            batch = self.examples_of.batch(Columns.of(rows), own, shared["dataset"])
            net = self._unrandom(state, own, shared)
            task = batch.task if task_is_given else None
            scores = self.strategy.predict(net, state, batch.x, task)
            shape = len(rows), net.outputs
            boundary.check_scores(self.strategy, "predict", scores, *shape)
            # Whole numbers, such as votes, have no infinity for units that are left out.
            return scores if scores.is_floating_point() else scores.double()

        dataset = self.examples_of.test if dataset is None else dataset
        shared = self.shared | {"dataset": dataset}
        mapped = vmap(predict, in_dims=_AXES) if trial else self.mapped(predict, _AXES)
        with torch.no_grad():
            scores: Tensor = mapped(state, rows, self.own, shared)
        return scores

    def try_prediction(self) -> None:
        """Predict a few test examples.

        Raises:
            UserError: If scores have another shape, predicting changes the state, or the scores of
                an example depend on the examples predicted with it.
        """
        rows = torch.from_numpy(self.test_rows[0].array).to(self.device)
        given = {"state": self.state}
        before = boundary.copied(given)
        some = spread(rows.shape[1]).to(self.device)
        state = self.for_prediction()
        marks = boundary.changed(given, before)
        boundary.check_unchanged(self.strategy, "before_evaluation", marks)
        given = {"state": state}
        before = boundary.copied(given)
        together = self.scores(state, rows[:, some], trial=True)
        marks = boundary.changed(given, before)
        boundary.check_unchanged(self.strategy, "predict", marks)
        alone = [self.scores(state, rows[:, [place]], trial=True) for place in some]
        for scores, apart in zip(together, torch.cat(alone, 1), strict=True):
            boundary.check_apart(self.strategy, "predict", scores, apart)

    def try_probes(self) -> None:
        """Take the gradients of a few test examples, as probes do after each experience."""
        rows = self.test_rows[0][:, spread(self.test_rows.shape[2]).numpy()]
        parts = rows[:, : rows.shape[1] // 2 * 2].reshape(len(rows), 2, -1)
        params = self.parameters()
        if params and parts.shape[2]:
            self.gradients(params, self.examples(parts))

    def take_statistics(self) -> dict[str, Float[np.ndarray, "replicate 2"]]:
        """See `Backend.take_statistics`."""
        totals = self.carried.totals
        zeros = {name: torch.zeros_like(total) for name, total in totals.items()}
        self.carried = self.carried._replace(totals=zeros)
        return {name: total.cpu().numpy() for name, total in totals.items()}

    @property
    def keeps_statistics(self) -> bool:
        """See `Backend.keeps_statistics`."""
        return self.net.networks.statistics

    def parameters(self) -> Params:
        """See `Backend.parameters`."""
        if not self.strategy.probes:
            return {}
        # Other modules have no part in the outputs.
        return self.net.model_params(self.state.params)

    def examples(self, rows: Int64[Rows, "replicate part row"]) -> Batch:
        """See `Backend.examples`."""

        def of_replicate(rows: Tensor, own: Tree, dataset: Tensor) -> Batch:
            return self.examples_of.batch(Columns.of(rows), own, dataset)

        flat = self._on_device(rows.reshape(len(rows), -1))
        batch: Batch = vmap(of_replicate, in_dims=(0, 0, None))(
            flat, self.own, self.examples_of.test
        )
        return batch.map(lambda value: value.reshape(*rows.shape, *value.shape[2:]))

    def gradients(
        self, params: Params, parts: Batch
    ) -> tuple[Float[Tensor, "replicate part"], Params]:
        """See `Backend.gradients`."""

        def of_replicate(
            params: Params, state: State, own: Tree, shared: Tree, parts: Batch
        ) -> tuple[Params, Tensor]:
            net = self.net_of(state, own, shared).in_eval_mode()
            of_part = partial(grad_and_value(net.loss), params)
            over_parts: tuple[Params, Tensor] = vmap(of_part)(parts)
            return over_parts

        axes = (0, 0, 0, None, 0)
        inputs = (params, self.state, self.own, self.shared, parts)
        gradients, losses = self.mapped(of_replicate, axes)(*inputs)
        return losses, gradients

    def hidden(
        self, chunks: Int64[Rows, "chunk replicate row"]
    ) -> tuple[Float[Tensor, "replicate row feature"], Bool[Tensor, "replicate unit"]]:
        """The outputs of the last hidden layer, and the ReLU units that are above 0 in any row.

        Args:
            chunks: Rows of test examples, in chunks of one size. The outputs for padding are 0.
        """

        def of_replicate(
            state: State, rows: Tensor, own: Tree, shared: Tree
        ) -> tuple[Tensor, Tensor]:
            batch = self.examples_of.batch(Columns.of(rows), own, shared["dataset"])
            net = self._unrandom(state, own, shared)
            with relu_outputs(net.networks) as outputs:
                features = net.features(state.params, batch.x)
            is_real = (batch.weight > 0)[:, None]
            return features * is_real, active_units(outputs, is_real)

        shared = self.shared | {"dataset": self.examples_of.test}
        hidden = self.mapped(of_replicate, _AXES)
        with torch.no_grad():
            found = [hidden(self.state, self._on_device(rows), self.own, shared) for rows in chunks]
        features, active = zip(*found, strict=True)
        return torch.cat(features, 1), torch.stack(active).any(0)

    def snapshot(self) -> Snapshot:
        """See `Backend.snapshot`."""
        changed = {
            "carried": self.carried,
            "held": self.memories.held,
            "incoming": self.incoming,
            "experience": self.own["experience"],
        }
        # Only pretraining changes the initial state, and few strategies return to it.
        return changed | ({"initial": self.initial} if self.schedule.reinitialise else {})

    def restore(self, snapshot: Snapshot) -> None:
        """See `Backend.restore`."""
        self.carried = snapshot["carried"]
        self.memories.held = snapshot["held"]
        self.incoming = snapshot["incoming"]
        self.own |= {"experience": snapshot["experience"]}
        self.initial = snapshot.get("initial", self.initial)

    def held_examples(self) -> list[int]:
        """Number of past examples of each replicate, in its memory and in the strategy's state."""
        # A strategy that trains on all examples so far needs to keep all of them.
        if self.schedule.examples == "all so far":
            return [_train_size(stream) for stream in self.streams]
        of_state = [0] * len(self.seeds)
        own = self._own_examples()
        if own:
            of_state = (own.weight > 0).sum(1).tolist()
        pairs = zip(self.memories.counts(), of_state, strict=True)
        return [stored + more for stored, more in pairs]

    def _own_examples(self) -> Batch | None:
        """The examples in the strategy's own state, stacked over replicates."""
        if not self.defines("own_examples"):
            return None
        own: Batch | None = vmap(self.strategy.own_examples)(self.state)
        return own

    def state_bytes(self) -> int:
        """Bytes of the optimiser's and the strategy's state per replicate, without examples."""
        state = self.state
        kept = self.bytes_per_replicate((state.slots, state.extra, self.carried.columns))
        # Examples in the state count as examples, as those of a memory do.
        return kept - self.bytes_per_replicate(self._own_examples())


def _grown(slots: Slots, initial: Slots) -> Slots:
    """Slots of the optimiser for parameters of which some are new, others gone."""

    def fits(slot: str, name: str) -> bool:
        old = slots.get(slot, {})
        return name in old and old[name].shape == initial[slot][name].shape

    return {
        slot: {
            name: slots[slot][name] if fits(slot, name) else value for name, value in values.items()
        }
        for slot, values in initial.items()
    }


def _stored(columns: Params, slots: Int64[Tensor, " row"], values: Params) -> Params:
    """The columns of a memory after values have been written to their slots.

    Args:
        columns: The columns, slot by slot.
        slots: The slot of each row; one past the last slot discards the row.
        values: A value for each row, by the name of the column.
    """

    def written(column: Tensor, rows: Tensor) -> Tensor:
        # One more slot takes the discarded rows: no branch depends on data.
        padded = torch.cat([column, column[:1]])
        return padded.index_put((slots,), rows.to(column.dtype))[:-1]

    return {
        name: written(column, values[name]) if name in values else column
        for name, column in columns.items()
    }


def _moved(columns: Params, origins: Int64[Tensor, "replicate slot"]) -> Params:
    """The columns of memories whose examples have moved, given the slot that each comes from."""
    replicates = torch.arange(len(origins), device=origins.device)[:, None]
    return {name: column[replicates, origins] for name, column in columns.items()}


def _train_size(stream: Stream) -> int:
    return sum(len(experience.row) for experience in stream.experiences)
