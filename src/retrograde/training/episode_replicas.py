"""Meta-strategies at work: one meta-step for all replicates and tasks at once, and what adapting to tasks brings."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import vmap
from torch.utils import _pytree as pytree

from retrograde.episodes.distribution import Distribution, Partition
from retrograde.errors import UserError
from retrograde.gradients import cosine, dot, simpson
from retrograde.interface.batch import Batch
from retrograde.interface.episodic import Episodic
from retrograde.interface.metastrategy import Episode, MetaStrategy
from retrograde.interface.net import Net
from retrograde.interface.state import State
from retrograde.optim import OPTIMIZERS, Params
from retrograde.randomness import generator
from retrograde.records.few_shot import Fit
from retrograde.records.gradient_probe import rounded
from retrograde.training import boundary
from retrograde.training.clocks import Clocks
from retrograde.training.compiling import Compile, compile_step, separate, tried
from retrograde.training.stream_replicas import counted, replicated

BLOCK = 50
"""Meta-iterations whose tasks are drawn at once."""
CURVES = 2
"""Test tasks whose fits are kept, where tasks are curves."""
NUMBERS = {"cpu": 2_000_000, "cuda": 200_000_000}
"""Numbers in the examples and parameters of tasks that are measured at once, of all replicates; activations come on top."""


class Tasks(NamedTuple):
    """Drawn tasks as tensors; on the way to a strategy the leading axis is the replicate."""

    x: Tensor
    y: Tensor
    truth: Tensor


class Measured(NamedTuple):
    """What adapting to tasks brought, after 0, 1, ... inner steps."""

    loss: Float[Tensor, "replicate step task"]
    correct: Int64[
        Tensor, "replicate step task"
    ]  # right answers to the task's queries; 0 in regression


class Booked(NamedTuple):
    """The account of inner steps, of tasks or means over them."""

    observed: Tensor
    slope: Tensor
    curvature: Tensor
    exposure: Tensor


def _booked(net: Net, start: Params, end: Params, query: Batch) -> Booked:
    """The account of one inner step: the query's gradients along it, integrated by Simpson's rule."""
    step = {name: end[name] - value for name, value in start.items()}
    middle = {name: (end[name] + value) / 2 for name, value in start.items()}
    gradients = [net.grad(params, query) for params in (start, middle, end)]
    first, between, last = (dot(each, step) for each in gradients)
    lengths = [dot(each, each).sqrt() for each in (step, gradients[0], gradients[-1])]
    exposure = lengths[0] * (lengths[1] + lengths[2]) / 2
    observed = net.loss(end, query) - net.loss(start, query)
    return Booked(observed, first, simpson(first, between, last) - first, exposure)


class Episodes:
    """Replicates of one cell that meta-learn side by side."""

    def __init__(
        self,
        benchmark: Episodic,
        strategy: MetaStrategy,
        sources: list[Distribution],
        seeds: list[int],
        device: torch.device,
    ) -> None:
        self.benchmark, self.strategy, self.sources, self.seeds, self.device = (
            benchmark,
            strategy,
            sources,
            seeds,
            device,
        )
        self.shots = {
            False: benchmark.shots,
            True: benchmark.test_shots or benchmark.shots,
        }  # by whether it is a test
        self.queries = {False: benchmark.queries, True: benchmark.test_queries}
        drawn = Tasks(*(part[0, 0].cpu() for part in self.draw("train", 1, "probe")))
        self.regression = drawn.y.is_floating_point()
        probe = self._inputs(*drawn)
        replicas = replicated(benchmark.model, probe, sources[0].outputs, seeds, device)
        if replicas.refresh:
            raise UserError(
                f"Meta-learning takes models whose buffers training leaves alone; model={benchmark.model} keeps running "
                "statistics. Build its normalisation with track_running_stats=False."
            )
        self.buffers = replicas.buffers
        self.net = Net(replicas.module, OPTIMIZERS[benchmark.optimizer](), losses=benchmark.losses)
        self.state = separate(vmap(self._initial)(replicas.params, self.buffers))
        self.batches = self._batches()
        self.done = self.seen = 0  # meta-iterations, and examples in them
        self._step: Callable[..., State] = self.step_all
        self.compiled = False
        self.tally: dict[str, int] = {}

    def _initial(self, params: Params, buffers: Params) -> State:
        learned = self.strategy.learned(replace(self.net, buffers=buffers), params)
        boundary.check_own(self.strategy, "learned", learned)
        return State(
            learned, self.net.optimizer.init(learned) if self.strategy.descends else {}, {}
        )

    def draw(self, partition: Partition, count: int, axis: str, *index: int) -> Tasks:
        """The same number of tasks for every replicate, with the shots and queries of training or of testing."""
        test = partition != "train"
        drawn = [
            source.draw(
                partition,
                count,
                self.shots[test],
                self.queries[test],
                generator(seed, axis, *index),
            )
            for source, seed in zip(self.sources, self.seeds, strict=True)
        ]
        return Tasks(
            *(
                torch.from_numpy(np.stack(parts)).contiguous().to(self.device)
                for parts in zip(*drawn, strict=True)
            )
        )

    def _batches(self) -> Iterator[Tasks]:
        """The meta-batch of every iteration, in order."""
        count = self.benchmark.tasks
        for block in range(-(-self.benchmark.iterations // BLOCK)):
            drawn = self.draw("train", BLOCK * count, "tasks", block)
            cut = (
                part.reshape(len(part), BLOCK, count, *part.shape[2:]).transpose(0, 1)
                for part in drawn
            )
            yield from map(Tasks, *(part.contiguous() for part in cut))  # strides are compiled in

    def _inputs(self, x: Tensor, y: Tensor, truth: Tensor) -> Float[Tensor, "example *shape"]:
        """What a model sees of one task's examples: for a strategy that is told the facts, those too."""
        x = x.float() * self.sources[0].scale
        return torch.cat([x, truth.expand(len(x), -1)], dim=1) if self.strategy.told else x

    def _episode(self, tasks: Tasks, test: bool) -> Episode:
        """One task, cut into support and query."""
        x = self._inputs(*tasks)
        none = torch.zeros(len(x), dtype=torch.long, device=x.device)
        batch = Batch(x, tasks.y, none, torch.ones(len(x), device=x.device))
        cut = self.sources[0].support(self.shots[test])
        return Episode(batch.at(slice(cut)), batch.at(slice(cut, None)))

    def step_all(self, state: State, buffers: Params, tasks: Tasks, progress: Tensor) -> State:
        """One meta-step of all replicates; pure."""

        def one(state: State, buffers: Params, tasks: Tasks) -> State:
            episodes = vmap(lambda task: self._episode(task, test=False))(tasks)
            return self.strategy.meta_step(
                replace(self.net, buffers=buffers), state, episodes, progress
            )

        return vmap(one)(state, buffers, tasks)

    def try_out(self) -> None:
        """Adapt to one task, take a meta-step, and forget both; raises `UserError` where a hook breaks a rule on the way."""
        tasks = self.draw("train", 1, "check")
        marks = vmap(self._tried_adapting)(
            self.state, self.buffers, Tasks(*(part[:, 0] for part in tasks))
        )
        boundary.check_unchanged(self.strategy, "inner", marks)
        if self.strategy.trains:
            marks = vmap(self._tried_step)(self.state, self.buffers, tasks)
            boundary.check_unchanged(self.strategy, "meta_step", marks)

    def _tried_adapting(self, state: State, buffers: Params, task: Tasks) -> dict[str, Tensor]:
        """One inner step whose result is verified; which of the tensors that it was given it changed in place."""
        net, episode = replace(self.net, buffers=buffers), self._episode(task, test=False)
        fast = self.strategy.begin(net, state.params)
        boundary.check_kind(self.strategy, "begin", fast, State)
        given = {"learned": state.params, "fast": fast, "support": episode.support}
        before = boundary.copied(given)
        after = self.strategy.inner(net, state.params, fast, episode.support, 0)
        boundary.check_state(self.strategy, "inner", after, fast)
        marks = boundary.changed(given, before)
        if type(self.strategy).task_loss is not MetaStrategy.task_loss:
            loss = self.strategy.task_loss(net, state.params, episode, self._progress())
            boundary.check_loss(self.strategy, "task_loss", loss)
        return marks

    def _tried_step(self, state: State, buffers: Params, tasks: Tasks) -> dict[str, Tensor]:
        """One meta-step whose result is verified; which of the tensors that it was given it changed in place."""
        episodes = vmap(lambda task: self._episode(task, test=False))(tasks)
        given = {"state": state, "episodes": episodes}
        before = boundary.copied(given)
        after = self.strategy.meta_step(
            replace(self.net, buffers=buffers), state, episodes, self._progress()
        )
        boundary.check_state(self.strategy, "meta_step", after, state)
        return boundary.changed(given, before)

    def warm_up(self, mode: Compile) -> str | None:
        """Take one step and forget it, compiled unless that is off; returns why compiling failed, if it did."""
        inputs = self.buffers, self.draw("train", self.benchmark.tasks, "probe"), self._progress()
        plain = self.net
        self.net = counting = counted(plain)
        try:
            self.step_all(self.state, *inputs)
        finally:
            self.net = plain
        self.tally = {name: rows * self.benchmark.tasks for name, rows in counting.tally.items()}

        def twice(step: Callable[..., State]) -> State:
            return step(step(self.state, *inputs), *inputs)

        def compile_() -> None:
            self._step, self.compiled = compile_step(self, Episodes.step_all, twice), True

        return tried(mode, compile_)

    def seconds_a_step(self, clocks: Clocks) -> float:
        """What a meta-step takes; the first are timed, and forgotten."""
        return clocks.each(
            partial(self._step, self.state, self.buffers, tasks, self._progress())
            for tasks in self._batches()
        )

    def constants(self) -> tuple[object, ...]:
        """What a compiled step has in it beside settings and the form of the state."""
        source = self.sources[0]
        return source.shape, source.outputs, source.facts, source.scale

    def _progress(self) -> Float[Tensor, ""]:
        return torch.tensor(self.done / self.benchmark.iterations, device=self.device)

    def learn(self, iterations: int, progress: Callable[[int], None]) -> None:
        """Meta-train for some more iterations."""
        for tasks in islice(self.batches, iterations):
            self.state = self._step(self.state, self.buffers, tasks, self._progress())
            self.done += 1
            self.seen += tasks.x.shape[1] * tasks.x.shape[2]
            progress(1)

    def _adapting(
        self,
        tasks: Tasks,
        look: Callable[[Net, Params, Episode], Any],
        steps: int,
        test: bool = True,
        rows: int = 0,
    ) -> Any:
        """What `look` sees of every replicate and task after 0, 1, ... inner steps, as (replicate, task, step, ...).

        See `_of_tasks` for `rows`.
        """

        def one(learned: Params, buffers: Params, tasks: Tasks) -> Any:
            net = replace(self.net, buffers=buffers)
            episode = self._episode(tasks, test)
            fast = self.strategy.begin(net, learned)
            seen = [look(net, fast.params, episode)]
            for step in range(steps):
                fast = self.strategy.inner(net, learned, fast, episode.support, step)
                seen.append(look(net, fast.params, episode))
            return pytree.tree_map(lambda *steps: torch.stack(steps), *seen)

        return self._of_tasks(one, tasks, rows)

    def _of_tasks(
        self, one: Callable[[Params, Params, Tasks], Any], tasks: Tasks, rows: int = 0
    ) -> Any:
        """The results of a function of the learned parameters, the buffers and one task, as (replicate, task, ...).

        It passes so many rows of a task at once: all of them, where none are given.
        """
        over_tasks = vmap(one, in_dims=(None, None, 0))
        adapting = sum(value[0].numel() for value in self.net.own(self.state.params).values())
        size = self._at_once((rows or tasks.x.shape[2]) * tasks.x[0, 0, 0].numel() + adapting)
        with torch.no_grad():
            parts = [
                vmap(over_tasks)(
                    self.state.params,
                    self.buffers,
                    Tasks(*(part[:, i : i + size] for part in tasks)),
                )
                for i in range(0, tasks.x.shape[1], size)
            ]
        return pytree.tree_map(lambda *chunks: torch.cat(chunks, dim=1), *parts)

    def _at_once(self, numbers: int) -> int:
        """How many tasks, or passes, of so many numbers are measured at once."""
        return max(1, NUMBERS[self.device.type] // (len(self.seeds) * numbers))

    def measure(self, tasks: Tasks) -> Measured:
        """Adapt to tasks of meta-validation or meta-test, and measure on their queries after each inner step."""
        queries = self.queries_per_task()
        alone = 0 if self.benchmark.transductive else queries * (tasks.x.shape[2] - queries + 1)
        seen = self._adapting(tasks, self._score, self.strategy.test_steps, rows=alone)
        return Measured(*(part.transpose(1, 2).cpu() for part in seen))

    def _score(self, net: Net, params: Params, episode: Episode) -> tuple[Tensor, Tensor]:
        query = episode.query
        outputs = (
            net.logits(params, query.x)
            if self.benchmark.transductive
            else self._alone(net, params, episode)
        )
        right = (
            torch.zeros_like(query.task)
            if query.y.is_floating_point()
            else outputs.argmax(-1) == query.y
        )
        return net.losses(outputs, query.y).mean(), right.sum()

    def _alone(self, net: Net, params: Params, episode: Episode) -> Float[Tensor, "row unit"]:
        """Each query's outputs in a pass with the support and no other query (Nichol et al. 2018, section 6.1)."""

        def outputs(x: Tensor) -> Tensor:
            return net.logits(params, torch.cat([episode.support.x, x[None]]))[-1]

        together = self._at_once(episode.support.x.numel() + episode.query.x[0].numel())
        return vmap(outputs, chunk_size=together)(episode.query.x)

    def alignment(
        self, tasks: Tasks, steps: int, test: bool = True
    ) -> Float[Tensor, "replicate step"]:
        """The mean cosine between the support and the query gradient of the loss, after 0 to `steps` inner steps."""

        def look(net: Net, params: Params, episode: Episode) -> Tensor:
            return cosine(net.grad(params, episode.support), net.grad(params, episode.query))

        seen: Tensor = self._adapting(tasks, look, steps, test)
        return seen.mean(1).cpu()

    def account(self, tasks: Tasks, steps: int) -> Booked:
        """The account of the query loss along the first inner steps on the support, means over tasks: see `InnerAccount`."""

        def one(learned: Params, buffers: Params, tasks: Tasks) -> Booked:
            net = replace(self.net, buffers=buffers)
            episode = self._episode(tasks, test=True)
            fast = self.strategy.begin(net, learned)
            windows = []
            for step in range(steps):
                after = self.strategy.inner(net, learned, fast, episode.support, step)
                windows.append(_booked(net, fast.params, after.params, episode.query))
                fast = after
            return Booked(*(torch.stack(parts) for parts in zip(*windows, strict=True)))

        if not steps:
            return Booked(*[torch.zeros(len(self.seeds), 0)] * 4)
        booked: Booked = self._of_tasks(one, tasks)
        return Booked(*(part.mean(1).cpu() for part in booked))

    def queries_per_task(self) -> int:
        """How many examples of a test or validation task are its query."""
        return self.queries[True] * (1 if self.regression else self.sources[0].outputs)

    def state_bytes(self) -> int:
        """The bytes of what is kept beside the model's parameters, per replicate: optimiser slots and learned rates."""
        own = self.net.own(self.state.params)
        beside = {name: value for name, value in self.state.params.items() if name not in own}
        leaves: list[Tensor] = pytree.tree_leaves((self.state.slots, beside))
        return sum(leaf.numel() * leaf.element_size() for leaf in leaves) // len(self.seeds)

    def sound(self) -> np.ndarray:
        """Of which replicates every learned number is finite."""
        return np.asarray(
            torch.stack([v.isfinite().flatten(1).all(1) for v in self.state.params.values()])
            .all(0)
            .cpu()
            .numpy()
        )

    def fits(self, tasks: Tasks) -> list[list[Fit]]:
        """For each replicate, the first tasks as curves before and after each inner step; nothing where they are none."""
        first = Tasks(*(part[:, :CURVES] for part in tasks))
        curve = self.sources[0].curve(first.truth[0].cpu().numpy())
        if curve is None:
            return [[] for _ in self.seeds]
        grid = torch.from_numpy(curve[0]).to(self.device)

        def look(net: Net, params: Params, episode: Episode) -> tuple[Tensor, Tensor, Tensor]:
            support = episode.support
            facts = support.x[:1, grid.shape[1] :].expand(len(grid), -1)
            return (
                net.logits(params, torch.cat([grid, facts], 1))[:, 0],
                support.x[:, 0],
                support.y[:, 0],
            )

        predicted, x, y = self._adapting(first, look, self.strategy.test_steps)

        def fit(i: int, t: int, truth: Tensor) -> Fit:
            x_true, x_support, y_support = (
                rounded(each) for each in (grid[:, 0], x[i, t, 0], y[i, t, 0])
            )
            return Fit(
                x_true,
                rounded(truth[:, 0]),
                x_support,
                y_support,
                [rounded(after) for after in predicted[i, t]],
            )

        return [
            [fit(i, t, truths[t]) for t in range(len(truths))]
            for i, truths in enumerate(self._truths(first))
        ]

    def _truths(self, tasks: Tasks) -> list[Tensor]:
        curves = (self.sources[0].curve(truth.cpu().numpy()) for truth in tasks.truth)
        return [torch.from_numpy(curve[1]) for curve in curves if curve is not None]
