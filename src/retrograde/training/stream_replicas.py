"""Pure strategies at work: one step for all replicates at once, compiled where that pays."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import grad_and_value, stack_module_state, vmap
from torch.utils import _pytree as pytree

from retrograde.interface.batch import Batch
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.net import Net
from retrograde.interface.state import State
from retrograde.interface.strategy import Arrival, Finished, Lesson, Strategy, shared
from retrograde.models.build import build
from retrograde.models.checks import check_module, check_rows_apart, untracked
from retrograde.models.head import headless
from retrograde.optim import OPTIMIZERS, Params
from retrograde.randomness import keys, torch_seed
from retrograde.streams.memory import Exemplars, Held
from retrograde.streams.schedule import Rows, all_rows, held_rows, test_chunks, together, train_rows
from retrograde.streams.stream import Stream
from retrograde.training import boundary
from retrograde.training.backend import Hits, Used
from retrograde.training.clocks import Clocks
from retrograde.training.compiling import Compile, compile_step, form, separate, tried

TRIED = 8
"""Examples on which a model is tried before anything trains."""


@dataclass(frozen=True)
class CountedNet(Net):
    """A net that counts the examples that pass forward, and backward where `grad` is asked for; not an outer backward pass."""

    tally: Counter[str] = field(default_factory=Counter)

    def logits(self, params: Params, x: Tensor, task: Tensor | None = None) -> Tensor:
        self.tally["forward"] += len(x)
        return super().logits(params, x, task)

    def grad(self, params: Params, batch: Batch, constant: bool = False) -> Params:
        self.tally["backward"] += len(batch.x)
        return super().grad(params, batch, constant)

    def grad_with(
        self, loss: Callable[[Params], tuple[Tensor, Any]], params: Params
    ) -> tuple[Params, Any]:
        before = self.tally["forward"]
        found = super().grad_with(loss, params)
        self.tally["backward"] += self.tally["forward"] - before
        return found

    def grad_of(
        self, params: Params, batch: Batch, moving: Callable[[str], bool], constant: bool = False
    ) -> Params:
        self.tally["backward"] += len(batch.x)
        return super().grad_of(params, batch, moving, constant)

    def grads(self, params: Params, batches: Batch) -> Params:
        one = replace(self, tally=Counter())
        found = super(CountedNet, one).grads(params, batches)
        self.tally.update({name: rows * len(batches.x) for name, rows in one.tally.items()})
        return found


def counted(net: Net) -> CountedNet:
    """The same net, counting."""
    return CountedNet(**{each.name: getattr(net, each.name) for each in fields(net)})


class Replicas(NamedTuple):
    """One model for each seed: what they share, and what each has of its own, stacked."""

    module: nn.Module  # in training mode, as it was built
    params: Params
    buffers: Params  # with the parameters that are frozen
    refresh: bool  # whether training changes the buffers


def replicated(
    model: str,
    probe: Float[Tensor, "row *shape"],
    outputs: int,
    seeds: list[int],
    device: torch.device,
    rows_apart: bool = False,
) -> Replicas:
    """Build a model for each seed; raises `UserError` where it cannot take examples such as `probe`.

    With `rows_apart`, batch normalisation keeps running statistics, and a model is refused that at test predicts an example by
    the others of its batch.
    """
    shape = tuple(probe.shape[1:])
    modules = [
        build(model, shape, outputs, torch_seed(seed, "weights"), running=rows_apart)
        for seed in seeds
    ]
    refresh = check_module(modules[0], probe, outputs)
    if rows_apart:
        check_rows_apart(modules[0], probe, model)
    modules = [module.train().to(device) for module in modules]
    params, buffers = stack_module_state(modules)
    frozen = {name for name, value in modules[0].named_parameters() if not value.requires_grad}
    buffers |= {name: params.pop(name).detach() for name in frozen}
    return Replicas(
        modules[0], {name: value.detach() for name, value in params.items()}, buffers, refresh
    )


class Vectorised:
    """Replicates of one cell that learn side by side."""

    backend = "pure"

    def __init__(
        self,
        benchmark: Benchmark,
        strategy: Strategy,
        streams: list[Stream],
        seeds: list[int],
        device: torch.device,
    ) -> None:
        self.benchmark, self.strategy, self.streams, self.seeds, self.device = (
            benchmark,
            strategy,
            streams,
            seeds,
            device,
        )
        self.schedule, self.memory = strategy.schedule(), strategy.remember()
        self.batch, _ = self.schedule.pace(benchmark, len(streams[0].tasks))
        data = streams[0].data
        self.shape, self.scale = data.shape, data.scale
        self.train_x, self.test_x = self._pool(data.x_train), self._pool(data.x_test)
        self.tables = self._tables()  # what differs between replicates beside their state
        self._build_net()
        self.held: list[Held | None] = [self.memory.empty() if self.memory else None for _ in seeds]
        self.ragged = self._ragged()
        self.test_rows = test_chunks(streams)
        self._graph: Callable[..., tuple[State, Params]] | None = None
        self.tally: dict[str, int] = {}
        self.arrived = np.zeros(
            len(seeds), np.int64
        )  # new examples that each replicate was given so far

    def _pool(self, x: np.ndarray) -> Tensor:
        """All examples as rows of stored values, one black pixel at the end."""
        return torch.from_numpy(np.pad(x.reshape(len(x), -1), ((0, 0), (0, 1)))).to(self.device)

    def _tables(self) -> Params:
        pixels = [stream.pixels for stream in self.streams if stream.pixels is not None]
        arrays = {"units": [stream.units for stream in self.streams]} | (
            {"pixels": pixels} if pixels else {}
        )
        own = {
            name: torch.from_numpy(np.stack(each)).to(self.device) for name, each in arrays.items()
        }
        return own | self._keys("init", 0, 1)[0]

    def _keys(self, axis: str, number: int, count: int) -> list[Params]:
        """What replicates draw by, so many times, in the table of what differs between them; more of them begin alike."""
        drawn = np.stack([keys(seed, axis, number, count) for seed in self.seeds], axis=1)
        return [{"key": key} for key in torch.from_numpy(drawn).to(self.device)]

    def _build_net(self) -> None:
        outputs = self.streams[0].units.shape[1]
        some = self.train_x[spread(len(self.train_x))]
        probe = self._images(some, None, torch.zeros(len(some), dtype=torch.long)).cpu()
        replicas = replicated(
            self.benchmark.model, probe, outputs, self.seeds, self.device, rows_apart=True
        )
        self.buffers, self.refresh = replicas.buffers, replicas.refresh
        module = untracked(replicas.module)
        self.net = Net(
            module, OPTIMIZERS[self.benchmark.optimizer](), body=headless(module),
            shape=self.shape, outputs=outputs, tasks=len(self.streams[0].tasks),
        )  # fmt: skip
        self.eval_net = self.net.evaluating()
        self.following = self.net, replace(self.net, module=replicas.module)
        self.state = separate(vmap(self._initial)(replicas.params, self.buffers, self.tables))
        self.initial = self.state, self.buffers

    def _initial(self, params: Params, buffers: Params, tables: Params) -> State:
        extra = self.strategy.init(self._net(self.net, buffers, tables), params)
        boundary.check_own(self.strategy, "init", extra)
        return State(params, self.net.optimizer.init(params), extra)

    def _net(self, net: Net, buffers: Params, tables: Params) -> Net:
        units = tables["units"] if self.benchmark.scenario == "task" else None
        return replace(net, buffers=buffers, units=units, key=tables["key"], drawn=set())

    def _images(
        self, x: Tensor, pixels: Tensor | None, task: Tensor
    ) -> Float[Tensor, "row *shape"]:
        flat = x[:, :-1] if pixels is None else x.gather(1, pixels[task])
        return (flat * self.scale).reshape(-1, *self.shape)

    def _batch(self, rows: Int64[Tensor, "row _"], tables: Params, pool: Tensor) -> Batch:
        row, task, y, weight = rows[:, :4].unbind(-1)
        return Batch(self._images(pool[row], tables.get("pixels"), task), y, task, weight.float())

    def _ragged(self) -> bool:
        """Whether replicates may differ in their number of steps, so that some end tasks in steps of padding."""
        if "memory" in self.schedule.examples:
            return len(self.seeds) > 1
        sizes = {tuple(len(task.train.row) for task in stream.tasks) for stream in self.streams}
        return len(sizes) > 1

    def _one_step(
        self, state: State, buffers: Params, rows: Tensor, tables: Params, pool: Tensor
    ) -> tuple[State, Params]:
        net, arrival = self._given(buffers, rows, tables, pool)
        after = self.strategy.step(net, state, arrival)
        return self._settled(state, after, buffers, arrival, tables)

    def _given(
        self, buffers: Params, rows: Tensor, tables: Params, pool: Tensor
    ) -> tuple[Net, Arrival]:
        """The net and the arrival of one step."""
        together = self._batch(rows, tables, pool)
        new, old = together.at(slice(self.batch)), together.at(slice(self.batch, None))
        now, past = (new.weight.new_ones(()),) * 2
        share = None
        if self.benchmark.weighting == "tasks":
            now = 1 / (1 + new.task.max())
            past = 1 - now
            share = now
            together = together._replace(weight=shared(new.weight, old.weight, now))
        arrival = Arrival(
            new, old, together, rows[: self.batch, 4], rows[self.batch :, 4], now, past, share
        )
        return self._net(self.net, buffers, tables), arrival

    def _settled(
        self, state: State, after: State, buffers: Params, arrival: Arrival, tables: Params
    ) -> tuple[State, Params]:
        """The state and the buffers after a step, both as they were where all of it is padding."""
        fresh = self._followed(state, buffers, arrival, tables) if self.refresh else buffers
        if self.ragged:
            real = arrival.new.weight.sum() > 0
            after, fresh = pytree.tree_map(
                lambda a, b: torch.where(real, a, b), (after, fresh), (state, buffers)
            )
        return after, fresh

    def _followed(self, state: State, buffers: Params, arrival: Arrival, tables: Params) -> Params:
        """The buffers after a pass over what a step trains on; examples of this pass are not counted."""
        plain, tracking = (self._net(net, buffers, tables) for net in self.following)
        batch = self.strategy.trained_on(plain, state, arrival)
        return tracking.refreshed(state.params, batch.x)

    def step_all(
        self, state: State, buffers: Params, rows: Tensor, tables: Params, pool: Tensor
    ) -> tuple[State, Params]:
        """One step of all replicates; pure."""
        after = vmap(self._one_step, in_dims=(0, 0, 0, 0, None))(state, buffers, rows, tables, pool)
        whole: tuple[State, Params] = pytree.tree_map(
            torch.Tensor.contiguous, after
        )  # as the compiled step takes them in
        return whole

    def _tried_step(
        self, state: State, buffers: Params, rows: Tensor, tables: Params, pool: Tensor
    ) -> tuple[tuple[State, Params], dict[str, Tensor]]:
        """One step whose result is verified, and which of the tensors that the strategy was given it changed in place."""
        net, arrival = self._given(buffers, rows, tables, pool)
        given = {"state": state, "arrival": arrival, "net.buffers": buffers}
        before = boundary.copied(given)
        after = self.strategy.step(net, state, arrival)
        boundary.check_state(self.strategy, "step", after, state)
        marks = boundary.changed(given, before)
        if self.refresh:
            batch = self.strategy.trained_on(
                self._net(self.following[0], buffers, tables), state, arrival
            )
            boundary.check_batch(self.strategy, "trained_on", batch, self.shape)
        return self._settled(state, after, buffers, arrival, tables), marks

    def try_step(self, rows: Tensor) -> None:
        """Take one step and forget it; raises `UserError` where what it gives or changes breaks the rules of a strategy."""
        inputs = self.state, self.buffers, rows, self.tables, self.train_x
        _, marks = vmap(self._tried_step, in_dims=(0, 0, 0, 0, None))(*inputs)
        boundary.check_unchanged(self.strategy, "step", marks)

    def try_prediction(self) -> None:
        """Predict a few test examples; raises `UserError` where scores have another shape, or the state is changed."""
        rows = torch.from_numpy(self.test_rows[0]).to(self.device)
        given = {"state": self.state, "net.buffers": self.buffers}
        before = boundary.copied(given)
        self.scores(rows[:, spread(rows.shape[1]).to(self.device)])
        boundary.check_unchanged(self.strategy, "predict", boundary.changed(given, before))

    def prepare_all(
        self, state: State, buffers: Params, rows: tuple[Tensor, ...], pool: Tensor
    ) -> State:
        """One lesson before the stream, of all replicates; pure."""

        def one(state: State, buffers: Params, rows: tuple[Tensor, ...], pool: Tensor) -> State:
            return self.strategy.prepare(
                replace(self.net, buffers=buffers), state, self._lesson(rows, pool)
            )

        return vmap(one, in_dims=(0, 0, 0, None))(state, buffers, rows, pool)

    def _lesson(self, rows: tuple[Tensor, ...], pool: Tensor) -> Lesson:
        return Lesson(*(self._batch(part, {}, pool) for part in rows))

    def try_lesson(self, rows: tuple[Tensor, ...]) -> None:
        """Give one lesson and forget it; raises `UserError` as `try_step` does."""

        def one(
            state: State, buffers: Params, rows: tuple[Tensor, ...], pool: Tensor
        ) -> dict[str, Tensor]:
            lesson = self._lesson(rows, pool)
            given = {"state": state, "lesson": lesson, "net.buffers": buffers}
            before = boundary.copied(given)
            after = self.strategy.prepare(replace(self.net, buffers=buffers), state, lesson)
            boundary.check_state(self.strategy, "prepare", after, state)
            return boundary.changed(given, before)

        marks = vmap(one, in_dims=(0, 0, 0, None))(self.state, self.buffers, rows, self.train_x)
        boundary.check_unchanged(self.strategy, "prepare", marks)

    def begin_all(self) -> None:
        """End the preparation of all replicates."""

        def one(state: State, buffers: Params, tables: Params) -> State:
            begun = self.strategy.begin(self._net(self.net, buffers, tables), state)
            boundary.check_kind(self.strategy, "begin", begun, State)
            return begun

        tables = self.tables | self._keys("begin", 0, 1)[0]
        self.state = separate(vmap(one)(self.state, self.buffers, tables))
        self.initial = self.state, self.buffers

    def rows(self, number: int) -> Rows:
        """The rows of a task for all replicates; moves the memories on."""
        rows = []
        for i, (stream, seed) in enumerate(zip(self.streams, self.seeds, strict=True)):
            own, self.held[i] = train_rows(
                stream, number, self.benchmark, self.schedule, self.memory, self.held[i], seed
            )
            rows.append(own)
        return together(rows)

    def warm_up(self, mode: Compile) -> str | None:
        """Take one step and forget it, compiled unless that is off; returns why compiling failed, if it did."""
        width = self.batch + (self.memory.replayed if self.memory else 0)
        rows = torch.zeros((len(self.seeds), width, 5), dtype=torch.long, device=self.device)
        rows[..., 2] = self.tables["units"][:, 0].long().argmax(-1, keepdim=True)
        rows[..., 3] = 1
        self._count(rows)
        return tried(mode, lambda: self._compile(rows))

    def _count(self, rows: Tensor) -> None:
        plain = self.net
        self.net = counting = counted(plain)
        try:
            self.try_step(rows)
        finally:
            self.net = plain
        self.tally = dict(counting.tally)

    def _compile(self, rows: Tensor) -> None:
        def twice(step: Callable[..., tuple[State, Params]]) -> tuple[State, Params]:
            once = step(self.state, self.buffers, rows, self.tables, self.train_x)
            return step(*once, rows, self.tables, self.train_x)

        self._graph = compile_step(self, Vectorised.step_all, twice)

    @property
    def keeps_statistics(self) -> bool:
        """See `Backend.keeps_statistics`."""
        return self.refresh

    @property
    def compiled(self) -> bool:
        """Whether the step is compiled."""
        return self._graph is not None

    @property
    def _step(self) -> Callable[..., tuple[State, Params]]:
        return self._graph or self.step_all

    def constants(self) -> tuple[object, ...]:
        """What a compiled step has in it beside settings and the form of the state."""
        shapes = self.shape, self.batch, form((self.tables, self.train_x))
        return self.ragged, self.refresh, self.scale, self.memory, self.schedule, *shapes

    def learn(self, number: int, progress: Callable[[int], None]) -> Used:
        """Learn one task."""
        rows = self.rows(number)
        if self.schedule.fresh:
            self.state, self.buffers = self.initial
        for step in self._steps(rows, number):
            self.state, self.buffers = step(self.state, self.buffers)
            progress(1)
        self._end_task(number)
        return self._used(rows)

    def _used(self, rows: Rows) -> Used:
        """The steps and examples of a task, with those that the strategy replays from its own state."""
        new, old = np.split(rows[..., 3], [self.batch], axis=2)
        arrivals, real = new.sum(2), new.any(2)
        own = np.stack([
            self._own_replay(start + each.cumsum() - each) for start, each in zip(self.arrived, arrivals.T, strict=True)
        ])  # fmt: skip
        self.arrived = self.arrived + arrivals.sum(0)
        return Used(real.sum(0), arrivals.sum(0), old.sum((0, 2)) + (own * real.T).sum(1))

    def _own_replay(self, before: Int64[np.ndarray, " step"]) -> Int64[np.ndarray, " step"]:
        own = self.strategy.own_replay(before)
        boundary.check_counts(self.strategy, "own_replay", own, before)
        return own

    def _steps(
        self, rows: Rows, number: int
    ) -> Iterator[Callable[[State, Params], tuple[State, Params]]]:
        for step, key in zip(
            torch.from_numpy(rows).to(self.device),
            self._keys("chance", number, len(rows)),
            strict=True,
        ):
            yield lambda *now, step=step, key=key: self._step(
                *now, step, self.tables | key, self.train_x
            )

    def seconds_a_step(self, clocks: Clocks) -> float:
        """What a step takes; those of the first task are timed, and forgotten."""
        return clocks.each(
            partial(step, self.state, self.buffers) for step in self._steps(self.rows(0), 0)
        )

    def _end_task(self, number: int) -> None:
        if isinstance(self.memory, Exemplars):
            self._choose(self.memory, number)
        if type(self.strategy).end_task is Strategy.end_task:
            return

        def one(
            state: State, buffers: Params, rows: list[Tensor], tables: Params, pool: Tensor
        ) -> tuple[State, dict[str, Tensor]]:
            examples, *memory = (self._batch(each, tables, pool) for each in rows)
            finished = Finished(examples, rows[0][:, 4], memory[0] if memory else None)
            given = {"state": state, "net.buffers": buffers}
            before = (
                boundary.copied(given) if number == 0 else {}
            )  # a copy of all that there is: once will do
            after = self.strategy.end_task(self._net(self.net, buffers, tables), state, finished)
            boundary.check_state(
                self.strategy, "end_task", after, state
            )  # a compiled step would misread another form
            return after, boundary.changed(given, before) if before else {}

        memories = [held_rows(held) for held in self.held if held]
        rows = [self._finished(number), *([self._stacked(memories)] if memories else [])]
        tables = self.tables | self._keys("end", number, 1)[0]
        after, marks = vmap(one, in_dims=(0, 0, 0, 0, None))(
            self.state, self.buffers, rows, tables, self.train_x
        )
        boundary.check_unchanged(self.strategy, "end_task", marks)
        self.state = separate(after)

    def _choose(self, memory: Exemplars, number: int) -> None:
        """Let the strategy rank the examples of a task, of which a memory of exemplars keeps the first."""
        rows = self._finished(number)
        held = [each for each in self.held if each]
        real = [own[:, 3] > 0 for own in rows.cpu().numpy()]
        offered = [own[counts, :3] for own, counts in zip(rows.cpu().numpy(), real, strict=True)]
        share = max(memory.share(*each) for each in zip(held, offered, strict=True))

        def one(
            state: State, buffers: Params, rows: Tensor, tables: Params, pool: Tensor
        ) -> Tensor:
            net = self._net(self.net, buffers, tables)
            ranks = self.strategy.choose(net, state, self._batch(rows, tables, pool), share)
            boundary.check_ranks(self.strategy, "choose", ranks, len(rows))
            return ranks

        tables = self.tables | self._keys("choose", number, 1)[0]
        ranks = (
            vmap(one, in_dims=(0, 0, 0, 0, None))(
                self.state, self.buffers, rows, tables, self.train_x
            )
            .cpu()
            .numpy()
        )
        own = zip(held, offered, ranks, real, strict=True)
        self.held = [
            memory.choose(before, examples, rank[counts]) for before, examples, rank, counts in own
        ]

    def _finished(self, number: int) -> Int64[Tensor, "replicate row 5"]:
        """All examples of a task, and where they are held."""
        return self._stacked(
            [
                all_rows(stream, number, held)
                for stream, held in zip(self.streams, self.held, strict=True)
            ]
        )

    def _stacked(self, rows: list[Rows]) -> Int64[Tensor, "replicate row 5"]:
        return torch.from_numpy(np.ascontiguousarray(together(rows).swapaxes(0, 1))).to(self.device)

    def evaluate(self, chunks: Rows) -> Hits:
        """See `Backend.evaluate`; predicting is pure."""
        hit, told = (
            torch.empty(chunks.shape[:3], dtype=torch.bool, device=self.device) for _ in range(2)
        )
        sound = torch.stack(
            [value.isfinite().flatten(1).all(1) for value in self.state.params.values()]
        ).all(0)
        for chunk, rows in enumerate(
            chunks
        ):  # into place: small results kept apart would break up the heap
            hit[chunk], told[chunk], finite = self._predict(torch.from_numpy(rows).to(self.device))
            sound &= finite
        hit, told = (each.transpose(0, 1).flatten(1) for each in (hit, told))
        return Hits(hit.cpu().numpy(), told.cpu().numpy(), sound.cpu().numpy())

    def _predict(self, rows: Int64[Tensor, "replicate row 4"]) -> tuple[Tensor, Tensor, Tensor]:
        scores, told = self.scores(rows), self.benchmark.scenario == "task"
        _, task, y, _ = rows.unbind(-1)
        units = torch.stack(
            [own[each] for own, each in zip(self.tables["units"], task, strict=True)]
        )
        best_told = scores.masked_fill(~units, -torch.inf).argmax(-1)
        best = best_told if told else scores.argmax(-1)
        return best == y, best_told == y, ~scores.isnan().flatten(1).any(1)

    def scores(self, rows: Int64[Tensor, "replicate row 4"]) -> Float[Tensor, "replicate row unit"]:
        """The strategy's scores of test examples; the highest is its answer."""
        told = self.benchmark.scenario == "task"

        def one(
            state: State, buffers: Params, rows: Tensor, tables: Params, pool: Tensor
        ) -> Tensor:
            batch = self._batch(rows, tables, pool)
            net = replace(self._net(self.eval_net, buffers, tables), key=None)
            scores = self.strategy.predict(net, state, batch.x, batch.task if told else None)
            boundary.check_scores(self.strategy, "predict", scores, len(rows), self.net.outputs)
            return scores

        with torch.no_grad():
            found: Tensor = vmap(one, in_dims=(0, 0, 0, 0, None))(
                self.state, self.buffers, rows, self.tables, self.test_x
            )
        return found

    def parameters(self) -> Params:
        """See `Backend.parameters`."""
        params: Params = self.state.params
        return params

    def examples(self, rows: Int64[np.ndarray, "replicate part row 4"]) -> Batch:
        """See `Backend.examples`."""
        flat = torch.from_numpy(rows).to(self.device).flatten(1, 2)
        batch = vmap(self._batch, in_dims=(0, 0, None))(flat, self.tables, self.test_x)
        return Batch(*(each.reshape(*rows.shape[:3], *each.shape[2:]) for each in batch))

    def gradients(
        self, params: Params, parts: Batch
    ) -> tuple[Float[Tensor, "replicate part"], Params]:
        """See `Backend.gradients`."""

        def one(
            params: Params, buffers: Params, tables: Params, parts: Batch
        ) -> tuple[Params, Tensor]:
            net = self._net(self.eval_net, buffers, tables)
            found: tuple[Params, Tensor] = vmap(partial(grad_and_value(net.loss), params))(parts)
            return found

        gradients, losses = vmap(one)(params, self.buffers, self.tables, parts)
        return losses, gradients

    def held_examples(self) -> list[int]:
        """The number of past examples that each replicate holds in the end, in its memory and in its own state."""
        if self.schedule.examples == "all so far":
            return [sum(len(task.train.row) for task in stream.tasks) for stream in self.streams]
        own = self._own_examples()
        of_state = (own.weight > 0).sum(1).tolist() if own else [0] * len(self.seeds)
        of_memory = [len(held.filled) if held else 0 for held in self.held]
        return [kept + more for kept, more in zip(of_memory, of_state, strict=True)]

    def _own_examples(self) -> Batch | None:
        """The examples that the strategy's state holds, of all replicates."""
        if type(self.strategy).own_examples is Strategy.own_examples:
            return None
        own: Batch | None = vmap(self.strategy.own_examples)(self.state)
        return own

    def state_bytes(self) -> int:
        """The bytes that the strategy and the optimiser keep beside parameters and examples, per replicate."""
        kept = _bytes((self.state.slots, self.state.extra)) - _bytes(self._own_examples())
        return kept // len(self.seeds)


def spread(count: int) -> Int64[Tensor, " some"]:
    """A few numbers below `count`, spread evenly: examples on which a model is tried."""
    return torch.linspace(0, count - 1, min(count, TRIED)).long()


def _bytes(tree: Any) -> int:
    """The size of all tensors in a structure; 0 for None."""
    leaves: list[Tensor] = pytree.tree_leaves(tree)
    return sum(leaf.numel() * leaf.element_size() for leaf in leaves if isinstance(leaf, Tensor))
