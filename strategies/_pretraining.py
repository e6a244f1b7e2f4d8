"""Pretraining on held-out classes before the stream: the common part of its strategies."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from retrograde import (
    INNER,
    Episode,
    MetaStrategy,
    Net,
    Params,
    Rate,
    State,
    StepData,
    Strategy,
    of_head,
    reset_head,
)


@dataclass(frozen=True, kw_only=True)
class Trajectory(MetaStrategy):
    """Meta-learning on one trajectory at a time, whose loss is `task_loss`.

    If `resets_rows`, a step first sets the head's rows of the trajectory's classes to zero,
    permanently. Otherwise the features could come to fit these rows, and nothing would be left to
    learn. Javed and White's code does so too, with random rows.
    """

    resets_rows: bool = True

    def meta_step(self, net: Net, state: State, episodes: Episode, progress: Tensor) -> State:
        episode: Episode = pytree.tree_map(lambda value: value[0], episodes)
        params = state.params
        if self.resets_rows:
            params = reset_head(params, episode.support.y)
        gradient = net.grad_of_loss(
            lambda params: self.task_loss(net, params, episode, progress), params
        )
        # The reset is kept: the outer step starts from the parameters after it.
        return net.update(state.replace(params=params), gradient, self.meta_lr)


@dataclass(frozen=True, kw_only=True)
class HeadPretraining(Strategy):
    """Learn features before the stream, and along the stream a head that starts from zero.

    Pretraining uses the benchmark's optimiser. The stream is learned with an optimiser of the
    strategy's own, since features that were pretrained for plain steps may do best with them.
    """

    optimizer: Literal["sgd", "momentum", "adam"] = "adam"  # along the stream
    lr: Rate = 0.001  # along the stream
    meta_lr: Rate = 0.001  # of the pretraining steps
    trainable: Literal["head", "all"] = "head"  # the parameters that the stream changes

    @abstractmethod
    def pretraining(self) -> MetaStrategy: ...

    def start(self, net: Net, params: Params) -> State:
        params = reset_head(params)
        return State(params, INNER[self.optimizer].init(params), {})

    def learns(self, name: str) -> bool:
        """True if the stream changes the parameter of that name."""
        return self.trainable == "all" or of_head(name)

    def step(self, net: Net, state: State, data: StepData) -> State:
        gradient = net.grad(state.params, data.incoming, only=self.learns)
        zeros = {
            name: torch.zeros_like(value)
            for name, value in state.params.items()
            if name not in gradient
        }
        optimizer = INNER[self.optimizer]
        params, slots = optimizer.update(state.params, zeros | gradient, state.slots, self.lr)
        return state.replace(params=params, slots=slots)
