"""A network for every task."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import vmap
from torch.utils import _pytree as pytree

from retrograde import Ahead, Arrival, Net, Params, Rate, Scenario, State, Strategy, UserError


@dataclass(frozen=True)
class Separate(Strategy):
    """A network of its own for every task, all with the same initial weights (as in van de Ven et al. 2022).

    Nothing is forgotten and nothing shared. The benchmark's model is that of one task, so that together they are larger.
    """

    scenarios: ClassVar[tuple[Scenario, ...]] = ("task",)

    lr: Rate = 0.1

    def knows(self) -> tuple[Ahead, ...]:
        return ()  # there is something of each task from the start, which the others do not see

    def init(self, net: Net, params: Params) -> Params:
        if any(True for _ in net.module.buffers()):
            raise UserError(
                "Networks for each task would share the model's buffers, such as running statistics. Choose another."
            )
        return {name: torch.stack([value] * net.tasks) for name, value in params.items()}

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        task = arrival.new.task[0]
        here = torch.arange(net.tasks, device=task.device) == task
        own = {name: nets[task] for name, nets in state.extra.items()}
        same = torch.stack(
            [(own[name] == value).all() for name, value in state.params.items()]
        ).all()
        slots = pytree.tree_map(
            lambda was, none: torch.where(same, was, none), state.slots, net.optimizer.init(own)
        )
        after = net.descend(State(own, slots, {}), net.grad(own, arrival.new), self.lr)
        nets = {
            name: torch.where(_as(here, nets), after.params[name], nets)
            for name, nets in state.extra.items()
        }
        return after.replace(extra=nets)

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        outputs = vmap(lambda params: net.logits(params, x, task))(state.extra)
        return outputs[task, torch.arange(len(x), device=x.device)]


def _as(flags: Tensor, values: Tensor) -> Tensor:
    """One flag for each of the values' first axis."""
    return flags.reshape(-1, *[1] * (values.ndim - 1))
