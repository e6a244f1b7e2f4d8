"""Pretraining on held-out classes before the stream: the common part of its strategies."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad

from retrograde import (
    INNER,
    Net,
    Params,
    PretrainingEpisode,
    Rate,
    State,
    StepData,
    Strategy,
    of_head,
)

from ._head import reset_head


@dataclass(frozen=True, kw_only=True)
class HeadPretraining(Strategy):
    """Minimise `pretraining_loss` before the stream, then reset the head.

    Pretraining uses the benchmark's optimiser. The stream is learned with an optimiser of the
    strategy's own, since features that were pretrained for plain steps may do best with them.

    If `resets_rows`, a pretraining step first sets the head's rows of the trajectory's classes to
    zero, permanently. Otherwise the features could come to fit these rows, and nothing would be
    left to learn. Javed and White's code does so too, with random rows.
    """

    resets_rows: ClassVar[bool] = True

    optimizer: Literal["sgd", "momentum", "adam"] = "adam"  # along the stream
    lr: Rate = 0.001  # along the stream
    meta_lr: Rate = 0.001  # of the pretraining steps
    trainable: Literal["head", "all"] = "head"  # the parameters that the stream changes

    @abstractmethod
    def pretraining_loss(
        self, net: Net, params: Params, episode: PretrainingEpisode
    ) -> Float[Tensor, ""]:
        """The loss of one pretraining episode, after any reset."""

    def pretrain_step(self, net: Net, state: State, episode: PretrainingEpisode) -> State:
        params = (
            reset_head(state.params, episode.trajectory.y) if self.resets_rows else state.params
        )
        gradient = grad(lambda params: self.pretraining_loss(net, params, episode))(params)
        # The reset is kept: the outer step starts from the parameters after it.
        return net.update(state.replace(params=params), gradient, self.meta_lr)

    def after_pretraining(self, net: Net, state: State) -> State:
        params = reset_head(state.params)
        slots = INNER[self.optimizer].init(params)
        return state.replace(params=params, slots=slots)

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
