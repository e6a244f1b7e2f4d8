"""Synaptic intelligence: parameters on whose way the loss fell are held."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import relu

from retrograde import Arrival, Finished, Net, NonNegative, Params, Rate, State, Strategy, added

from ._importance import packed, pull, unpacked


@dataclass(frozen=True)
class SI(Strategy):
    """Synaptic intelligence (Zenke et al. 2017, arXiv 1703.04200): how much each parameter's way lowered past tasks' losses.

    Along a task, minus the gradient of its own loss times the step really taken is summed (equation 3). When it ends, that sum
    over the squared distance gone, plus `damping`, adds to the importance (equation 5), which holds the parameters there.
    """

    later: ClassVar[tuple[str, ...]] = ("penalised",)

    lr: Rate = 0.1
    strength: NonNegative = 1.0  # c, of the penalty (equation 4)
    damping: Rate = 0.1  # xi, a squared distance
    floor: bool = True  # an importance below 0 becomes 0: in the authors' code, not in the paper
    penalised: bool = False  # the gradient along the way has the penalty's in it: in van de Ven's code, not in the paper

    def init(self, net: Net, params: Params) -> Params:
        nothing = {name: torch.zeros_like(value) for name, value in params.items()}
        return packed(anchor=params, importance=nothing, path=nothing)

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        gradient = net.grad(state.params, arrival.new)
        anchor, importance, path = (
            unpacked(state.extra, group) for group in ("anchor", "importance", "path")
        )
        total = added(gradient, pull(state.params, anchor, importance, self.strength))
        after = net.descend(state, total, self.lr)
        along = total if self.penalised else gradient
        path = {
            name: way - along[name] * (after.params[name] - state.params[name])
            for name, way in path.items()
        }
        return after.replace(extra=packed(anchor=anchor, importance=importance, path=path))

    def end_task(self, net: Net, state: State, finished: Finished) -> State:
        anchor, importance, path = (
            unpacked(state.extra, group) for group in ("anchor", "importance", "path")
        )
        for name, value in state.params.items():
            grown = importance[name] + path[name] / ((value - anchor[name]) ** 2 + self.damping)
            importance[name] = relu(grown) if self.floor else grown
            path[name] = torch.zeros_like(value)
        return state.replace(extra=packed(anchor=state.params, importance=importance, path=path))
