"""Meta-steps of all replicates and tasks at once, and measurements of adapting to new tasks."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vmap

from retrograde.episodes.distribution import Partition, TaskDistribution
from retrograde.errors import UserError
from retrograde.interface.batch import Batch
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.episodic import EpisodicBenchmark
from retrograde.interface.metastrategy import Episode, MetaStrategy
from retrograde.interface.net import Net, Notes
from retrograde.interface.state import State
from retrograde.optim import OPTIMIZERS, Params
from retrograde.randomness import generator
from retrograde.training import boundary
from retrograde.training.compiled_step import signature, unaliased
from retrograde.training.example_rows import normaliser
from retrograde.training.replicas import Replicas, Tree, finite, stacked
from retrograde.training.snapshots import Snapshot
from retrograde.training.trees import each

BLOCK = 50
"""Number of meta-iterations whose tasks are drawn at once."""


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


class EpisodeReplicas(Replicas):
    """Replicates of one cell that meta-learn side by side.

    Args:
        benchmark: The benchmark of the cell.
        strategy: The meta-strategy of the cell.
        sources: The distribution over tasks of each replicate.
        seeds: The seed of each replicate.
        device: The device to train on.
        stream: The benchmark of the stream that is learned afterwards, which gives the optimiser
            and the initial weights; None: there is no stream.
    """

    benchmark: EpisodicBenchmark
    strategy: MetaStrategy
    carried: State

    def __init__(
        self,
        benchmark: EpisodicBenchmark,
        strategy: MetaStrategy,
        sources: list[TaskDistribution],
        seeds: list[int],
        device: torch.device,
        stream: Benchmark | None = None,
    ) -> None:
        super().__init__(benchmark, strategy, seeds, device)
        self.sources = sources
        self.stream = stream
        self.normalised = normaliser(sources[0].channels, device)
        # By whether tasks are those of a test or of meta-training.
        self.shots = {False: benchmark.shots, True: benchmark.test_shots or benchmark.shots}
        self.queries = {False: benchmark.queries, True: benchmark.test_queries}
        batch = self.draw("train", 1, "probe")
        drawn = Tasks(*(part[0, 0] for part in batch))
        self.regression = drawn.y.is_floating_point()
        probe = self._inputs(*drawn).cpu()
        # Of one input of the model, which may hold the parameters of its task as well.
        self.input_shape = tuple(probe.shape[1:])
        weights = stream.weights if stream else ""
        outputs = sources[0].outputs
        models = stacked(benchmark.model, probe, outputs, seeds, device, weights=weights)
        if models.networks.statistics:
            raise UserError(
                "Meta-learning takes models whose buffers training leaves alone; "
                f"model={benchmark.model} keeps running statistics. "
                "Build its normalisation with track_running_stats=False."
            )
        optimizer = stream.build_optimizer() if stream else OPTIMIZERS[benchmark.optimizer]()
        shape = sources[0].shape
        self.net = Net(
            models.networks, optimizer, losses=benchmark.losses, shape=shape, outputs=outputs
        )
        self.own = {"fixed": models.own}
        self.shared = {"fixed": models.shared}
        initial = vmap(self._initial, in_dims=(0, 0, None))(models.params, self.own, self.shared)
        self.carried = unaliased(initial)
        self.batches = self._batches()
        self.done = 0  # meta-iterations
        self.seen = 0  # examples in these

    @property
    def state(self) -> State:
        """The state of every replicate, stacked."""
        return self.carried

    def _initial(self, params: Params, own: Tree, shared: Tree) -> State:
        net = self.net_of(State(params, {}, {}), own, shared)
        learned = self.strategy.meta_params(net, params)
        boundary.check_tensors(self.strategy, "meta_params", learned)
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

    def _batches(self, first: int = 0) -> Iterator[Tasks]:
        """The meta-batch of every iteration from a first one on, in order."""
        count = self.benchmark.meta_batch_size
        # Pretraining keeps the axis that it had when results were recorded.
        axis = "lessons" if self.stream else "tasks"
        blocks = -(-self.benchmark.iterations // BLOCK)
        begun, skipped = divmod(first, BLOCK)
        for block in range(begun, blocks):
            drawn = self.draw("train", BLOCK * count, axis, block)
            by_iteration = []
            for part in drawn:
                stacked_batches = part.reshape(len(part), BLOCK, count, *part.shape[2:])
                # Compiled steps keep the strides of their inputs.
                by_iteration.append(stacked_batches.transpose(0, 1).contiguous())
            batches = map(Tasks, *by_iteration)
            yield from islice(batches, skipped if block == begun else 0, None)

    def _inputs(
        self,
        x: Tensor,
        y: Tensor,
        parameters: Tensor,
    ) -> Float[Tensor, "example *shape"]:
        """Inputs of the model for one task, with its parameters if the strategy sees them."""
        x = self.normalised(x.float() * self.sources[0].scale)
        if not self.strategy.sees_task_parameters:
            return x
        repeated = parameters.expand(len(x), -1)
        return torch.cat([x, repeated], dim=1)

    def episode(self, tasks: Tasks, test: bool) -> Episode:
        """One task, split into support, query and remembered examples."""
        x = self._inputs(*tasks)
        # A model of episodes has no tasks to tell apart, and every example counts.
        task = torch.zeros(len(x), dtype=torch.long, device=x.device)
        weight = torch.ones(len(x), device=x.device)
        batch = Batch(x, tasks.y, task, weight)
        cut = self.sources[0].support(self.shots[test])
        others = len(x) - self.sources[0].remembered
        query = batch.at(slice(cut, others))
        return Episode(batch.at(slice(cut)), query, batch.at(slice(others, None)))

    def step_all(
        self, carried: State, tasks: Tasks, progress: Tensor, own: Tree, shared: Tree
    ) -> State:
        """One meta-step of all replicates, as a pure function.

        Args:
            carried: The state of each replicate.
            tasks: The meta-batch of each replicate.
            progress: The share of meta-training that is done, in [0, 1).
            own: The other tensors that differ between replicates.
            shared: The tensors that all replicates share.
        """

        def meta_step(state: State, tasks: Tasks, own: Tree) -> State:
            episodes = vmap(lambda task: self.episode(task, test=False))(tasks)
            net = self.net_of(state, own, shared)
            return self.strategy.meta_step(net, state, episodes, progress)

        after = vmap(meta_step)(carried, tasks, own)
        # Compiled and traced steps take their inputs with contiguous strides alone.
        whole: State = each(torch.Tensor.contiguous, after)
        return whole

    def try_out(self) -> None:
        """Adapt to one task and take a meta-step, without keeping either.

        Raises:
            UserError: If a hook breaks a rule on the way.
        """
        tasks = self.draw("train", 1, "check")
        first = Tasks(*(part[:, 0] for part in tasks))
        marks = vmap(self._tried_adapting)(self.state, first, self.own)
        boundary.check_unchanged(self.strategy, "inner_step", marks)
        if self.strategy.meta_trains:
            self._try_step((tasks, self._progress(), self.own, self.shared))

    def _tried_adapting(self, state: State, task: Tasks, own: Tree) -> dict[str, Tensor]:
        """Take one inner step, check its result, and mark the inputs that it changed in place."""
        net = self.net_of(state, own, self.shared)
        episode = self.episode(task, test=False)
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

    def _try_step(self, inputs: tuple[Any, ...]) -> Notes:
        """Take one meta-step without keeping it.

        Raises:
            UserError: If the step gives no state of the same form, or changes its inputs.
        """
        tasks, progress, own, shared = inputs
        noted: list[Notes] = []

        def tried(state: State, tasks: Tasks, own: Tree) -> dict[str, Tensor]:
            episodes = vmap(lambda task: self.episode(task, test=False))(tasks)
            given = {"state": state, "episodes": episodes}
            before = boundary.copied(given)
            net = self.net_of(state, own, shared)
            after = self.strategy.meta_step(net, state, episodes, progress)
            boundary.check_state(self.strategy, "meta_step", after, state)
            boundary.check_no_log(self.strategy, "meta_step", after)
            noted.append(net.notes)
            return boundary.changed(given, before)

        marks = vmap(tried)(self.state, tasks, own)
        boundary.check_unchanged(self.strategy, "meta_step", marks)
        # Under `vmap` the counts are those of a single task.
        tasks_per_step = tasks.x.shape[1]
        counts = noted[0]
        counts.forward *= tasks_per_step
        counts.backward *= tasks_per_step
        return counts

    def trial_inputs(self) -> tuple[Tasks, Tensor, Tree, Tree]:
        tasks = self.draw("train", self.benchmark.meta_batch_size, "probe")
        return tasks, self._progress(), self.own, self.shared

    def expected_steps(self) -> int:
        return self.benchmark.iterations

    def _trial_steps(self) -> Iterator[Callable[[], object]]:
        return (partial(self._advanced, tasks) for tasks in self._batches())

    def _advanced(self, tasks: Tasks) -> State:
        """The state after a meta-step on a meta-batch."""
        after: State = self._step(self.state, tasks, self._progress(), self.own, self.shared)
        return after

    def constants(self) -> tuple[object, ...]:
        """Constants of a compiled step other than settings and the form of the state."""
        source = self.sources[0]
        tasks, *_ = self.trial_inputs()
        return (
            source.scale,
            repr(source.channels),
            source.support(self.shots[False]),
            source.remembered,
            signature((tasks, self.own, self.shared)),
            self.stream.settings() if self.stream else None,
        )

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
            self.carried = self._advanced(tasks)
            self.done += 1
            # Axes are replicate, task and example.
            self.seen += tasks.x.shape[1] * tasks.x.shape[2]
            progress(1)

    def snapshot(self) -> Snapshot:
        """Everything that has changed since the start."""
        return {"carried": self.carried, "done": self.done, "seen": self.seen}

    def restore(self, snapshot: Snapshot) -> None:
        """Put back a snapshot."""
        self.carried = snapshot["carried"]
        self.done = snapshot["done"]
        self.seen = snapshot["seen"]
        self.batches = self._batches(self.done)

    def queries_per_task(self) -> int:
        """Number of queries of a test or validation task."""
        groups = 1 if self.regression else self.sources[0].outputs
        return self.queries[True] * groups

    def state_bytes(self) -> int:
        """Bytes of optimiser slots and learned rates, per replicate, without the model."""
        model = self.net.model_params(self.state.params)
        learned = self.state.params.items()
        others = {name: value for name, value in learned if name not in model}
        return self.bytes_per_replicate((self.state.slots, others))

    def finite(self) -> np.ndarray:
        """For each replicate, True if every learned number is finite."""
        return np.asarray(finite(self.state.params).cpu().numpy())
