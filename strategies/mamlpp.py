"""MAML++: a loss after every inner step, and learned rates for every layer and step."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from retrograde import Batch, Episode, MetaStrategy, Net, Params, Share, State, Steps

RATES = "rates of "
FLOOR = 0.03
"""The part of its first weight that an earlier step's loss keeps while weights are annealed, as in the authors' code."""


@dataclass(frozen=True, kw_only=True)
class MAMLpp(MetaStrategy):
    """MAML with the multi-step loss and the per-layer per-step rates of MAML++ (Antoniou et al. 2019, arXiv 1810.09502).

    The query's loss after every inner step counts, at first equally. Over the first part of
    meta-training, `anneal`, the weight moves to the last step: at every iteration, where the authors'
    code moves it at every epoch. Steps at test beyond those of meta-training use the last step's
    rates. The paper's other changes (statistics per step, annealed order and outer rate) are not in it.
    """

    optimizer: Literal["sgd"] = "sgd"
    steps: Steps = 5  # inner steps while meta-training
    anneal: Share = 0.1  # the part of meta-training after which the last step's loss counts alone
    learn_rates: bool = True
    first_order: bool = False

    def learned(self, net: Net, params: Params) -> Params:
        count = max(1, self.steps)
        rates = {RATES + name: value.new_full((count,), self.lr) for name, value in params.items()}
        return params | (rates if self.learn_rates else {})

    def inner(self, net: Net, learned: Params, fast: State, support: Batch, step: int) -> State:
        gradient = net.grad(fast.params, support, constant=self.first_order)

        def rate(name: str) -> Tensor | float:
            return (
                learned[RATES + name][min(step, max(1, self.steps) - 1)]
                if self.learn_rates
                else self.lr
            )

        return fast.replace(
            params={
                name: value - rate(name) * gradient[name] for name, value in fast.params.items()
            }
        )

    def task_loss(self, net: Net, learned: Params, episode: Episode, progress: Tensor) -> Tensor:
        fast = self.begin(net, learned)
        if not self.steps:
            return net.loss(fast.params, episode.query)
        losses = []
        for step in range(self.steps):
            fast = self.inner(net, learned, fast, episode.support, step)
            losses.append(net.loss(fast.params, episode.query))
        return (self.weights(progress) * torch.stack(losses)).sum()

    def weights(self, progress: Tensor) -> Tensor:
        """The weight of each step's loss; they sum to 1.

        All but the last fall linearly from 1/steps, to no less than 0.03/steps. After `anneal` they are 0.
        """
        falling = (1 - progress / self.anneal).clamp(min=FLOOR) / self.steps
        others = torch.where(progress < self.anneal, falling, 0.0)
        last = 1 - (self.steps - 1) * others
        return torch.stack([*[others] * (self.steps - 1), last])
