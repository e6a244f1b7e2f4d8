"""Reptile: towards the parameters that training on a task leads to."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.func import vmap

from retrograde import (
    Batch,
    Episode,
    Limit,
    MetaStrategy,
    Net,
    Optimizer,
    Params,
    Rate,
    State,
    Steps,
    adam,
    sgd,
)

ADAM = adam(beta1=0.0)


@dataclass(frozen=True, kw_only=True)
class Reptile(MetaStrategy):
    """Train on each task for some steps, and move part of the way to where that led (Nichol et al. 2018, arXiv 1803.02999).

    A task's support and query are one training set, taken in mini-batches in turn. The outer step falls linearly to 0.
    The authors keep Adam's moments from task to task, and shuffle at each pass; here every task starts afresh, in one order.
    """

    descends: ClassVar[bool] = False

    optimizer: Literal["sgd", "momentum", "adam"] = (
        "adam"  # of the inner steps; Adam without momentum, as in the authors' code
    )
    lr: Rate = 0.001
    meta_lr: Rate = 1.0  # the first outer step: the part of the way
    steps: Steps = 5  # inner steps while meta-training
    test_steps: Steps = 50
    batch: Limit = 10  # examples of an inner step; 0: all

    def descent(self) -> Optimizer:
        return ADAM if self.optimizer == "adam" else super().descent()

    def inner(self, net: Net, learned: Params, fast: State, support: Batch, step: int) -> State:
        size = min(self.batch or len(support.x), len(support.x))
        rows = (torch.arange(size, device=support.x.device) + step * size) % len(support.x)
        return self.descended(fast, net.grad(fast.params, Batch(*(part[rows] for part in support))))

    def meta_step(self, net: Net, state: State, episodes: Episode, progress: Tensor) -> State:
        def way(episode: Episode) -> Params:
            end = self.adapted(net, state.params, episode.all(), self.steps)
            return {name: start - end[name] for name, start in state.params.items()}

        mean = {name: each.mean(0) for name, each in vmap(way)(episodes).items()}
        return state.replace(
            params=sgd(state.params, self.clipped(mean), self.meta_lr * (1 - progress))
        )
