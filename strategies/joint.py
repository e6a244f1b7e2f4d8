"""Joint training: all tasks so far together."""

from dataclasses import dataclass
from typing import ClassVar

from retrograde import Arrival, Net, Rate, Schedule, State, Strategy


@dataclass(frozen=True)
class Joint(Strategy):
    """Joint training on all tasks so far: the upper bound.

    Every task starts from fresh weights, unless `carry_on`.
    """

    upper_bound: ClassVar[bool] = True

    lr: Rate = 0.1
    carry_on: bool = False

    def schedule(self) -> Schedule:
        return Schedule("all so far", fresh=not self.carry_on)

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        return net.descend(state, net.grad(state.params, arrival.new), self.lr)
