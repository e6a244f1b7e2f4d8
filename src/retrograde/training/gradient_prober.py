"""Probing the gradients of all tasks while a learner goes along a stream, without disturbing it."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from retrograde.gradients import simpson
from retrograde.interface.batch import Batch
from retrograde.optim import Params
from retrograde.records.account import Account
from retrograde.records.gradient_probe import Probe, rounded
from retrograde.streams.schedule import probe_rows
from retrograde.streams.stream import Stream
from retrograde.training.backend import Backend
from retrograde.training.clocks import Clocks

PerTask = Float[Tensor, "replicate task"]
DIGITS = 6
"""Significant digits of an account, whose differences are much smaller than its numbers."""


class Look(NamedTuple):
    """Losses, gradients and parameters at one moment; gradients of the two halves of a task stand side by side."""

    loss: PerTask
    norm: PerTask  # lengths of gradients, free of sampling noise
    halves: Params  # of each parameter tensor: (replicate, 2 * task, number)
    params: Params

    def of(self, tasks: int) -> "Look":
        """The look at the first tasks alone."""
        halves = {name: each[:, : 2 * tasks] for name, each in self.halves.items()}
        return Look(self.loss[:, :tasks], self.norm[:, :tasks], halves, self.params)


class _Window(NamedTuple):
    """The numbers that one window, from look to look, adds to the account."""

    length: Float[Tensor, " replicate"]
    slope: PerTask
    interference: PerTask
    exposure: PerTask
    loss: PerTask  # at its end


class _Books:
    """The account of the task in training, for all replicates."""

    def __init__(self, start: Look) -> None:
        self.before = self.after = start.loss
        self.slope, self.interference, self.exposure = (
            torch.zeros_like(start.loss) for _ in range(3)
        )
        self.windows = start.loss.new_zeros(len(start.loss))
        self.length = start.loss.new_zeros(len(start.loss))

    def book(self, window: _Window) -> None:
        """Add a window."""
        self.slope = self.slope + window.slope
        self.interference = self.interference + window.interference
        self.exposure = self.exposure + window.exposure
        self.length = self.length + window.length
        self.windows = self.windows + (
            window.length > 0
        )  # a replicate that waits for others does not move
        self.after = window.loss

    def finite(self, replicate: int) -> bool:
        """True if every number of a replicate is finite."""
        numbers = (self.before, self.after, self.slope, self.interference, self.exposure)
        return all(bool(each[replicate].isfinite().all()) for each in numbers)

    def account(self, task: int, replicate: int) -> Account:
        """The account of one replicate."""
        curvature = self.interference - self.slope
        numbers = (self.before, self.after, self.slope, curvature, self.exposure)
        (length,) = rounded(self.length[replicate, None], DIGITS)
        exact = (rounded(each[replicate], DIGITS) for each in numbers)
        return Account(task, int(self.windows[replicate]), length, *exact)


class Prober:
    """Compares the gradients of the tasks at every task's end, and keeps an account of the losses of earlier ones.

    Within a task the gradients of the earlier ones are taken every `probe_every` steps of the
    benchmark's pace; with 0 the window of the account is a whole task. A strategy with a pace of its
    own, such as one step for each example, takes as many steps in a window as see the same arrivals,
    so that paths of different strategies can be compared.

    The prober holds two gradients of each earlier task and replicate, at two moments. A model that
    keeps running statistics has no account: these move the loss too, and no gradient says how far.
    """

    def __init__(
        self, backend: Backend, streams: list[Stream], seeds: list[int], clocks: Clocks
    ) -> None:
        benchmark = backend.benchmark
        self.backend, self.clocks = backend, clocks
        self.every = backend.schedule.steps_like(benchmark, benchmark.probe_every)
        self.probes: list[list[Probe]] = [[] for _ in streams]
        self.accounts: list[list[Account]] = [[] for _ in streams]
        self.sound = [True for _ in streams]  # every loss and gradient was finite so far
        self.tasks = len(streams[0].tasks) if benchmark.probe else 0
        self.task = self.step = self.within = (
            0  # the steps are those of the stream so far, and of the task
        )
        self.last: Look | None = None
        self.books: _Books | None = None
        if self.tasks:
            rows = np.stack(
                [
                    probe_rows(s, benchmark.probe, seed)
                    for s, seed in zip(streams, seeds, strict=True)
                ]
            )
            self.examples = backend.examples(rows.reshape(len(rows), -1, *rows.shape[3:]))
            count = self.examples.weight.sum(-1).reshape(len(rows), self.tasks, 2)
            self.share = count / count.sum(-1, keepdim=True)  # of each half in a task's loss

    def advance(self, steps: int) -> None:
        """Count steps of training, and take the gradients of earlier tasks where that is due."""
        self.step += steps
        self.within += steps
        if self.every and self.task and self.within % self.every == 0:
            with self.clocks("probe"):
                self._book(self._look(self.task))

    def end_task(self) -> None:
        """Probe the tasks so far and the next one, close the account of the task that ends, and move on."""
        with self.clocks("probe"):
            look = self._look(min(self.task + 2, self.tasks))
            self._book(look and look.of(self.task))
            self._close()
            if look:
                self._keep(look)
            self.last, self.task, self.within = look, self.task + 1, 0
            self.books = (
                _Books(look.of(self.task)) if look and not self.backend.keeps_statistics else None
            )

    def _look(self, tasks: int) -> Look | None:
        """Losses and gradients of the first tasks; nothing where there is nothing to see."""
        params = self.backend.parameters() if self.tasks else {}
        if not params:
            return None
        parts = Batch(*(each[:, : 2 * tasks] for each in self.examples))
        losses, gradients = self.backend.gradients(params, parts)
        halves = {name: each.flatten(2) for name, each in gradients.items()}
        loss = self._mean(losses, tasks)
        return Look(loss, _lengths(halves), halves, params)

    def _mean(self, of_halves: Float[Tensor, "replicate part"], tasks: int) -> PerTask:
        """The mean over all examples of each task, of means over its halves."""
        share = self.share[:, :tasks]
        return (of_halves.reshape(share.shape) * share).sum(-1)

    def _book(self, look: Look | None) -> None:
        """Add the window since the last look to the account; a path of which a piece is out of sight has none."""
        if look and self.last and self.books:
            self.books.book(self._window(self.last.of(self.task), look))
        self.last, self.books = look, self.books if look else None

    def _window(self, start: Look, end: Look) -> _Window:
        """Integrate the gradients from look to look by Simpson's rule, which takes those in the middle too."""
        displacement = {
            name: (now - start.params[name]).flatten(1) for name, now in end.params.items()
        }
        length = _total([(each**2).sum(-1) for each in displacement.values()]).sqrt()
        first, last = (
            self._mean(_along(each.halves, displacement), self.task) for each in (start, end)
        )
        middle = {name: (start.params[name] + now) / 2 for name, now in end.params.items()}
        _, gradients = self.backend.gradients(middle, self._whole_tasks())
        between = _along({name: each.flatten(2) for name, each in gradients.items()}, displacement)
        exposure = length[:, None] * (start.norm + end.norm) / 2
        return _Window(length, first, simpson(first, between, last), exposure, end.loss)

    def _whole_tasks(self) -> Batch:
        """The examples of the earlier tasks, both halves of each together."""
        count, rows = self.task, 2 * self.examples.weight.shape[2]
        whole = (
            each[:, : 2 * count].reshape(len(each), count, rows, *each.shape[3:])
            for each in self.examples
        )
        return Batch(*whole)

    def _close(self) -> None:
        """Keep the account of a task that had earlier ones."""
        if not self.books or not self.task:
            return
        for i, accounts in enumerate(self.accounts):
            self.sound[i] &= self.books.finite(i)
            if self.sound[i]:
                accounts.append(self.books.account(self.task, i))

    def _keep(self, look: Look) -> None:
        """Keep the inner products of all gradients."""
        grams = {layer: _gram(each) for layer, each in _by_layer(look.halves).items()}
        gram = _total([*grams.values()])
        inner, ceiling = _between_halves(gram), _ceilings(gram)
        last = self.task == self.tasks - 1
        layers = {layer: _between_halves(each) for layer, each in grams.items()} if last else {}
        for i, probes in enumerate(self.probes):
            self.sound[i] &= all(bool(each[i].isfinite().all()) for each in (look.loss, gram))
            if self.sound[i]:
                own = {layer: _triangle(each[i]) for layer, each in layers.items()}
                probes.append(
                    Probe(
                        self.task,
                        self.step,
                        rounded(look.loss[i]),
                        rounded(ceiling[i]),
                        _triangle(inner[i]),
                        own,
                    )
                )


def _by_layer(halves: Params) -> dict[str, list[Tensor]]:
    """The gradients of each module's parameters."""
    layers: dict[str, list[Tensor]] = {}
    for name, value in halves.items():
        layers.setdefault(name.rpartition(".")[0] or name, []).append(value)
    return layers


def _along(gradients: Params, displacement: Params) -> Float[Tensor, "replicate part"]:
    """The inner products of gradients with a displacement of the parameters."""
    return _total(
        [(gradients[name] @ each[..., None])[..., 0] for name, each in displacement.items()]
    )


def _total(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).sum(0)


def _gram(gradients: list[Tensor]) -> Float[Tensor, "replicate part part"]:
    """Inner products between all gradients, each given in parts."""
    return _total([each @ each.transpose(1, 2) for each in gradients])


def _between_halves(
    gram: Float[Tensor, "replicate part part"],
) -> Float[Tensor, "replicate task task"]:
    """Inner products of tasks, each the mean of those between different halves."""
    first, second = gram[:, 0::2, 1::2], gram[:, 1::2, 0::2]
    return (first + second) / 2


def _ceilings(gram: Float[Tensor, "replicate part part"]) -> PerTask:
    """The cosine between the gradients on the two halves of a task; 0 where one of them vanishes."""
    squares = gram.diagonal(dim1=1, dim2=2)
    lengths = (squares[:, 0::2] * squares[:, 1::2]).sqrt()
    between = _between_halves(gram).diagonal(dim1=1, dim2=2)
    return torch.where(lengths > 0, between / lengths, 0.0).clamp(-1, 1)


def _lengths(halves: Params) -> PerTask:
    """The length of each task's gradient: the square is the inner product of its halves, 0 where that is negative."""
    squares = [
        torch.einsum("rtn,rtn->rt", each[:, 0::2], each[:, 1::2]) for each in halves.values()
    ]
    return _total(squares).clamp(min=0).sqrt()


def _triangle(matrix: Float[Tensor, "task task"]) -> list[float]:
    row, column = torch.tril_indices(len(matrix), len(matrix))
    return rounded(matrix[row, column])
