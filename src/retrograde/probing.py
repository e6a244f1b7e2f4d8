"""Looking at the gradients of all tasks while a learner goes along a stream, without disturbing it."""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from retrograde.clocks import Clocks
from retrograde.evaluation import Backend
from retrograde.optim import Params
from retrograde.probe import Probe, rounded
from retrograde.schedule import probe_rows
from retrograde.stream import Stream

Layers = dict[str, Tensor]
"""Numbers of each layer, flattened along the last axis; the first one is the replicate."""


class _Look(NamedTuple):
    loss: Float[Tensor, "replicate task"]
    gradients: Layers  # (replicate, task, number)
    params: Layers  # (replicate, number)


class Prober:
    """Compares the gradients of the tasks so far at every task's end and, where the benchmark asks, amid it."""

    def __init__(self, backend: Backend, streams: list[Stream], seeds: list[int], clocks: Clocks) -> None:
        benchmark = backend.benchmark
        self.backend, self.clocks, self.every = backend, clocks, benchmark.probe_every
        self.tasks = len(streams[0].tasks) if benchmark.probe else 0
        self.rows = [
            np.stack([probe_rows(s, task, benchmark.probe, seed) for s, seed in zip(streams, seeds, strict=True)])
            for task in range(self.tasks)
        ]
        self.probes: list[list[Probe]] = [[] for _ in streams]
        self.task = self.step = 0
        self.sound = [True for _ in streams]  # whether every loss and gradient was finite
        self.last: _Look | None = None
        self.before: _Look | None = None  # the look before the last one

    def advance(self, steps: int) -> None:
        """Count steps of training, and look where one is due."""
        self.step += steps
        if self.every and self.step % self.every == 0:
            self._look(self.task + 1, ended=False)

    def end_task(self) -> None:
        """Look at the end of a task, at the next one too; and move on to that."""
        if self.every and self.step % self.every == 0:
            self._forget()
        self._look(min(self.task + 2, self.tasks), ended=True)
        self.task += 1

    def _forget(self) -> None:
        """Take back a look amid the task at its very end: that of the end takes its place."""
        self.last = self.before
        for probes in self.probes:
            if probes and probes[-1].step == self.step:
                probes.pop()

    def _look(self, tasks: int, ended: bool) -> None:
        with self.clocks("probe"):
            params = self.backend.parameters()
            if not self.tasks or not params:
                return
            found = [self.backend.gradient(torch.from_numpy(rows).to(_device(params))) for rows in self.rows[:tasks]]
            gradients = [_by_layer(gradient) for _, gradient in found]
            stacked = {layer: torch.stack([each[layer] for each in gradients], 1) for layer in gradients[0]}
            look = _Look(torch.stack([loss for loss, _ in found], 1), stacked, _by_layer(params))
            self._keep(look, ended)
            self.before, self.last = self.last, look

    def _keep(self, look: _Look, ended: bool) -> None:
        grams = {layer: gradient @ gradient.transpose(1, 2) for layer, gradient in look.gradients.items()}
        gram = torch.stack(list(grams.values())).sum(0)
        norm, cosines = gram.diagonal(dim1=1, dim2=2).sqrt(), _cosines(gram)
        last = ended and self.task == self.tasks - 1
        layers = {layer: _cosines(each) for layer, each in grams.items()} if last else {}
        update, predicted = self._update(look)
        for i, probes in enumerate(self.probes):
            self.sound[i] &= all(bool(each[i].isfinite().all()) for each in (look.loss, gram, update))
            if self.sound[i]:
                own = {layer: _triangle(each[i]) for layer, each in layers.items()}
                probes.append(
                    Probe(
                        self.task, self.step, ended, rounded(look.loss[i]), rounded(norm[i]), _triangle(cosines[i]),
                        own, _decimals(update[i]), rounded(predicted[i]),
                    )
                )  # fmt: skip

    def _update(self, look: _Look) -> tuple[Float[Tensor, "replicate task"], Float[Tensor, "replicate task"]]:
        """Of each earlier task: minus the cosine between the step taken and the gradient where it began; and their product."""
        if not self.last or not self.task:
            return look.loss[:, :0], look.loss[:, :0]
        steps = {layer: now - self.last.params[layer] for layer, now in look.params.items()}
        before = {layer: gradient[:, : self.task] for layer, gradient in self.last.gradients.items()}
        inner = _total({layer: (before[layer] @ step[..., None])[..., 0] for layer, step in steps.items()})
        norm = _total({layer: (each**2).sum(-1) for layer, each in before.items()}).sqrt()
        length = _total({layer: (step**2).sum(-1, keepdim=True) for layer, step in steps.items()}).sqrt()
        return -_ratio(inner, norm * length), inner


def _device(params: Params) -> torch.device:
    return next(iter(params.values())).device


def _by_layer(params: Params) -> Layers:
    """The parameters of each module, one after the other."""
    parts = defaultdict(list)
    for name, value in params.items():
        parts[name.rpartition(".")[0] or name].append(value.flatten(1))
    return {layer: torch.cat(values, 1) for layer, values in parts.items()}


def _total(of_layers: Layers) -> Tensor:
    return torch.stack(list(of_layers.values())).sum(0)


def _ratio(inner: Tensor, lengths: Tensor) -> Tensor:
    """A cosine; 0 where one of the two vectors vanishes."""
    return torch.where(lengths > 0, inner / lengths.clamp(min=torch.finfo(lengths.dtype).tiny), 0.0).clamp(-1, 1)


def _cosines(gram: Float[Tensor, "replicate task task"]) -> Float[Tensor, "replicate task task"]:
    norm = gram.diagonal(dim1=1, dim2=2).sqrt()
    return _ratio(gram, norm[:, :, None] * norm[:, None, :])


def _triangle(matrix: Float[Tensor, "task task"]) -> list[float]:
    below = torch.tril_indices(len(matrix), len(matrix), -1)
    return _decimals(matrix[below[0], below[1]])


def _decimals(values: Tensor) -> list[float]:
    return [round(value, 4) + 0.0 for value in values.tolist()]
