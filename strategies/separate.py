"""A separate network for every task."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import vmap
from torch.utils import _pytree as pytree

from retrograde import (
    FutureFact,
    Net,
    Params,
    Rate,
    Scenario,
    Slots,
    State,
    StepData,
    Strategy,
    UserError,
)


@dataclass(frozen=True)
class Separate(Strategy):
    """A separate network for every task (as in van de Ven et al. 2022).

    All networks have the same initial weights. Nothing is forgotten and nothing is shared. Each
    network is the benchmark's model, so that together they are larger.
    """

    scenarios: ClassVar[tuple[Scenario, ...]] = ("task",)

    lr: Rate = 0.1

    def knows_ahead(self) -> tuple[FutureFact, ...]:
        return ()  # every task has its network from the start, which no other task uses

    def init(self, net: Net, params: Params) -> Params:
        if any(True for _ in net.module.buffers()):
            raise UserError(
                "The networks of all tasks would share the model's buffers, such as running "
                "statistics. Choose a model without buffers."
            )
        return {name: torch.stack([value] * net.tasks) for name, value in params.items()}

    def step(self, net: Net, state: State, data: StepData) -> State:
        task = data.incoming.task[0]
        is_current = torch.arange(net.tasks, device=task.device) == task
        params = {name: networks[task] for name, networks in state.extra.items()}
        slots = self._slots(net, state, params)
        gradient = net.grad(params, data.incoming)
        after = net.update(State(params, slots, {}), gradient, self.lr)
        networks = {
            name: torch.where(_broadcastable(is_current, values), after.params[name], values)
            for name, values in state.extra.items()
        }
        return after.replace(extra=networks)

    def _slots(self, net: Net, state: State, params: Params) -> Slots:
        """The optimiser's slots, initialised again at the first step of a task."""
        # At a task's first step, the state still has the parameters of the task before.
        unchanged = [(params[name] == value).all() for name, value in state.params.items()]
        is_same_task = torch.stack(unchanged).all()
        initial = net.optimizer.init(params)

        def select(before: Tensor, after: Tensor) -> Tensor:
            return torch.where(is_same_task, before, after)

        slots: Slots = pytree.tree_map(select, state.slots, initial)
        return slots

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        def logits(params: Params) -> Float[Tensor, "row unit"]:
            return net.logits(params, x, task)

        # All networks predict all rows, since the rows may be of different tasks.
        outputs = vmap(logits)(state.extra)
        return outputs[task, torch.arange(len(x), device=x.device)]


def _broadcastable(flags: Tensor, values: Tensor) -> Tensor:
    """The flags of the first axis, with as many axes as the values."""
    return flags.reshape(-1, *[1] * (values.ndim - 1))
