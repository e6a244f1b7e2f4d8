"""Meta-SGD: MAML with learned inner learning rates."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from retrograde import Batch, Episode, MetaStrategy, Net, Params, State, Steps

RATE = "rate of "
"""The prefix of a parameter's learned rates."""


@dataclass(frozen=True, kw_only=True)
class MetaSGD(MetaStrategy):
    """MAML with a learned inner rate for every parameter (Li et al. 2017, arXiv 1707.09835).

    The rates are learned together with the initial parameters. They start at `inner_lr`; a rate
    that falls below 0 ascends its gradient, as in the paper.
    """

    inner_optimizer: Literal["sgd"] = "sgd"
    inner_steps: Steps = 1  # inner steps while meta-training
    test_steps: Steps = 1
    first_order: bool = False
    frozen_lr: bool = False  # True: the rates keep their initial values

    def meta_params(self, net: Net, params: Params) -> Params:
        rates = {
            RATE + name: torch.full_like(value, self.inner_lr) for name, value in params.items()
        }
        return params | rates

    def inner_step(
        self, net: Net, meta_params: Params, fast: State, support: Batch, step: int
    ) -> State:
        gradient = net.grad(fast.params, support, constant=self.first_order)
        rates = {name: meta_params[RATE + name] for name in gradient}
        if self.frozen_lr:
            rates = {name: rate.detach() for name, rate in rates.items()}
        params = {name: value - rates[name] * gradient[name] for name, value in fast.params.items()}
        return fast.replace(params=params)

    def task_loss(
        self, net: Net, meta_params: Params, episode: Episode, progress: Tensor
    ) -> Tensor:
        adapted = self.adapt(net, meta_params, episode.support, self.inner_steps)
        return net.loss(adapted, episode.query)
