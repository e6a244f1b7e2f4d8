"""What strategies have in common that learn a model from held-out classes, and then the stream from there."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad

from retrograde import INNER, Arrival, Lesson, Net, Params, Rate, State, Strategy, of_head

from ._head import blank


@dataclass(frozen=True, kw_only=True)
class Prepared(Strategy):
    """A rule that lowers `lesson_loss` before the stream, by the benchmark's optimiser; then the head starts blank.

    The stream is learned with an optimiser of its own: what was prepared for plain steps may do best with them.

    Where a rule `resets`, a class's row of the head becomes zero, for good, when a lesson's trajectory has the class: else the
    features could come to fit the row, and nothing would be left to learn. So in Javed and White's code, with random rows.
    """

    resets: ClassVar[bool] = True

    optimizer: Literal["sgd", "momentum", "adam"] = "adam"  # along the stream
    lr: Rate = 0.001  # along the stream
    meta_lr: Rate = 0.001  # before it
    moves: Literal["head", "all"] = "head"  # what the stream changes

    @abstractmethod
    def lesson_loss(self, net: Net, params: Params, lesson: Lesson) -> Float[Tensor, ""]:
        """What the preparation minimises, for one lesson, after any reset."""

    def prepare(self, net: Net, state: State, lesson: Lesson) -> State:
        params = blank(state.params, lesson.trajectory.y) if self.resets else state.params
        gradient = grad(lambda params: self.lesson_loss(net, params, lesson))(params)
        return net.descend(state.replace(params=params), gradient, self.meta_lr)

    def begin(self, net: Net, state: State) -> State:
        params = blank(state.params)
        return state.replace(params=params, slots=INNER[self.optimizer].init(params))

    def learns(self, name: str) -> bool:
        """Whether the stream changes a parameter."""
        return self.moves == "all" or of_head(name)

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        moved = net.grad_of(state.params, arrival.new, self.learns)
        still = {
            name: torch.zeros_like(value)
            for name, value in state.params.items()
            if name not in moved
        }
        params, slots = INNER[self.optimizer].update(
            state.params, still | moved, state.slots, self.lr
        )
        return state.replace(params=params, slots=slots)
