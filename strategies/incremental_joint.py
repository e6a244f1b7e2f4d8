"""Incremental joint training: all tasks so far together, from the weights as they are."""

from dataclasses import dataclass
from typing import ClassVar

from retrograde import Arrival, Net, Rate, Schedule, State, Strategy


@dataclass(frozen=True)
class IncrementalJoint(Strategy):
    """Going on with all tasks so far, steps taking as many examples for each task (Hess et al. 2023, PMLR 249)."""

    upper_bound: ClassVar[bool] = True

    lr: Rate = 0.1

    def schedule(self) -> Schedule:
        return Schedule("all so far", widening=True)

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        return net.descend(state, net.grad(state.params, arrival.new), self.lr)
