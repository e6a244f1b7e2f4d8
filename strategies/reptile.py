"""Reptile: move towards the parameters after training on a task."""

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
"""Adam without momentum, as in the authors' code."""


@dataclass(frozen=True, kw_only=True)
class Reptile(MetaStrategy):
    """Reptile (Nichol et al. 2018, arXiv 1803.02999).

    Trains on each task for some steps, and moves part of the way towards the result. A task's
    support and query are one training set, taken in mini-batches in turn. The outer step falls
    linearly to 0. The authors keep Adam's moments from task to task, and shuffle at each pass; here
    every task starts with moments of 0, and the order is fixed.
    """

    uses_meta_optimizer: ClassVar[bool] = False

    inner_optimizer: Literal["sgd", "momentum", "adam"] = "adam"  # of the inner steps
    inner_lr: Rate = 0.001
    meta_lr: Rate = 1.0  # the first outer step, as a share of the way to the result
    inner_steps: Steps = 5  # inner steps while meta-training
    test_steps: Steps = 50
    inner_batch: Limit = 10  # examples per inner step; 0: all

    def build_inner_optimizer(self) -> Optimizer:
        return ADAM if self.inner_optimizer == "adam" else super().build_inner_optimizer()

    def inner_step(
        self, net: Net, meta_params: Params, fast: State, support: Batch, step: int
    ) -> State:
        count = len(support.x)
        size = min(self.inner_batch or count, count)
        # Mini-batches go around the training set.
        places = torch.arange(size, device=support.x.device) + step * size
        rows = places % count
        gradient = net.grad(fast.params, support.at(rows))
        return self.inner_update(fast, gradient)

    def meta_step(self, net: Net, state: State, episodes: Episode, progress: Tensor) -> State:
        def displacement(episode: Episode) -> Params:
            examples = episode.combined()
            end = self.adapt(net, state.params, examples, self.inner_steps)
            return {name: start - end[name] for name, start in state.params.items()}

        # Start minus end takes the place of the meta-gradient.
        displacements = vmap(displacement)(episodes)
        mean = {name: value.mean(0) for name, value in displacements.items()}
        lr = self.meta_lr * (1 - progress)
        params = sgd(state.params, self.clip_gradient(mean), lr)
        return state.replace(params=params)
