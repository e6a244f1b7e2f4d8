"""MAML++: a loss after every inner step, and learned rates for every layer and step."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from retrograde import Batch, Episode, MetaStrategy, Net, Params, Share, State, Steps

RATES = "rates of "
"""The prefix of a parameter's learned rates, one for each inner step."""
MIN_WEIGHT = 0.03
"""The share of its first weight that an earlier step's loss keeps during annealing.

As in the authors' code.
"""


@dataclass(frozen=True, kw_only=True)
class MAMLpp(MetaStrategy):
    """MAML with the multi-step loss and rates of MAML++ (Antoniou et al. 2019, arXiv 1810.09502).

    Rates are learned per layer and step. The query's loss after every inner step counts, at first
    equally. Over the first part of meta-training, `anneal`, the weight moves to the last step: at
    every iteration, not at every epoch as in the authors' code. Steps at test beyond those of
    meta-training use the last step's rates. The paper's other changes (statistics per step,
    annealed order and outer rate) are left out.
    """

    inner_optimizer: Literal["sgd"] = "sgd"
    inner_steps: Steps = 5  # inner steps while meta-training
    anneal: Share = 0.1  # the part of meta-training after which only the last step's loss counts
    learn_lr: bool = True  # learn a rate for each parameter and inner step
    first_order: bool = False

    def meta_params(self, net: Net, params: Params) -> Params:
        if not self.learn_lr:
            return params
        count = max(1, self.inner_steps)
        rates = {
            RATES + name: value.new_full((count,), self.inner_lr) for name, value in params.items()
        }
        return params | rates

    def inner_step(
        self, net: Net, meta_params: Params, fast: State, support: Batch, step: int
    ) -> State:
        gradient = net.grad(fast.params, support, constant=self.first_order)
        last = max(1, self.inner_steps) - 1

        def rate(name: str) -> Tensor | float:
            if not self.learn_lr:
                return self.inner_lr
            return meta_params[RATES + name][min(step, last)]

        params = {name: value - rate(name) * gradient[name] for name, value in fast.params.items()}
        return fast.replace(params=params)

    def task_loss(
        self, net: Net, meta_params: Params, episode: Episode, progress: Tensor
    ) -> Tensor:
        fast = self.start_adaptation(net, meta_params)
        if not self.inner_steps:
            return net.loss(fast.params, episode.query)
        losses = []
        for step in range(self.inner_steps):
            fast = self.inner_step(net, meta_params, fast, episode.support, step)
            losses.append(net.loss(fast.params, episode.query))
        return (self.weights(progress) * torch.stack(losses)).sum()

    def weights(self, progress: Tensor) -> Tensor:
        """The weight of each step's loss; they sum to 1.

        All but the last fall linearly from 1/steps to no less than 0.03/steps, and are 0 after
        `anneal`.

        Args:
            progress: the share of meta-training that is over, from 0 to below 1.
        """
        falling = (1 - progress / self.anneal).clamp(min=MIN_WEIGHT) / self.inner_steps
        others = torch.where(progress < self.anneal, falling, 0.0)
        last = 1 - (self.inner_steps - 1) * others
        return torch.stack([*[others] * (self.inner_steps - 1), last])
