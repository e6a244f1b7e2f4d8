"""Gradient probes of all tasks while a learner learns a stream, without changing the learner."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retrograde.gradients import simpson
from retrograde.interface.batch import Batch
from retrograde.optim import Params
from retrograde.records.account import Account
from retrograde.records.gradient_probe import GradientProbe, rounded
from retrograde.streams.rows import Rows
from retrograde.streams.schedule import probe_rows
from retrograde.streams.stream import Stream
from retrograde.training.backend import Backend
from retrograde.training.clocks import Clocks

PerTask = Float[Tensor, "replicate task"]
DIGITS = 6
"""Significant digits of an account.

The differences between its numbers are much smaller than the numbers.
"""


class ProbeGradients(NamedTuple):
    """Losses, gradients and parameters at one moment.

    Attributes:
        loss: Mean loss of each task.
        norm: Lengths of the tasks' gradients, estimated without sampling noise.
        halves: Gradients for each parameter tensor, of shape (replicate, 2 * task, number). The
            two halves of a task's examples are neighbours.
        params: The parameters.
    """

    loss: PerTask
    norm: PerTask
    halves: Params
    params: Params

    def of(self, tasks: int) -> "ProbeGradients":
        """The losses and gradients of the first tasks alone."""
        halves = {name: gradient[:, : 2 * tasks] for name, gradient in self.halves.items()}
        return ProbeGradients(
            self.loss[:, :tasks],
            self.norm[:, :tasks],
            halves,
            self.params,
        )


class _Window(NamedTuple):
    """Contributions of one window, between two probes, to the account; see `Account`.

    Attributes:
        length: Length of the displacement of the parameters.
        slope: Change of the loss to first order.
        interference: Integral of the gradient along the displacement.
        exposure: Mean length of the gradients times that of the displacement.
        loss: Loss at the end of the window.
    """

    length: Float[Tensor, " replicate"]
    slope: PerTask
    interference: PerTask
    exposure: PerTask
    loss: PerTask


class _Books:
    """The account of the task in training, for all replicates."""

    def __init__(self, start: ProbeGradients) -> None:
        loss = start.loss
        self.before = loss
        self.after = loss
        self.slope = torch.zeros_like(loss)
        self.interference = torch.zeros_like(loss)
        self.exposure = torch.zeros_like(loss)
        self.windows = loss.new_zeros(len(loss))
        self.length = loss.new_zeros(len(loss))

    def book(self, window: _Window) -> None:
        """Add a window."""
        self.slope = self.slope + window.slope
        self.interference = self.interference + window.interference
        self.exposure = self.exposure + window.exposure
        self.length = self.length + window.length
        # A replicate that waits for others does not move and has no window.
        self.windows = self.windows + (window.length > 0)
        self.after = window.loss

    def finite(self, replicate: int) -> bool:
        """True if every number of a replicate is finite."""
        numbers = (self.before, self.after, self.slope, self.interference, self.exposure)
        return all(bool(number[replicate].isfinite().all()) for number in numbers)

    def account(self, task: int, replicate: int) -> Account:
        """The account of one replicate.

        Args:
            task: The task in training.
            replicate: The number of the replicate.
        """

        def exact(numbers: PerTask) -> list[float]:
            return rounded(numbers[replicate], DIGITS)

        (length,) = exact(self.length[:, None])
        return Account(
            task=task,
            windows=int(self.windows[replicate]),
            length=length,
            before=exact(self.before),
            after=exact(self.after),
            slope=exact(self.slope),
            curvature=exact(self.interference - self.slope),
            exposure=exact(self.exposure),
        )


class GradientProber:
    """Compares the gradients of all tasks at each task's end, and accounts for earlier losses.

    Within a task the gradients of earlier tasks are taken every `probe_every` steps of the
    benchmark's pace; with 0 a window of the account is a whole task. A strategy with a pace of its
    own, such as one step for each example, takes as many steps in a window as see the same incoming
    examples, so that paths of different strategies can be compared.

    The prober holds two gradients of each earlier task and replicate, at two moments. A model that
    keeps running statistics has no account: these change the loss too, and no gradient says how
    far.
    """

    carries = ("probes", "accounts", "finite", "task", "steps", "within")

    def __init__(
        self,
        backend: Backend,
        streams: list[Stream],
        seeds: list[int],
        clocks: Clocks,
    ) -> None:
        benchmark = backend.benchmark
        self.backend = backend
        self.clocks = clocks
        self.every = backend.schedule.steps_like(benchmark, benchmark.probe_every)
        self.probes: list[list[GradientProbe]] = [[] for _ in streams]
        self.accounts: list[list[Account]] = [[] for _ in streams]
        self.finite = [True for _ in streams]  # every loss and gradient was finite so far
        # Gradients are compared between the tasks that experiences complete one by one.
        probed = benchmark.probe_examples and all(stream.learns_task_by_task for stream in streams)
        self.tasks = len(streams[0].tasks) if probed else 0
        self.task = 0
        self.steps = np.zeros(len(streams), np.int64)  # of each replicate since the stream began
        self.within = 0  # steps since the task began
        self.last: ProbeGradients | None = None
        self.books: _Books | None = None
        if self.tasks:
            self._choose_examples(streams, seeds)

    def _choose_examples(
        self,
        streams: list[Stream],
        seeds: list[int],
    ) -> None:
        per_task = self.backend.benchmark.probe_examples
        of_replicates = [
            probe_rows(stream, per_task, seed) for stream, seed in zip(streams, seeds, strict=True)
        ]
        rows = Rows.stack(of_replicates)
        replicates, _, _, size = rows.shape
        self.examples = self.backend.examples(rows.reshape(replicates, -1, size))
        weight = self.examples.weight.sum(-1)
        count = weight.reshape(replicates, self.tasks, 2)
        # Halves of an odd number of examples differ in size, and so in their share of the loss.
        self.share = count / count.sum(-1, keepdim=True)

    def begin_experience(self) -> None:
        """Begin a task's account anew if its parameters have another form than at the last probe.

        No path leads to parameters of other shapes, so that the account begins after the growth.
        """
        if self.last is None or _shapes(self.last.params) == _shapes(self.backend.parameters()):
            return
        with self.clocks("probe"):
            self.last = self._gradients(self.task)
            if self.books:
                self.books = _Books(self.last) if self.last else None

    def advance(self, steps: int) -> None:
        """Count steps of training, and take the gradients of earlier tasks if that is due."""
        self.within += steps
        # The first task has no earlier ones.
        if self.every and self.task and self.within % self.every == 0:
            with self.clocks("probe"):
                self._book(self._gradients(self.task))

    def end_experience(self, steps: Int64[np.ndarray, " replicate"]) -> None:
        """End a task: probe the tasks so far and the next one, and close the task's account.

        Args:
            steps: Steps of the task for each replicate. All take as many as the longest one does;
                the rest is padding.
        """
        self.steps = self.steps + steps
        with self.clocks("probe"):
            probed = self._so_far()
            self._book(probed and probed.of(self.task))
            self._close()
            if probed:
                self._keep(probed)
            self.task += 1
            self.within = 0
            self._open(probed)

    def _so_far(self) -> ProbeGradients | None:
        """The gradients of the tasks so far and the next one, at the end of a task."""
        # After the last task there is no next one.
        return self._gradients(min(self.task + 2, self.tasks))

    def see_next(self) -> None:
        """Probe the end of the latest task again, which had no next one before."""
        if not self.task:
            return
        self.task -= 1
        for probes in self.probes:
            if probes and probes[-1].task == self.task:
                probes.pop()
        with self.clocks("probe"):
            probed = self._so_far()
            if probed:
                self._keep(probed)
        self.task += 1

    def resume(self) -> None:
        """Take again the gradients that the account of the next task begins with."""
        if self.task:
            with self.clocks("probe"):
                self._open(self._gradients(min(self.task + 1, self.tasks)))

    def _open(self, probed: ProbeGradients | None) -> None:
        """Open the account of the next task."""
        self.last = probed
        self.books = None
        if probed and not self.backend.keeps_statistics:
            self.books = _Books(probed.of(self.task))

    def _gradients(self, tasks: int) -> ProbeGradients | None:
        """Losses and gradients of the first tasks; None without probes or parameters."""
        params = self.backend.parameters() if self.tasks else {}
        # A learner may train another model than the one that it was given.
        if not params:
            return None
        parts = self.examples.map(lambda column: column[:, : 2 * tasks])
        losses, gradients = self.backend.gradients(params, parts)
        halves = _as_rows(gradients, 2)
        loss = self._mean(losses, tasks)
        return ProbeGradients(loss, _lengths(halves), halves, params)

    def _mean(
        self,
        of_halves: Float[Tensor, "replicate part"],
        tasks: int,
    ) -> PerTask:
        """The mean over all examples of each task, from the means over its halves."""
        share = self.share[:, :tasks]
        return (of_halves.reshape(share.shape) * share).sum(-1)

    def _book(self, probed: ProbeGradients | None) -> None:
        """Add the window since the last probe to the account.

        Without gradients the account ends, since a piece of the path is unknown.
        """
        if probed and self.last and self.books:
            start = self.last.of(self.task)
            self.books.book(self._window(start, probed))
        self.last = probed
        if probed is None:
            self.books = None

    def _window(self, start: ProbeGradients, end: ProbeGradients) -> _Window:
        """Integrate gradients along the straight line between two probes, by Simpson's rule."""
        pairs = {name: (start.params[name], now) for name, now in end.params.items()}
        displacement = _as_rows({name: now - before for name, (before, now) in pairs.items()}, 1)
        # The rule needs the gradient at the middle, where the learner has never been.
        middle = {name: (before + now) / 2 for name, (before, now) in pairs.items()}
        squares = [(vector**2).sum(-1) for vector in displacement.values()]
        length = _total(squares).sqrt()
        first = self._mean(_along(start.halves, displacement), self.task)
        last = self._mean(_along(end.halves, displacement), self.task)
        _, gradients = self.backend.gradients(middle, self._whole_tasks())
        between = _along(_as_rows(gradients, 2), displacement)
        exposure = length[:, None] * (start.norm + end.norm) / 2
        return _Window(
            length,
            first,
            simpson(first, between, last),
            exposure,
            end.loss,
        )

    def _whole_tasks(self) -> Batch:
        """The examples of the earlier tasks, both halves of each combined."""
        tasks = self.task
        rows = 2 * self.examples.weight.shape[2]
        return self.examples.map(
            lambda column: column[:, : 2 * tasks].reshape(
                len(column), tasks, rows, *column.shape[3:]
            )
        )

    def _close(self) -> None:
        """Keep the account of the task, if there are earlier tasks."""
        if not self.books or not self.task:
            return
        for i, accounts in enumerate(self.accounts):
            self.finite[i] &= self.books.finite(i)
            if self.finite[i]:
                accounts.append(self.books.account(self.task, i))

    def _keep(self, probed: ProbeGradients) -> None:
        """Keep the inner products of all gradients."""
        by_layer = _by_layer(probed.halves)
        grams = {layer: _gram(gradients) for layer, gradients in by_layer.items()}
        gram = _total([*grams.values()])
        inner = _between_halves(gram)
        ceiling = _ceilings(gram)
        layers: Params = {}
        # Inner products by layer are recorded once, at the end of the stream.
        if self.task == self.tasks - 1:
            layers = {layer: _between_halves(of_layer) for layer, of_layer in grams.items()}
        for i, probes in enumerate(self.probes):
            finite = probed.loss[i].isfinite().all() and gram[i].isfinite().all()
            self.finite[i] &= bool(finite)
            # A replicate that diverged once has no further probes.
            if not self.finite[i]:
                continue
            probe = GradientProbe(
                self.task,
                int(self.steps[i]),
                rounded(probed.loss[i]),
                rounded(ceiling[i]),
                _triangle(inner[i]),
                {layer: _triangle(of_layer[i]) for layer, of_layer in layers.items()},
            )
            probes.append(probe)


def _as_rows(tensors: Params, axes: int) -> Params:
    """Tensors whose axes after the first `axes` are one; a single number has none of its own."""
    return {name: value.reshape(*value.shape[:axes], -1) for name, value in tensors.items()}


def _shapes(params: Params) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in params.items()}


def _by_layer(halves: Params) -> dict[str, list[Tensor]]:
    """Gradients grouped by module."""
    layers: dict[str, list[Tensor]] = {}
    for name, gradient in halves.items():
        module, _, _ = name.rpartition(".")
        # A parameter of the model itself is a layer of its own.
        layer = module or name
        layers.setdefault(layer, []).append(gradient)
    return layers


def _along(
    gradients: Params,
    displacement: Params,
) -> Float[Tensor, "replicate part"]:
    """Inner products of gradients with a displacement of the parameters."""
    products = []
    for name, vector in displacement.items():
        product = gradients[name] @ vector[..., None]
        products.append(product[..., 0])
    return _total(products)


def _total(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).sum(0)


def _gram(gradients: list[Tensor]) -> Float[Tensor, "replicate part part"]:
    """Inner products between all gradients, each given in parts."""
    return _total([part @ part.transpose(1, 2) for part in gradients])


def _between_halves(
    gram: Float[Tensor, "replicate part part"],
) -> Float[Tensor, "replicate task task"]:
    """Inner products between tasks, each the mean over pairs of different halves.

    Different halves share no example, so that their product has no sampling noise on average.
    """
    first_second = gram[:, 0::2, 1::2]
    second_first = gram[:, 1::2, 0::2]
    return (first_second + second_first) / 2


def _ceilings(gram: Float[Tensor, "replicate part part"]) -> PerTask:
    """Cosines between the gradients on the two halves of each task; 0 if one of them is zero."""
    squares = gram.diagonal(dim1=1, dim2=2)
    first = squares[:, 0::2]
    second = squares[:, 1::2]
    lengths = (first * second).sqrt()
    between = _between_halves(gram).diagonal(dim1=1, dim2=2)
    cosines = torch.where(lengths > 0, between / lengths, 0.0)
    # Rounding can lead beyond 1.
    return cosines.clamp(-1, 1)


def _lengths(halves: Params) -> PerTask:
    """Length of each task's gradient.

    Its square is estimated by the inner product of the two halves, and as 0 if that is negative.
    """
    squares = []
    for gradient in halves.values():
        first = gradient[:, 0::2]
        second = gradient[:, 1::2]
        squares.append(torch.einsum("rtn,rtn->rt", first, second))
    return _total(squares).clamp(min=0).sqrt()


def _triangle(matrix: Float[Tensor, "task task"]) -> list[float]:
    """The entries on and below the diagonal, row by row."""
    row, column = torch.tril_indices(len(matrix), len(matrix))
    return rounded(matrix[row, column])
