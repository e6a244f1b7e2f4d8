"""Incremental joint training: all tasks so far together, from the current weights."""

from dataclasses import dataclass
from typing import ClassVar

from retrograde import Net, Rate, Schedule, State, StepData, Strategy


@dataclass(frozen=True)
class IncrementalJoint(Strategy):
    """Continue training on all tasks so far (Hess et al. 2023, PMLR 249).

    The weights are kept from task to task. The batch size grows with the number of tasks, so that
    every task takes the same number of steps.
    """

    upper_bound: ClassVar[bool] = True

    lr: Rate = 0.1

    def schedule(self) -> Schedule:
        return Schedule("all so far", batch_per_task=True)

    def step(self, net: Net, state: State, data: StepData) -> State:
        return net.update(state, net.grad(state.params, data.incoming), self.lr)
