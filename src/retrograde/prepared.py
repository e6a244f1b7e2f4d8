"""What strategies have in common that learn a model from held-out classes, and then the stream from there."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad

from retrograde.head import blank
from retrograde.net import Net, State, of_head
from retrograde.optim import Params
from retrograde.settings import Rate
from retrograde.strategy import Arrival, Lesson, Strategy


@dataclass(frozen=True, kw_only=True)
class Prepared(Strategy):
    """A rule that lowers `lesson_loss` before the stream, by steps of the benchmark's optimiser; then the head starts blank."""

    lr: Rate = 0.001  # along the stream
    meta_lr: Rate = 0.001  # before it
    moves: Literal["head", "all"] = "head"  # what the stream changes

    @abstractmethod
    def lesson_loss(self, net: Net, params: Params, lesson: Lesson) -> Float[Tensor, ""]:
        """What the preparation minimises, for one lesson."""

    def prepare(self, net: Net, state: State, lesson: Lesson) -> State:
        gradient = grad(lambda params: self.lesson_loss(net, params, lesson))(state.params)
        return net.descend(state, gradient, self.meta_lr)

    def begin(self, net: Net, state: State) -> State:
        return state.replace(params=blank(state.params))

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        moved = net.grad_of(state.params, arrival.new, of_head if self.moves == "head" else lambda _: True)
        still = {name: torch.zeros_like(value) for name, value in state.params.items() if name not in moved}
        return net.descend(state, still | moved, self.lr)
