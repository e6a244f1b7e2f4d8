"""A network for every task."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import vmap

from retrograde.net import Net, State
from retrograde.optim import Params
from retrograde.settings import Rate
from retrograde.strategy import Arrival, Finished, Strategy
from retrograde.stream import Scenario


@dataclass(frozen=True)
class Separate(Strategy):
    """A network of its own for every task, all with the same initial weights (as in van de Ven et al. 2022, table 2).

    Nothing is forgotten and nothing shared. The benchmark's model is that of one task, so that together they are larger.
    """

    scenarios: ClassVar[tuple[Scenario, ...]] = ("task",)

    lr: Rate = 0.1

    def init(self, net: Net, params: Params) -> Params:
        return {name: torch.stack([value] * net.tasks) for name, value in params.items()}

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        return net.descend(state, net.grad(state.params, arrival.new), self.lr)

    def end_task(self, net: Net, state: State, finished: Finished) -> State:
        task = finished.examples.task[0]
        here = torch.arange(net.tasks, device=task.device) == task
        nets = {name: torch.where(_as(here, own), state.params[name], own) for name, own in state.extra.items()}
        params = {name: own[(task + 1).clamp(max=net.tasks - 1)] for name, own in nets.items()}
        return State(params, net.optimizer.init(params), nets)

    def predict(
        self, net: Net, state: State, x: Float[Tensor, "row *shape"], task: Int64[Tensor, " row"] | None
    ) -> Float[Tensor, "row unit"]:
        outputs = vmap(lambda params: net.logits(params, x, task))(state.extra)
        return outputs[task, torch.arange(len(x), device=x.device)]


def _as(flags: Tensor, values: Tensor) -> Tensor:
    """One flag for each of the values' first axis."""
    return flags.reshape(-1, *[1] * (values.ndim - 1))
