"""Context-dependent gating: in every task, other hidden units are on."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import vmap

from retrograde import (
    Ahead,
    Arrival,
    Net,
    Params,
    Rate,
    Scenario,
    Share,
    State,
    Strategy,
    UserError,
)


@dataclass(frozen=True)
class XdG(Strategy):
    """Context-dependent gating (Masse et al. 2018, arXiv 1802.01569): in every task, a random share of hidden units is on.

    A unit that is off passes nothing on: its column in the next layer's weights counts as 0, and does not learn.
    """

    scenarios: ClassVar[tuple[Scenario, ...]] = ("task",)

    lr: Rate = 0.1
    active: Share = 0.2  # of each hidden layer's units

    def knows(self) -> tuple[Ahead, ...]:
        return ()  # there is something of each task from the start, which the others do not see

    def init(self, net: Net, params: Params) -> Params:
        linear = [
            name for name, module in net.module.named_modules() if isinstance(module, nn.Linear)
        ]
        if len(linear) < 2:
            raise UserError(
                f"XdG gates what passes from one linear layer to the next; the model has {len(linear)}. Choose an mlp."
            )
        units = {f"{name}.weight": params[f"{name}.weight"].shape[1] for name in linear[1:]}
        parts = net.chance(net.tasks, sum(units.values())).split_with_sizes(list(units.values()), 1)
        return {
            name: self._gates(part).to(params[name].dtype)
            for name, part in zip(units, parts, strict=True)
        }

    def _gates(self, chance: Float[Tensor, "task unit"]) -> Tensor:
        """For each task, which units are on: the same number in all."""
        return chance.argsort(1) < max(1, round(self.active * chance.shape[1]))

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        gates = {name: gate[arrival.new.task[0]] for name, gate in state.extra.items()}
        gradient = net.grad(through(gates, state.params), arrival.new)
        return net.descend(state, through(gates, gradient), self.lr)

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        outputs = vmap(lambda gates: net.logits(through(gates, state.params), x, task))(state.extra)
        return outputs[task, torch.arange(len(x), device=x.device)]


def through(gates: Params, params: Params) -> Params:
    """The parameters, or their gradient, with the columns of units that are off at 0."""
    return {name: value * gates[name] if name in gates else value for name, value in params.items()}
