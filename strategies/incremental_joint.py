"""Incremental joint training: all tasks so far together, from the weights as they are."""

from dataclasses import dataclass
from typing import ClassVar

from retrograde.interface.net import Net
from retrograde.interface.state import State
from retrograde.interface.strategy import Arrival, Strategy
from retrograde.parts.fields import Rate
from retrograde.streams.schedule import Schedule


@dataclass(frozen=True)
class IncrementalJoint(Strategy):
    """Going on with all tasks so far, steps taking as many examples for each task (Hess et al. 2023, PMLR 249)."""

    upper_bound: ClassVar[bool] = True

    lr: Rate = 0.1

    def schedule(self) -> Schedule:
        return Schedule("all so far", widening=True)

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        return net.descend(state, net.grad(state.params, arrival.new), self.lr)
