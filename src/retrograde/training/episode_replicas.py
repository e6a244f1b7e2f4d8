"""Meta-steps of all replicates and tasks at once, and measurements of adapting to new tasks."""

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

from retrograde.episodes.distribution import Partition, TaskDistribution
from retrograde.errors import UserError
from retrograde.gradients import cosine, dot, simpson
from retrograde.interface.batch import Batch
from retrograde.interface.episodic import EpisodicBenchmark
from retrograde.interface.metastrategy import Episode, MetaStrategy
from retrograde.interface.net import Net
from retrograde.interface.state import State
from retrograde.optim import OPTIMIZERS, Params
from retrograde.randomness import generator
from retrograde.records.few_shot import Fit
from retrograde.records.gradient_probe import rounded
from retrograde.training import boundary
from retrograde.training.clocks import Clocks
from retrograde.training.compiling import Compile, compile_or_reason, compile_step, unaliased
from retrograde.training.replicas import counted, finite, replicated

BLOCK = 50
"""Number of meta-iterations whose tasks are drawn at once."""
CURVES = 2
"""Number of test tasks whose fits are kept, if tasks are curves."""
NUMBERS = {"cpu": 2_000_000, "cuda": 200_000_000}
"""Limit of the tasks that are measured at once, by device.

It counts the numbers in their examples and adapted parameters, of all replicates; activations come
on top.
"""


class Tasks(NamedTuple):
    """Tasks as tensors.

    The leading axes are replicate and task where tasks are drawn; `vmap` removes them.

    Attributes:
        x: Examples of each task, the support first.
        y: Labels, or targets in regression.
        parameters: The parameters of each task, such as amplitude and phase.
    """

    x: Tensor
    y: Tensor
    parameters: Tensor


class Measured(NamedTuple):
    """Results on the queries of tasks after 0, 1, ... inner steps.

    Attributes:
        loss: Mean loss on the queries of each task.
        correct: Number of queries of each task that are classified correctly; 0 in regression.
    """

    loss: Float[Tensor, "replicate step task"]
    correct: Int64[Tensor, "replicate step task"]


class Booked(NamedTuple):
    """The account of inner steps of a task, or means over tasks; see `InnerAccount`."""

    observed: Tensor
    slope: Tensor
    curvature: Tensor
    exposure: Tensor


def _booked(
    net: Net,
    start: Params,
    end: Params,
    query: Batch,
) -> Booked:
    """The account of one inner step, by Simpson's rule along the step.

    Args:
        net: The model.
        start: The parameters before the step.
        end: The parameters after it.
        query: The examples whose loss is accounted for.
    """
    step = {name: end[name] - value for name, value in start.items()}
    middle = {name: (end[name] + value) / 2 for name, value in start.items()}
    gradients = [net.grad(params, query) for params in (start, middle, end)]
    first, between, last = (dot(gradient, step) for gradient in gradients)
    ends = (step, gradients[0], gradients[-1])
    step_length, start_length, end_length = (dot(vector, vector).sqrt() for vector in ends)
    exposure = step_length * (start_length + end_length) / 2
    observed = net.loss(end, query) - net.loss(start, query)
    return Booked(observed, first, simpson(first, between, last) - first, exposure)


class EpisodeReplicas:
    """Replicates of one cell that meta-learn side by side."""

    def __init__(
        self,
        benchmark: EpisodicBenchmark,
        strategy: MetaStrategy,
        sources: list[TaskDistribution],
        seeds: list[int],
        device: torch.device,
    ) -> None:
        self.benchmark = benchmark
        self.strategy = strategy
        self.sources = sources
        self.seeds = seeds
        self.device = device
        # By whether tasks are those of a test or of meta-training.
        self.shots = {False: benchmark.shots, True: benchmark.test_shots or benchmark.shots}
        self.queries = {False: benchmark.queries, True: benchmark.test_queries}
        batch = self.draw("train", 1, "probe")
        drawn = Tasks(*(part[0, 0].cpu() for part in batch))
        self.regression = drawn.y.is_floating_point()
        probe = self._inputs(*drawn)
        replicas = replicated(benchmark.model, probe, sources[0].outputs, seeds, device)
        if replicas.refresh:
            raise UserError(
                "Meta-learning takes models whose buffers training leaves alone; "
                f"model={benchmark.model} keeps running statistics. "
                "Build its normalisation with track_running_stats=False."
            )
        self.buffers = replicas.buffers
        optimizer = OPTIMIZERS[benchmark.optimizer]()
        self.net = Net(replicas.module, optimizer, losses=benchmark.losses)
        initial = vmap(self._initial)(replicas.params, self.buffers)
        self.state = unaliased(initial)
        self.batches = self._batches()
        self.done = 0  # meta-iterations
        self.seen = 0  # examples in these
        self._step: Callable[..., State] = self.step_all
        self.compiled = False
        self.tally: dict[str, int] = {}

    def _initial(self, params: Params, buffers: Params) -> State:
        learned = self.strategy.meta_params(replace(self.net, buffers=buffers), params)
        boundary.check_own(self.strategy, "meta_params", learned)
        slots = self.net.optimizer.init(learned) if self.strategy.uses_meta_optimizer else {}
        return State(learned, slots, {})

    def draw(
        self,
        partition: Partition,
        count: int,
        axis: str,
        *index: int,
    ) -> Tasks:
        """Draw tasks for every replicate.

        Args:
            partition: Its tasks have the shots and queries of meta-training if it is "train", else
                those of testing.
            count: Number of tasks per replicate.
            axis: The axis of randomness.
            *index: The place along the axis.
        """
        test = partition != "train"
        shots = self.shots[test]
        queries = self.queries[test]
        drawn = []
        for source, seed in zip(self.sources, self.seeds, strict=True):
            random = generator(seed, axis, *index)
            drawn.append(source.draw(partition, count, shots, queries, random))
        tensors = []
        for parts in zip(*drawn, strict=True):
            stacked = torch.from_numpy(np.stack(parts))
            tensors.append(stacked.contiguous().to(self.device))
        return Tasks(*tensors)

    def _batches(self) -> Iterator[Tasks]:
        """The meta-batch of every iteration, in order."""
        count = self.benchmark.meta_batch_size
        blocks = -(-self.benchmark.iterations // BLOCK)
        for block in range(blocks):
            drawn = self.draw("train", BLOCK * count, "tasks", block)
            by_iteration = []
            for part in drawn:
                batches = part.reshape(len(part), BLOCK, count, *part.shape[2:])
                # Compiled steps keep the strides of their inputs.
                by_iteration.append(batches.transpose(0, 1).contiguous())
            yield from map(Tasks, *by_iteration)

    def _inputs(
        self,
        x: Tensor,
        y: Tensor,
        parameters: Tensor,
    ) -> Float[Tensor, "example *shape"]:
        """Inputs of the model for one task, with its parameters if the strategy sees them."""
        x = x.float() * self.sources[0].scale
        if not self.strategy.sees_task_parameters:
            return x
        repeated = parameters.expand(len(x), -1)
        return torch.cat([x, repeated], dim=1)

    def _episode(self, tasks: Tasks, test: bool) -> Episode:
        """One task, split into support and query."""
        x = self._inputs(*tasks)
        # A model of episodes has no tasks to tell apart, and every example counts.
        task = torch.zeros(len(x), dtype=torch.long, device=x.device)
        weight = torch.ones(len(x), device=x.device)
        batch = Batch(x, tasks.y, task, weight)
        cut = self.sources[0].support(self.shots[test])
        support = batch.at(slice(cut))
        query = batch.at(slice(cut, None))
        return Episode(support, query)

    def step_all(
        self,
        state: State,
        buffers: Params,
        tasks: Tasks,
        progress: Tensor,
    ) -> State:
        """One meta-step of all replicates, as a pure function.

        Args:
            state: The state of each replicate.
            buffers: The buffers of each replicate's model.
            tasks: The meta-batch of each replicate.
            progress: The share of meta-training that is done, in [0, 1).
        """

        def meta_step(
            state: State,
            buffers: Params,
            tasks: Tasks,
        ) -> State:
            episodes = vmap(lambda task: self._episode(task, test=False))(tasks)
            net = replace(self.net, buffers=buffers)
            return self.strategy.meta_step(net, state, episodes, progress)

        return vmap(meta_step)(state, buffers, tasks)

    def try_out(self) -> None:
        """Adapt to one task and take a meta-step, without keeping either.

        Raises:
            UserError: If a hook breaks a rule on the way.
        """
        tasks = self.draw("train", 1, "check")
        first = Tasks(*(part[:, 0] for part in tasks))
        marks = vmap(self._tried_adapting)(self.state, self.buffers, first)
        boundary.check_unchanged(self.strategy, "inner_step", marks)
        if self.strategy.meta_trains:
            marks = vmap(self._tried_step)(self.state, self.buffers, tasks)
            boundary.check_unchanged(self.strategy, "meta_step", marks)

    def _tried_adapting(
        self,
        state: State,
        buffers: Params,
        task: Tasks,
    ) -> dict[str, Tensor]:
        """Take one inner step, check its result, and mark the inputs that it changed in place."""
        net = replace(self.net, buffers=buffers)
        episode = self._episode(task, test=False)
        learned = state.params
        support = episode.support
        fast = self.strategy.start_adaptation(net, learned)
        boundary.check_kind(self.strategy, "start_adaptation", fast, State)
        given = {"learned": learned, "fast": fast, "support": support}
        before = boundary.copied(given)
        after = self.strategy.inner_step(net, learned, fast, support, 0)
        boundary.check_state(self.strategy, "inner_step", after, fast)
        marks = boundary.changed(given, before)
        if type(self.strategy).task_loss is not MetaStrategy.task_loss:
            loss = self.strategy.task_loss(net, learned, episode, self._progress())
            boundary.check_loss(self.strategy, "task_loss", loss)
        return marks

    def _tried_step(
        self,
        state: State,
        buffers: Params,
        tasks: Tasks,
    ) -> dict[str, Tensor]:
        """Take one meta-step, check its result, and mark the inputs that it changed in place."""
        episodes = vmap(lambda task: self._episode(task, test=False))(tasks)
        given = {"state": state, "episodes": episodes}
        before = boundary.copied(given)
        net = replace(self.net, buffers=buffers)
        after = self.strategy.meta_step(net, state, episodes, self._progress())
        boundary.check_state(self.strategy, "meta_step", after, state)
        return boundary.changed(given, before)

    def warm_up(self, mode: Compile) -> str | None:
        """Take one meta-step without keeping it, count its passes, and compile unless that is off.

        Returns:
            Why compiling failed; None if it did not.
        """
        tasks = self.draw("train", self.benchmark.meta_batch_size, "probe")
        inputs = (self.buffers, tasks, self._progress())
        plain = self.net
        counting = counted(plain)
        self.net = counting
        try:
            self.step_all(self.state, *inputs)
        finally:
            self.net = plain
        # Under `vmap` the counts are those of a single task.
        tasks_per_step = self.benchmark.meta_batch_size
        self.tally = {name: rows * tasks_per_step for name, rows in counting.tally.items()}

        def twice(step: Callable[..., State]) -> State:
            first = step(self.state, *inputs)
            return step(first, *inputs)

        def compile_() -> None:
            self._step = compile_step(self, EpisodeReplicas.step_all, twice)
            self.compiled = True

        return compile_or_reason(mode, compile_)

    def seconds_a_step(self, clocks: Clocks) -> float:
        """Median seconds of a meta-step; the timed steps change no state."""
        calls = (
            partial(self._step, self.state, self.buffers, tasks, self._progress())
            for tasks in self._batches()
        )
        return clocks.each(calls)

    def constants(self) -> tuple[object, ...]:
        """Constants of a compiled step other than settings and the form of the state."""
        source = self.sources[0]
        return source.shape, source.outputs, source.parameters, source.scale

    def _progress(self) -> Float[Tensor, ""]:
        # A tensor, since a number would become a constant of a compiled step.
        return torch.tensor(self.done / self.benchmark.iterations, device=self.device)

    def learn(
        self,
        iterations: int,
        progress: Callable[[int], None],
    ) -> None:
        """Meta-train for some more iterations.

        Args:
            iterations: Their number.
            progress: Called with 1 after each.
        """
        for tasks in islice(self.batches, iterations):
            self.state = self._step(
                self.state,
                self.buffers,
                tasks,
                self._progress(),
            )
            self.done += 1
            # Axes are replicate, task and example.
            self.seen += tasks.x.shape[1] * tasks.x.shape[2]
            progress(1)

    def _adapting(
        self,
        tasks: Tasks,
        measurement: Callable[[Net, Params, Episode], Any],
        steps: int,
        test: bool = True,
        rows: int = 0,
    ) -> Any:
        """Measurements of every replicate and task after 0, 1, ... inner steps.

        Args:
            tasks: The tasks to adapt to.
            measurement: Takes the net, the adapted parameters and the episode; gives any tree of
                tensors.
            steps: Number of inner steps.
            test: True if the tasks have the shots and queries of testing.
            rows: See `_of_tasks`.

        Returns:
            The tree of `measurement`, with leading axes (replicate, task, step).
        """

        def adapt(
            learned: Params,
            buffers: Params,
            tasks: Tasks,
        ) -> Any:
            net = replace(self.net, buffers=buffers)
            episode = self._episode(tasks, test)
            fast = self.strategy.start_adaptation(net, learned)
            found = [measurement(net, fast.params, episode)]
            for step in range(steps):
                fast = self.strategy.inner_step(net, learned, fast, episode.support, step)
                found.append(measurement(net, fast.params, episode))
            return pytree.tree_map(lambda *steps: torch.stack(steps), *found)

        return self._of_tasks(adapt, tasks, rows)

    def _of_tasks(
        self,
        one: Callable[[Params, Params, Tasks], Any],
        tasks: Tasks,
        rows: int = 0,
    ) -> Any:
        """Results of a function for every replicate and task, computed for some tasks at a time.

        Args:
            one: A function of the learned parameters, the buffers and one task.
            tasks: The tasks of each replicate.
            rows: Number of a task's rows that `one` passes at once; 0 for all of them.

        Returns:
            The tree of `one`, with leading axes (replicate, task).
        """
        over_tasks = vmap(one, in_dims=(None, None, 0))
        params = self.net.model_params(self.state.params)
        adapted_numbers = sum(value[0].numel() for value in params.values())
        rows = rows or tasks.x.shape[2]
        example_numbers = rows * tasks.x[0, 0, 0].numel()
        size = self._at_once(example_numbers + adapted_numbers)
        parts = []
        with torch.no_grad():
            for start in range(0, tasks.x.shape[1], size):
                some = Tasks(*(part[:, start : start + size] for part in tasks))
                parts.append(vmap(over_tasks)(self.state.params, self.buffers, some))
        return pytree.tree_map(lambda *chunks: torch.cat(chunks, dim=1), *parts)

    def _at_once(self, numbers: int) -> int:
        """Number of tasks, or of passes, to measure at once if each takes so many numbers."""
        limit = NUMBERS[self.device.type]
        return max(1, limit // (len(self.seeds) * numbers))

    def measure(self, tasks: Tasks) -> Measured:
        """Adapt to tasks of meta-validation or meta-test, and measure after each inner step."""
        queries = self.queries_per_task()
        rows = 0
        if not self.benchmark.transductive:
            # Each query is passed with the whole support.
            support = tasks.x.shape[2] - queries
            rows = queries * (support + 1)
        found = self._adapting(
            tasks,
            self._score,
            self.strategy.test_steps,
            rows=rows,
        )
        return Measured(*(part.transpose(1, 2).cpu() for part in found))

    def _score(
        self,
        net: Net,
        params: Params,
        episode: Episode,
    ) -> tuple[Tensor, Tensor]:
        """Mean loss on the queries, and the number that is classified correctly."""
        query = episode.query
        outputs = self._outputs(net, params, episode)
        correct = _correct(outputs, query)
        return net.losses(outputs, query.y).mean(), correct.sum()

    def _outputs(
        self,
        net: Net,
        params: Params,
        episode: Episode,
    ) -> Float[Tensor, "row unit"]:
        """Outputs for the queries, in one pass if the benchmark is transductive."""
        if self.benchmark.transductive:
            return net.logits(params, episode.query.x)
        return self._alone(net, params, episode)

    def _alone(
        self,
        net: Net,
        params: Params,
        episode: Episode,
    ) -> Float[Tensor, "row unit"]:
        """Outputs for each query, passed with the support but without the other queries.

        Normalisation over the batch then sees no other query (Nichol et al. 2018, section 6.1).
        """
        support = episode.support.x
        queries = episode.query.x

        def outputs(x: Tensor) -> Tensor:
            rows = torch.cat([support, x[None]])
            return net.logits(params, rows)[-1]

        passes = self._at_once(support.numel() + queries[0].numel())
        return vmap(outputs, chunk_size=passes)(queries)

    def alignment(
        self, tasks: Tasks, steps: int, test: bool = True
    ) -> Float[Tensor, "replicate step"]:
        """Mean cosine between the gradients on support and query, after 0 to `steps` inner steps.

        Args:
            tasks: The tasks over which the mean is taken.
            steps: Number of inner steps.
            test: True if the tasks have the shots and queries of testing.
        """

        def align(
            net: Net,
            params: Params,
            episode: Episode,
        ) -> Tensor:
            support = net.grad(params, episode.support)
            query = net.grad(params, episode.query)
            return cosine(support, query)

        cosines: Tensor = self._adapting(tasks, align, steps, test)
        return cosines.mean(1).cpu()

    def account(self, tasks: Tasks, steps: int) -> Booked:
        """Account of the query loss along the first inner steps on the support: see `InnerAccount`.

        Args:
            tasks: The tasks over which the means are taken.
            steps: Number of inner steps.

        Returns:
            Numbers of shape (replicate, step).
        """

        def book(
            learned: Params,
            buffers: Params,
            tasks: Tasks,
        ) -> Booked:
            net = replace(self.net, buffers=buffers)
            episode = self._episode(tasks, test=True)
            fast = self.strategy.start_adaptation(net, learned)
            windows = []
            for step in range(steps):
                after = self.strategy.inner_step(net, learned, fast, episode.support, step)
                windows.append(_booked(net, fast.params, after.params, episode.query))
                fast = after
            by_number = zip(*windows, strict=True)
            return Booked(*(torch.stack(steps) for steps in by_number))

        if not steps:
            nothing = torch.zeros(len(self.seeds), 0)
            return Booked(nothing, nothing, nothing, nothing)
        booked: Booked = self._of_tasks(book, tasks)
        return Booked(*(part.mean(1).cpu() for part in booked))

    def queries_per_task(self) -> int:
        """Number of queries of a test or validation task."""
        groups = 1 if self.regression else self.sources[0].outputs
        return self.queries[True] * groups

    def state_bytes(self) -> int:
        """Bytes of optimiser slots and learned rates, per replicate, without the model."""
        model = self.net.model_params(self.state.params)
        learned = self.state.params.items()
        others = {name: value for name, value in learned if name not in model}
        leaves: list[Tensor] = pytree.tree_leaves((self.state.slots, others))
        total = sum(leaf.numel() * leaf.element_size() for leaf in leaves)
        return total // len(self.seeds)

    def finite(self) -> np.ndarray:
        """For each replicate, True if every learned number is finite."""
        return np.asarray(finite(self.state.params).cpu().numpy())

    def fits(self, tasks: Tasks) -> list[list[Fit]]:
        """Fits of the first tasks after each inner step, if tasks are curves.

        Returns:
            A list for each replicate, with a fit for each task; empty if tasks are no curves.
        """
        first = Tasks(*(part[:, :CURVES] for part in tasks))
        curve = self.sources[0].curve(first.parameters[0].cpu().numpy())
        if curve is None:
            return [[] for _ in self.seeds]
        grid = torch.from_numpy(curve[0]).to(self.device)

        def predict(
            net: Net,
            params: Params,
            episode: Episode,
        ) -> tuple[Tensor, Tensor, Tensor]:
            support = episode.support
            # Columns beyond the grid's are the parameters of the task, the same in every row.
            parameters = support.x[:1, grid.shape[1] :].expand(len(grid), -1)
            inputs = torch.cat([grid, parameters], 1)
            predicted = net.logits(params, inputs)
            return predicted[:, 0], support.x[:, 0], support.y[:, 0]

        predicted, x, y = self._adapting(first, predict, self.strategy.test_steps)
        fits: list[list[Fit]] = []
        for i, curves in enumerate(self._curves(first)):
            fits.append([])
            for task, values in enumerate(curves):
                # The support is the same after every step.
                support = (x[i, task, 0], y[i, task, 0])
                fits[i].append(_fit(grid, values, support, predicted[i, task]))
        return fits

    def _curves(self, tasks: Tasks) -> list[Tensor]:
        """Values of the true curves on the grid, for each replicate: (task, point, 1)."""
        source = self.sources[0]
        curves = (source.curve(of_replicate.cpu().numpy()) for of_replicate in tasks.parameters)
        return [torch.from_numpy(curve[1]) for curve in curves if curve is not None]


def _correct(outputs: Tensor, query: Batch) -> Tensor:
    """True for each query that is classified correctly; 0 in regression."""
    if query.y.is_floating_point():
        return torch.zeros_like(query.task)
    return outputs.argmax(-1) == query.y


def _fit(
    grid: Tensor,
    values: Tensor,
    support: tuple[Tensor, Tensor],
    predicted: Tensor,
) -> Fit:
    """The fit of one task.

    Args:
        grid: Inputs of the curve, of shape (point, 1).
        values: Values of the curve, of shape (point, 1).
        support: Inputs and values of the support.
        predicted: Predictions on the grid, of shape (step, point).
    """
    support_x, support_y = support
    return Fit(
        x=rounded(grid[:, 0]),
        y=rounded(values[:, 0]),
        support_x=rounded(support_x),
        support_y=rounded(support_y),
        predicted=[rounded(after) for after in predicted],
    )
