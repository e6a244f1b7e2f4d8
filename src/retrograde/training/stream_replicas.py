"""The backend of pure strategies: one step for all replicates at once, which may be compiled."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import grad_and_value, vmap
from torch.utils import _pytree as pytree

from retrograde.interface.batch import Batch
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.net import Net
from retrograde.interface.state import State
from retrograde.interface.strategy import (
    PretrainingEpisode,
    StepData,
    Strategy,
    TaskEnd,
    share_weight,
)
from retrograde.networks.checks import untracked
from retrograde.networks.head import headless
from retrograde.optim import OPTIMIZERS, Params
from retrograde.randomness import keys
from retrograde.streams.memory import ExemplarMemory, MemoryState
from retrograde.streams.rows import Rows
from retrograde.streams.schedule import (
    all_rows,
    memory_rows,
    stack_replicates,
    test_chunks,
    train_rows,
)
from retrograde.streams.stream import Stream
from retrograde.training import boundary
from retrograde.training.backend import TaskCost
from retrograde.training.clocks import Clocks
from retrograde.training.columns import Columns
from retrograde.training.compiled_step import (
    Compile,
    compile_or_reason,
    compile_step,
    signature,
    unaliased,
)
from retrograde.training.evaluation import Predictions, compare
from retrograde.training.replicas import counted, finite, replicated, spread

_Step = Callable[..., tuple[State, Params]]

_AXES = (0, 0, 0, 0, None)
"""Axes of `vmap` over state, buffers, rows, a replicate's tensors, and the rows of a dataset.

All replicates share the last one.
"""


class StreamReplicas:
    """Replicates of one cell that learn their streams side by side.

    Their states are stacked, and hooks of the strategy run under `vmap`. All replicates take as
    many steps as the longest one; the others end tasks in steps of padding, which change nothing.
    """

    backend = "pure"

    def __init__(
        self,
        benchmark: Benchmark,
        strategy: Strategy,
        streams: list[Stream],
        seeds: list[int],
        device: torch.device,
    ) -> None:
        self.benchmark = benchmark
        self.strategy = strategy
        self.streams = streams
        self.seeds = seeds
        self.device = device
        self.schedule = strategy.schedule()
        self.memory = strategy.memory()
        tasks = len(streams[0].tasks)
        self.batch, _ = self.schedule.pace(benchmark, tasks)
        dataset = streams[0].data
        self.shape = dataset.shape
        self.scale = dataset.scale
        self.train_x = self._dataset_rows(dataset.x_train)
        self.test_x = self._dataset_rows(dataset.x_test)
        # Tensors that differ between replicates, other than state.
        self.per_replicate = self._own_tensors()
        self._build_net()
        self.held: list[MemoryState | None] = [None for _ in seeds]
        if self.memory:
            self.held = [self.memory.empty() for _ in seeds]
        self.ragged = self._ragged()
        self.test_rows = test_chunks(streams)
        self._graph: _Step | None = None
        self.tally: dict[str, int] = {}
        # Incoming examples of each replicate so far.
        self.incoming = np.zeros(len(seeds), np.int64)

    def _dataset_rows(self, x: np.ndarray) -> Tensor:
        """All examples as rows of stored values, with a black pixel at the end."""
        flat = x.reshape(len(x), -1)
        padded = np.pad(flat, ((0, 0), (0, 1)))
        return torch.from_numpy(padded).to(self.device)

    def _own_tensors(self) -> Params:
        arrays = {"units": [stream.units for stream in self.streams]}
        pixels = [stream.pixels for stream in self.streams if stream.pixels is not None]
        if pixels:
            arrays["pixels"] = pixels
        tensors = {
            name: torch.from_numpy(np.stack(of_replicates)).to(self.device)
            for name, of_replicates in arrays.items()
        }
        # This is the key of `init`; every later hook gets another one.
        (key,) = self._keys("init", 0, 1)
        return tensors | key

    def _keys(
        self,
        axis: str,
        number: int,
        count: int,
    ) -> list[Params]:
        """Random keys of the replicates, each as an entry of `per_replicate`.

        Args:
            axis: The axis of randomness.
            number: The place along the axis, such as the number of a task.
            count: Number of keys per replicate. A longer request starts with the same keys.
        """
        by_seed = [keys(seed, axis, number, count) for seed in self.seeds]
        drawn = np.stack(by_seed, axis=1)
        on_device = torch.from_numpy(drawn).to(self.device)
        return [{"key": key} for key in on_device]

    def _build_net(self) -> None:
        outputs = self.streams[0].units.shape[1]
        some = self.train_x[spread(len(self.train_x))]
        first_task = torch.zeros(len(some), dtype=torch.long)
        probe = self._images(some, None, first_task).cpu()
        model = self.benchmark.model
        replicas = replicated(
            model,
            probe,
            outputs,
            self.seeds,
            self.device,
            rows_apart=True,
        )
        self.buffers = replicas.buffers
        self.refresh = replicas.refresh
        # Steps use batch statistics; running statistics are refreshed in a pass of their own.
        module = untracked(replicas.module)
        self.net = Net(
            module,
            OPTIMIZERS[self.benchmark.optimizer](),
            body=headless(module),
            shape=self.shape,
            outputs=outputs,
            tasks=len(self.streams[0].tasks),
        )
        self.eval_net = self.net.in_eval_mode()
        # Running statistics follow on a net of the module as it was built.
        self.following = self.net, replace(self.net, module=replicas.module)
        initial = vmap(self._initial)(replicas.params, self.buffers, self.per_replicate)
        self.state = unaliased(initial)
        self.initial = self.state, self.buffers

    def _initial(
        self,
        params: Params,
        buffers: Params,
        own: Params,
    ) -> State:
        net = self._net(self.net, buffers, own)
        extra = self.strategy.init(net, params)
        boundary.check_own(self.strategy, "init", extra)
        return State(params, self.net.optimizer.init(params), extra)

    def _net(
        self,
        net: Net,
        buffers: Params,
        own: Params,
    ) -> Net:
        """The net of one replicate, for one call of a hook."""
        units = own["units"] if self.benchmark.scenario == "task" else None
        return replace(
            net,
            buffers=buffers,
            units=units,
            key=own["key"],
            axes=set(),
        )

    def _images(
        self,
        x: Tensor,
        pixels: Tensor | None,
        task: Tensor,
    ) -> Float[Tensor, "row *shape"]:
        """Images from rows of stored values; `pixels` selects the values of each task."""
        # Only `pixels` refers to the black pixel at the end.
        flat = x[:, :-1] if pixels is None else x.gather(1, pixels[task])
        return (flat * self.scale).reshape(-1, *self.shape)

    def _batch(
        self,
        columns: Columns,
        own: Params,
        dataset_rows: Tensor,
    ) -> Batch:
        """The examples of some rows."""
        images = self._images(dataset_rows[columns.row], own.get("pixels"), columns.task)
        return Batch(images, columns.y, columns.task, columns.weight.float())

    def _ragged(self) -> bool:
        """True if replicates may differ in their number of steps, so that some are padded."""
        # Memories of different seeds may hold different numbers of examples.
        if "memory" in self.schedule.examples:
            return len(self.seeds) > 1
        sizes = set()
        for stream in self.streams:
            sizes.add(tuple(len(task.train.row) for task in stream.tasks))
        return len(sizes) > 1

    def _one_step(
        self,
        state: State,
        buffers: Params,
        rows: Tensor,
        own: Params,
        dataset_rows: Tensor,
    ) -> tuple[State, Params]:
        net, data = self._given(buffers, rows, own, dataset_rows)
        after = self.strategy.step(net, state, data)
        return self._settled(state, after, buffers, data, own)

    def _given(
        self,
        buffers: Params,
        rows: Tensor,
        own: Params,
        dataset_rows: Tensor,
    ) -> tuple[Net, StepData]:
        """The net of one replicate, and the incoming and replayed examples of one step."""
        columns = Columns.of(rows)
        combined = self._batch(columns, own, dataset_rows)
        incoming = combined.at(slice(self.batch))
        replayed = combined.at(slice(self.batch, None))
        incoming_weight = incoming.weight.new_ones(())
        replay_weight = incoming_weight
        share = None
        if self.benchmark.weighting == "tasks":
            incoming_weight = 1 / (1 + incoming.task.max())
            replay_weight = 1 - incoming_weight
            share = incoming_weight
            weight = share_weight(incoming.weight, replayed.weight, share)
            combined = combined._replace(weight=weight)
        data = StepData(
            incoming,
            replayed,
            combined,
            columns.slot[: self.batch],
            columns.slot[self.batch :],
            incoming_weight,
            replay_weight,
            share,
        )
        return self._net(self.net, buffers, own), data

    def _settled(
        self,
        state: State,
        after: State,
        buffers: Params,
        data: StepData,
        own: Params,
    ) -> tuple[State, Params]:
        """The state and the buffers after a step; unchanged if all of its rows are padding."""
        refreshed = self._followed(state, buffers, data, own) if self.refresh else buffers
        if not self.ragged:
            return after, refreshed
        # Under `vmap` a step cannot be left out for some replicates, so it is undone.
        real = data.incoming.weight.sum() > 0
        kept: tuple[State, Params] = pytree.tree_map(
            lambda now, before: torch.where(real, now, before), (after, refreshed), (state, buffers)
        )
        return kept

    def _followed(
        self,
        state: State,
        buffers: Params,
        data: StepData,
        own: Params,
    ) -> Params:
        """The buffers after a pass over the examples of a step; the pass is not counted."""
        # The strategy sees the net of its steps; the other one keeps running statistics.
        plain, tracking = (self._net(net, buffers, own) for net in self.following)
        batch = self.strategy.trained_on(plain, state, data)
        return tracking.refreshed_buffers(state.params, batch.x)

    def step_all(
        self,
        state: State,
        buffers: Params,
        rows: Tensor,
        own: Params,
        dataset_rows: Tensor,
    ) -> tuple[State, Params]:
        """One step of all replicates, as a pure function.

        Args:
            state: The state of each replicate.
            buffers: The buffers of each replicate's model.
            rows: The rows of the step for each replicate, as `Columns` takes them apart.
            own: The other tensors that differ between replicates.
            dataset_rows: All training examples.

        Returns:
            The state and the buffers after the step.
        """
        step = vmap(self._one_step, in_dims=_AXES)
        after = step(state, buffers, rows, own, dataset_rows)
        # A compiled step takes its inputs with contiguous strides alone.
        whole: tuple[State, Params] = pytree.tree_map(torch.Tensor.contiguous, after)
        return whole

    def _tried_step(
        self,
        state: State,
        buffers: Params,
        rows: Tensor,
        own: Params,
        dataset_rows: Tensor,
    ) -> tuple[tuple[State, Params], dict[str, Tensor]]:
        """Take one step, check its result, and mark the inputs that it changed in place."""
        net, data = self._given(buffers, rows, own, dataset_rows)
        given = {"state": state, "data": data, "net.buffers": buffers}
        before = boundary.copied(given)
        after = self.strategy.step(net, state, data)
        boundary.check_state(self.strategy, "step", after, state)
        marks = boundary.changed(given, before)
        if self.refresh:
            plain = self._net(self.following[0], buffers, own)
            batch = self.strategy.trained_on(plain, state, data)
            boundary.check_batch(self.strategy, "trained_on", batch, self.shape)
        return self._settled(state, after, buffers, data, own), marks

    def try_step(self, rows: Tensor) -> None:
        """Take one step without keeping it.

        Raises:
            UserError: If the step gives no state of the same form, or changes its inputs.
        """
        inputs = (self.state, self.buffers, rows, self.per_replicate, self.train_x)
        _, marks = vmap(self._tried_step, in_dims=_AXES)(*inputs)
        boundary.check_unchanged(self.strategy, "step", marks)

    def try_prediction(self) -> None:
        """Predict a few test examples.

        Raises:
            UserError: If scores have another shape, or predicting changes the state.
        """
        rows = torch.from_numpy(self.test_rows[0].array).to(self.device)
        given = {"state": self.state, "net.buffers": self.buffers}
        before = boundary.copied(given)
        some = spread(rows.shape[1]).to(self.device)
        self.scores(rows[:, some])
        marks = boundary.changed(given, before)
        boundary.check_unchanged(self.strategy, "predict", marks)

    def pretrain_all(
        self,
        state: State,
        buffers: Params,
        rows: tuple[Tensor, ...],
        dataset_rows: Tensor,
    ) -> State:
        """One pretraining step of all replicates, as a pure function.

        Args:
            state: The state of each replicate.
            buffers: The buffers of each replicate's model.
            rows: The rows of each part of a pretraining episode, for each replicate.
            dataset_rows: All training examples.
        """

        def pretrain_step(
            state: State,
            buffers: Params,
            rows: tuple[Tensor, ...],
            dataset_rows: Tensor,
        ) -> State:
            net = replace(self.net, buffers=buffers)
            return self.strategy.pretrain_step(
                net, state, self._pretraining_episode(rows, dataset_rows)
            )

        return vmap(pretrain_step, in_dims=(0, 0, 0, None))(
            state,
            buffers,
            rows,
            dataset_rows,
        )

    def _pretraining_episode(
        self,
        rows: tuple[Tensor, ...],
        dataset_rows: Tensor,
    ) -> PretrainingEpisode:
        # Without tensors of the replicate, since pretraining examples are those of no task.
        parts = (self._batch(Columns.of(part), {}, dataset_rows) for part in rows)
        return PretrainingEpisode(*parts)

    def try_pretraining(self, rows: tuple[Tensor, ...]) -> None:
        """Take one pretraining step without keeping it; raises `UserError` as `try_step` does."""
        inputs = (self.state, self.buffers, rows, self.train_x)
        marks = vmap(self._tried_pretraining, in_dims=(0, 0, 0, None))(*inputs)
        boundary.check_unchanged(self.strategy, "pretrain_step", marks)

    def _tried_pretraining(
        self,
        state: State,
        buffers: Params,
        rows: tuple[Tensor, ...],
        dataset_rows: Tensor,
    ) -> dict[str, Tensor]:
        """Take one pretraining step, check its result, and mark the inputs that it changed."""
        episode = self._pretraining_episode(rows, dataset_rows)
        given = {"state": state, "episode": episode, "net.buffers": buffers}
        before = boundary.copied(given)
        net = replace(self.net, buffers=buffers)
        after = self.strategy.pretrain_step(net, state, episode)
        boundary.check_state(self.strategy, "pretrain_step", after, state)
        return boundary.changed(given, before)

    def end_pretraining(self) -> None:
        """End the pretraining of all replicates."""

        def end(
            state: State,
            buffers: Params,
            own: Params,
        ) -> State:
            net = self._net(self.net, buffers, own)
            after = self.strategy.after_pretraining(net, state)
            boundary.check_kind(self.strategy, "after_pretraining", after, State)
            return after

        (key,) = self._keys("begin", 0, 1)
        after = vmap(end)(self.state, self.buffers, self.per_replicate | key)
        self.state = unaliased(after)
        self.initial = self.state, self.buffers

    def rows(self, number: int) -> Int64[Rows, "step replicate row"]:
        """The rows of a task for all replicates.

        The memories are updated to their contents at the end of the task.
        """
        rows = []
        for i, stream in enumerate(self.streams):
            of_replicate, self.held[i] = train_rows(
                stream,
                number,
                self.benchmark,
                self.schedule,
                self.memory,
                self.held[i],
                self.seeds[i],
            )
            rows.append(of_replicate)
        return stack_replicates(rows)

    def warm_up(self, mode: Compile) -> str | None:
        """Take one step without keeping it, count its passes, and compile unless that is off.

        Returns:
            Why compiling failed; None if it did not.
        """
        width = self.batch + (self.memory.replayed if self.memory else 0)
        shape = (len(self.seeds), width)
        zeros = torch.zeros(shape, dtype=torch.long, device=self.device)
        # Real examples of the first task, with one of its classes as label.
        first_units = self.per_replicate["units"][:, 0]
        y = first_units.long().argmax(-1, keepdim=True).expand(shape)
        rows = Columns(zeros, zeros, y, torch.ones_like(zeros), zeros).stacked()
        self._count(rows)
        return compile_or_reason(mode, lambda: self._compile(rows))

    def _count(self, rows: Tensor) -> None:
        # The counts are those of one replicate, since `vmap` calls a step once.
        plain = self.net
        counting = counted(plain)
        self.net = counting
        try:
            self.try_step(rows)
        finally:
            self.net = plain
        self.tally = dict(counting.tally)

    def _compile(self, rows: Tensor) -> None:
        inputs = (rows, self.per_replicate, self.train_x)

        def twice(step: _Step) -> tuple[State, Params]:
            state, buffers = step(self.state, self.buffers, *inputs)
            return step(state, buffers, *inputs)

        self._graph = compile_step(self, StreamReplicas.step_all, twice)

    @property
    def keeps_statistics(self) -> bool:
        """See `Backend.keeps_statistics`."""
        return self.refresh

    @property
    def compiled(self) -> bool:
        """True if the step is compiled."""
        return self._graph is not None

    @property
    def _step(self) -> _Step:
        return self._graph or self.step_all

    def constants(self) -> tuple[object, ...]:
        """Constants of a compiled step other than settings and the form of the state."""
        return (
            self.ragged,
            self.refresh,
            self.scale,
            self.memory,
            self.schedule,
            self.shape,
            self.batch,
            signature((self.per_replicate, self.train_x)),
        )

    def learn(
        self,
        number: int,
        progress: Callable[[int], None],
    ) -> TaskCost:
        """Learn one task.

        Args:
            number: The number of the task, from 0.
            progress: Called with 1 after each step.
        """
        rows = self.rows(number)
        # A fresh schedule starts every task from the initial state.
        if self.schedule.reinitialise:
            self.state, self.buffers = self.initial
        for step in self._steps(rows, number):
            self.state, self.buffers = step(self.state, self.buffers)
            progress(1)
        self._end_task(number)
        return self._used(rows)

    def _used(self, rows: Int64[Rows, "step replicate row"]) -> TaskCost:
        """Steps and examples of a task, with those that the strategy replays from its own state."""
        weight, replay_weight = np.split(rows.weight, [self.batch], axis=2)
        incoming = weight.sum(2)
        real = weight.any(2)
        own_replay = []
        for start, sizes in zip(self.incoming, incoming.T, strict=True):
            before = start + sizes.cumsum() - sizes
            own_replay.append(self._own_replay(before))
        # Steps of padding replay nothing.
        own = np.stack(own_replay) * real.T
        in_task = incoming.sum(0)
        self.incoming = self.incoming + in_task
        from_memory = replay_weight.sum((0, 2))
        return TaskCost(real.sum(0), in_task, from_memory + own.sum(1))

    def _own_replay(self, before: Int64[np.ndarray, " step"]) -> Int64[np.ndarray, " step"]:
        own = self.strategy.own_replay(before)
        boundary.check_counts(self.strategy, "own_replay", own, before)
        return own

    def _steps(
        self,
        rows: Int64[Rows, "step replicate row"],
        number: int,
    ) -> Iterator[Callable[[State, Params], tuple[State, Params]]]:
        """The steps of a task, each a function of state and buffers."""
        # One transfer for all steps of the task.
        on_device = torch.from_numpy(rows.array).to(self.device)
        step_keys = self._keys("chance", number, len(rows))
        for step, key in zip(on_device, step_keys, strict=True):
            yield partial(self._advance, step, key)

    def _advance(
        self,
        rows: Tensor,
        key: Params,
        state: State,
        buffers: Params,
    ) -> tuple[State, Params]:
        return self._step(state, buffers, rows, self.per_replicate | key, self.train_x)

    def seconds_a_step(self, clocks: Clocks) -> float:
        """Median seconds of a step of the first task; the timed steps change no state."""
        # The rows move the memories on: a backend that is timed is not trained.
        steps = self._steps(self.rows(0), 0)
        return clocks.each(partial(step, self.state, self.buffers) for step in steps)

    def _end_task(self, number: int) -> None:
        if isinstance(self.memory, ExemplarMemory):
            self._choose(self.memory, number)
        # Without a hook its inputs, all examples of the task, need not be gathered.
        if type(self.strategy).end_task is Strategy.end_task:
            return
        rows = [self._on_device(self._finished(number))]
        memories = [memory_rows(state) for state in self.held if state]
        if memories:
            rows.append(self._on_device(_by_replicate(memories)))
        (key,) = self._keys("end", number, 1)
        inputs = (self.state, self.buffers, rows, self.per_replicate | key, self.train_x)
        # Verifying takes a copy of all inputs, and one task is enough to find a mistake.
        end = partial(self._ended, number == 0)
        after, marks = vmap(end, in_dims=_AXES)(*inputs)
        boundary.check_unchanged(self.strategy, "end_task", marks)
        self.state = unaliased(after)

    def _ended(
        self,
        verify: bool,
        state: State,
        buffers: Params,
        rows: list[Tensor],
        own: Params,
        dataset_rows: Tensor,
    ) -> tuple[State, dict[str, Tensor]]:
        """End a task for one replicate.

        Args:
            verify: True to mark the inputs that the hook changes in place.
            state: The state after the last step of the task.
            buffers: The buffers of the model.
            rows: The rows of the task, and those of the memory if there is one.
            own: The other tensors of the replicate.
            dataset_rows: All training examples.
        """
        columns = [Columns.of(part) for part in rows]
        examples, *memory = (self._batch(part, own, dataset_rows) for part in columns)
        finished = TaskEnd(examples, columns[0].slot, memory[0] if memory else None)
        given = {"state": state, "net.buffers": buffers}
        before = boundary.copied(given) if verify else {}
        net = self._net(self.net, buffers, own)
        after = self.strategy.end_task(net, state, finished)
        # A compiled step would misread a state of another form, so every task is checked for that.
        boundary.check_state(self.strategy, "end_task", after, state)
        return after, boundary.changed(given, before) if before else {}

    def _choose(self, memory: ExemplarMemory, number: int) -> None:
        """Fill a memory of exemplars with the examples of a task that the strategy ranks first."""
        rows = self._finished(number)
        before = [state for state in self.held if state]
        offered = [of_replicate[of_replicate.real].examples for of_replicate in rows]
        # Under `vmap` all replicates rank as many exemplars as the one that keeps the most.
        share = max(memory.share(*pair) for pair in zip(before, offered, strict=True))
        ranks = self._ranks(self._on_device(rows), number, share)
        self.held = [
            memory.store_ranked(state, examples, rank[of_replicate.real])
            for state, examples, rank, of_replicate in zip(
                before, offered, ranks, rows, strict=True
            )
        ]

    def _ranks(
        self,
        rows: Int64[Tensor, "replicate row _"],
        number: int,
        share: int,
    ) -> np.ndarray:
        """The strategy's ranks of the examples of a task; those of padding mean nothing."""

        def rank(
            state: State,
            buffers: Params,
            rows: Tensor,
            own: Params,
            dataset_rows: Tensor,
        ) -> Tensor:
            net = self._net(self.net, buffers, own)
            examples = self._batch(Columns.of(rows), own, dataset_rows)
            ranks = self.strategy.rank_exemplars(net, state, examples, share)
            boundary.check_ranks(self.strategy, "rank_exemplars", ranks, len(rows))
            return ranks

        (key,) = self._keys("choose", number, 1)
        inputs = (self.state, self.buffers, rows, self.per_replicate | key, self.train_x)
        ranks: Tensor = vmap(rank, in_dims=_AXES)(*inputs)
        return np.asarray(ranks.cpu().numpy())

    def _finished(self, number: int) -> Int64[Rows, "replicate row"]:
        """All examples of a task, with the slots of the memory in which they are stored."""
        pairs = zip(self.streams, self.held, strict=True)
        return _by_replicate([all_rows(stream, number, state) for stream, state in pairs])

    def _on_device(self, rows: Int64[Rows, "replicate row"]) -> Int64[Tensor, "replicate row _"]:
        return torch.from_numpy(rows.array).to(self.device)

    def evaluate(self, chunks: Int64[Rows, "chunk replicate row"]) -> Predictions:
        """See `Backend.evaluate`; predicting is pure."""
        shape = chunks.shape
        correct = torch.empty(shape, dtype=torch.bool, device=self.device)
        given_task = torch.empty(shape, dtype=torch.bool, device=self.device)
        all_finite = finite(self.state.params)
        # Results go into place: small ones kept apart would fragment the heap.
        for chunk, rows in enumerate(chunks):
            correct[chunk], given_task[chunk], no_nan = self._predict(self._on_device(rows))
            all_finite &= no_nan
        correct = correct.transpose(0, 1).flatten(1)
        given_task = given_task.transpose(0, 1).flatten(1)
        return Predictions(*(value.cpu().numpy() for value in (correct, given_task, all_finite)))

    def _predict(self, rows: Int64[Tensor, "replicate row _"]) -> tuple[Tensor, Tensor, Tensor]:
        """The fields of `Predictions` for one chunk."""
        columns = Columns.of(rows)
        pairs = zip(self.per_replicate["units"], columns.task, strict=True)
        units = torch.stack([units_by_task[task] for units_by_task, task in pairs])
        task_is_given = self.benchmark.scenario == "task"
        found = compare(self.scores(rows), columns.y, units, task_is_given)
        return found.correct, found.correct_given_task, found.finite.all(1)

    def scores(self, rows: Int64[Tensor, "replicate row _"]) -> Float[Tensor, "replicate row unit"]:
        """The strategy's scores of test examples; the highest is its answer."""
        task_is_given = self.benchmark.scenario == "task"
        outputs = self.net.outputs

        def predict(
            state: State,
            buffers: Params,
            rows: Tensor,
            own: Params,
            dataset_rows: Tensor,
        ) -> Tensor:
            batch = self._batch(Columns.of(rows), own, dataset_rows)
            # Without a key, since predictions are not random.
            net = replace(self._net(self.eval_net, buffers, own), key=None)
            scores = self.strategy.predict(
                net,
                state,
                batch.x,
                batch.task if task_is_given else None,
            )
            boundary.check_scores(self.strategy, "predict", scores, len(rows), outputs)
            return scores

        inputs = (self.state, self.buffers, rows, self.per_replicate, self.test_x)
        with torch.no_grad():
            scores: Tensor = vmap(predict, in_dims=_AXES)(*inputs)
        return scores

    def parameters(self) -> Params:
        """See `Backend.parameters`."""
        params: Params = self.state.params
        return params

    def examples(self, rows: Int64[Rows, "replicate part row"]) -> Batch:
        """See `Backend.examples`."""

        def of_replicate(rows: Tensor, own: Params, dataset_rows: Tensor) -> Batch:
            return self._batch(Columns.of(rows), own, dataset_rows)

        flat = self._on_device(rows.reshape(len(rows), -1))
        batch = vmap(of_replicate, in_dims=(0, 0, None))(flat, self.per_replicate, self.test_x)
        return Batch(*(value.reshape(*rows.shape, *value.shape[2:]) for value in batch))

    def gradients(
        self,
        params: Params,
        parts: Batch,
    ) -> tuple[Float[Tensor, "replicate part"], Params]:
        """See `Backend.gradients`."""

        def of_replicate(
            params: Params,
            buffers: Params,
            own: Params,
            parts: Batch,
        ) -> tuple[Params, Tensor]:
            net = self._net(self.eval_net, buffers, own)
            of_part = partial(grad_and_value(net.loss), params)
            over_parts: tuple[Params, Tensor] = vmap(of_part)(parts)
            return over_parts

        gradients, losses = vmap(of_replicate)(params, self.buffers, self.per_replicate, parts)
        return losses, gradients

    def held_examples(self) -> list[int]:
        """Number of past examples of each replicate, in its memory and in the strategy's state."""
        # A strategy that trains on all examples so far needs to keep all of them.
        if self.schedule.examples == "all so far":
            return [_train_size(stream) for stream in self.streams]
        of_state = [0] * len(self.seeds)
        own = self._own_examples()
        if own:
            of_state = (own.weight > 0).sum(1).tolist()
        of_memory = [len(state.filled) if state else 0 for state in self.held]
        return [stored + more for stored, more in zip(of_memory, of_state, strict=True)]

    def _own_examples(self) -> Batch | None:
        """The examples in the strategy's own state, stacked over replicates."""
        if type(self.strategy).own_examples is Strategy.own_examples:
            return None
        own: Batch | None = vmap(self.strategy.own_examples)(self.state)
        return own

    def state_bytes(self) -> int:
        """Bytes of the optimiser's and the strategy's state per replicate, without examples."""
        kept = _bytes((self.state.slots, self.state.extra))
        # Examples in the state count as examples, as those of a memory do.
        examples = _bytes(self._own_examples())
        return (kept - examples) // len(self.seeds)


def _by_replicate(rows: list[Rows]) -> Int64[Rows, "replicate row"]:
    """The rows of replicates, padded to one number."""
    by_row = stack_replicates(rows)
    return by_row.transposed()


def _train_size(stream: Stream) -> int:
    return sum(len(task.train.row) for task in stream.tasks)


def _bytes(tree: Any) -> int:
    """Bytes of all tensors in a structure; 0 for None."""
    tensors = [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
