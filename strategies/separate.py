"""A separate network for every task."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import vmap

from retrograde import (
    Boundaries,
    ExperienceEnd,
    Net,
    Params,
    Rate,
    Scenario,
    State,
    StepData,
    Strategy,
)


@dataclass(frozen=True)
class Separate(Strategy):
    """A separate network for every task (as in van de Ven et al. 2022).

    All networks have the same initial weights. Nothing is forgotten and nothing is shared. Each
    network is the benchmark's model, so that together they are larger.
    """

    scenarios: ClassVar[tuple[Scenario, ...]] = ("task",)
    boundaries: ClassVar[Boundaries | None] = "tasks"
    # Every task has its network from the start, which no other task uses.
    later_classes_in_loss: ClassVar[bool] = False

    lr: Rate = 0.1

    def init(self, net: Net, params: Params) -> dict[str, Params]:
        initial = params | net.buffers
        networks = {name: torch.stack([value] * net.tasks) for name, value in initial.items()}
        return {"initial": initial, "networks": networks}

    def begin_experience(self, net: Net, state: State, number: int) -> State:
        initial = state.extra["initial"]
        params = {name: initial[name] for name in state.params}
        buffers = {name: initial[name] for name in state.buffers}
        return state.replace(params=params, buffers=buffers, slots=net.optimizer.init(params))

    def step(self, net: Net, state: State, data: StepData) -> State:
        return net.update(state, net.grad(state.params, data.incoming), self.lr)

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        return state.replace(extra=state.extra | {"networks": self._networks(net, state)})

    def _networks(self, net: Net, state: State) -> Params:
        """The networks of all tasks, stacked; that of the present task is the model."""
        present = torch.arange(net.tasks, device=net.experience.device) == net.experience
        return {
            name: torch.where(_broadcastable(present, networks), state.model[name], networks)
            for name, networks in state.extra["networks"].items()
        }

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        def logits(network: Params) -> Float[Tensor, "row unit"]:
            return net.logits(network, x, task)

        # All networks predict all rows, since the rows may be of different tasks.
        outputs = vmap(logits)(self._networks(net, state))
        return outputs[task, torch.arange(len(x), device=x.device)]


def _broadcastable(flags: Tensor, values: Tensor) -> Tensor:
    """The flags of the first axis, with as many axes as the values."""
    return flags.reshape(-1, *[1] * (values.ndim - 1))
