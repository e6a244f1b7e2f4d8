"""Adaptation to new tasks: the inner steps at test, and measurements after each of them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import vmap
from torch.utils import _pytree as pytree

from retrograde.gradients import cosine, dot, simpson
from retrograde.interface.batch import Batch
from retrograde.interface.metastrategy import Episode
from retrograde.interface.net import Net
from retrograde.interface.state import State
from retrograde.optim import Params
from retrograde.records.few_shot import Fit
from retrograde.records.gradient_probe import rounded
from retrograde.training.episode_replicas import EpisodeReplicas, Tasks
from retrograde.training.replicas import Tree

CURVES = 2
"""Number of test tasks whose fits are kept, if tasks are curves."""
NUMBERS = {"cpu": 2_000_000, "cuda": 200_000_000}
"""Limit of the tasks that are measured at once, by device.

It counts the numbers in their examples and adapted parameters, of all replicates; activations come
on top.
"""


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


def measure(replicas: EpisodeReplicas, tasks: Tasks) -> Measured:
    """Adapt to tasks of meta-validation or meta-test, and measure after each inner step."""
    queries = replicas.queries_per_task()
    rows = 0
    if not replicas.benchmark.transductive:
        # Each query is passed with the whole support.
        support = tasks.x.shape[2] - queries
        rows = queries * (support + 1)
    found = _after_each_step(
        replicas,
        tasks,
        partial(_score, replicas),
        replicas.strategy.test_steps,
        rows=rows,
    )
    return Measured(*(part.transpose(1, 2).cpu() for part in found))


def _score(
    replicas: EpisodeReplicas,
    net: Net,
    params: Params,
    episode: Episode,
) -> tuple[Tensor, Tensor]:
    """Mean loss on the queries, and the number that is classified correctly."""
    query = episode.query
    outputs = _outputs(replicas, net, params, episode)
    correct = _correct(outputs, query)
    return net.losses(outputs, query.y).mean(), correct.sum()


def _outputs(
    replicas: EpisodeReplicas,
    net: Net,
    params: Params,
    episode: Episode,
) -> Float[Tensor, "row unit"]:
    """Outputs for the queries, in one pass if the benchmark is transductive."""
    if replicas.benchmark.transductive:
        return net.logits(params, episode.query.x)
    return _alone(replicas, net, params, episode)


def _alone(
    replicas: EpisodeReplicas,
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

    passes = _at_once(replicas, support.numel() + queries[0].numel())
    return vmap(outputs, chunk_size=passes)(queries)


def mean_cosines(
    replicas: EpisodeReplicas,
    tasks: Tasks,
    steps: int,
    test: bool = True,
) -> Float[Tensor, "replicate step"]:
    """Mean cosine between the gradients on support and query, after 0 to `steps` inner steps.

    Args:
        replicas: The replicates that adapt.
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

    cosines: Tensor = _after_each_step(replicas, tasks, align, steps, test)
    return cosines.mean(1).cpu()


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


def account_inner_steps(replicas: EpisodeReplicas, tasks: Tasks, steps: int) -> Booked:
    """Account of the query loss along the first inner steps on the support: see `InnerAccount`.

    Args:
        replicas: The replicates that adapt.
        tasks: The tasks over which the means are taken.
        steps: Number of inner steps.

    Returns:
        Numbers of shape (replicate, step).
    """

    def book(net: Net, learned: Params, tasks: Tasks) -> Booked:
        episode = replicas.episode(tasks, test=True)
        fast = replicas.strategy.start_adaptation(net, learned)
        windows = []
        for step in range(steps):
            after = replicas.strategy.inner_step(net, learned, fast, episode.support, step)
            windows.append(_booked(net, fast.params, after.params, episode.query))
            fast = after
        by_number = zip(*windows, strict=True)
        return Booked(*(torch.stack(steps) for steps in by_number))

    if not steps:
        nothing = torch.zeros(len(replicas.seeds), 0)
        return Booked(nothing, nothing, nothing, nothing)
    booked: Booked = _of_tasks(replicas, book, tasks)
    return Booked(*(part.mean(1).cpu() for part in booked))


def fit_curves(replicas: EpisodeReplicas, tasks: Tasks) -> list[list[Fit]]:
    """Fits of the first tasks after each inner step, if tasks are curves.

    Returns:
        A list for each replicate, with a fit for each task; empty if tasks are no curves.
    """
    first = Tasks(*(part[:, :CURVES] for part in tasks))
    curve = replicas.sources[0].curve(first.parameters[0].cpu().numpy())
    if curve is None:
        return [[] for _ in replicas.seeds]
    grid = torch.from_numpy(curve[0]).to(replicas.device)

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

    predicted, x, y = _after_each_step(replicas, first, predict, replicas.strategy.test_steps)
    fits: list[list[Fit]] = []
    for i, curves in enumerate(_true_curves(replicas, first)):
        fits.append([])
        for task, values in enumerate(curves):
            # The support is the same after every step.
            support = (x[i, task, 0], y[i, task, 0])
            fits[i].append(_fit(grid, values, support, predicted[i, task]))
    return fits


def _true_curves(replicas: EpisodeReplicas, tasks: Tasks) -> list[Tensor]:
    """Values of the true curves on the grid, for each replicate: (task, point, 1)."""
    source = replicas.sources[0]
    curves = (source.curve(of_replicate.cpu().numpy()) for of_replicate in tasks.parameters)
    return [torch.from_numpy(curve[1]) for curve in curves if curve is not None]


def _after_each_step(
    replicas: EpisodeReplicas,
    tasks: Tasks,
    measurement: Callable[[Net, Params, Episode], Any],
    steps: int,
    test: bool = True,
    rows: int = 0,
) -> Any:
    """Measurements of every replicate and task after 0, 1, ... inner steps.

    Args:
        replicas: The replicates that adapt.
        tasks: The tasks to adapt to.
        measurement: Takes the net, the adapted parameters and the episode; gives any tree of
            tensors.
        steps: Number of inner steps.
        test: True if the tasks have the shots and queries of testing.
        rows: See `_of_tasks`.

    Returns:
        The tree of `measurement`, with leading axes (replicate, task, step).
    """

    def adapt(net: Net, learned: Params, tasks: Tasks) -> Any:
        episode = replicas.episode(tasks, test)
        fast = replicas.strategy.start_adaptation(net, learned)
        found = [measurement(net, fast.params, episode)]
        for step in range(steps):
            fast = replicas.strategy.inner_step(net, learned, fast, episode.support, step)
            found.append(measurement(net, fast.params, episode))
        return pytree.tree_map(lambda *steps: torch.stack(steps), *found)

    return _of_tasks(replicas, adapt, tasks, rows)


def _of_tasks(
    replicas: EpisodeReplicas,
    one: Callable[[Net, Params, Tasks], Any],
    tasks: Tasks,
    rows: int = 0,
) -> Any:
    """Results of a function for every replicate and task, computed for some tasks at a time.

    Args:
        replicas: The replicates that adapt.
        one: A function of the net, the learned parameters and one task.
        tasks: The tasks of each replicate.
        rows: Number of a task's rows that `one` passes at once; 0 for all of them.

    Returns:
        The tree of `one`, with leading axes (replicate, task).
    """

    def of_replicate(state: State, own: Tree, tasks: Tasks) -> Any:
        net = replicas.net_of(state, own, replicas.shared)
        return vmap(lambda task: one(net, state.params, task))(tasks)

    params = replicas.net.model_params(replicas.state.params)
    adapted_numbers = sum(value[0].numel() for value in params.values())
    rows = rows or tasks.x.shape[2]
    example_numbers = rows * tasks.x[0, 0, 0].numel()
    size = _at_once(replicas, example_numbers + adapted_numbers)
    parts = []
    with torch.no_grad():
        for start in range(0, tasks.x.shape[1], size):
            some = Tasks(*(part[:, start : start + size] for part in tasks))
            parts.append(vmap(of_replicate)(replicas.state, replicas.own, some))
    return pytree.tree_map(lambda *chunks: torch.cat(chunks, dim=1), *parts)


def _at_once(replicas: EpisodeReplicas, numbers: int) -> int:
    """Number of tasks, or of passes, to measure at once if each takes so many numbers."""
    limit = NUMBERS[replicas.device.type]
    return max(1, limit // (len(replicas.seeds) * numbers))


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
