"""Joint training: all tasks so far together."""

from dataclasses import dataclass
from typing import ClassVar

from retrograde import Net, Rate, Schedule, State, StepData, Strategy


@dataclass(frozen=True)
class Joint(Strategy):
    """Joint training on all tasks so far: the upper bound.

    Every task starts from the initial weights, unless `warm_start`.
    """

    upper_bound: ClassVar[bool] = True

    lr: Rate = 0.1
    warm_start: bool = False  # True: a task starts from the weights of the one before

    def schedule(self) -> Schedule:
        return Schedule("all so far", reinitialise=not self.warm_start)

    def step(self, net: Net, state: State, data: StepData) -> State:
        return net.update(state, net.grad(state.params, data.incoming), self.lr)
