"""Context-dependent gating: every task uses its own random subset of hidden units."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import vmap

from retrograde import (
    Boundaries,
    Net,
    Params,
    Rate,
    Scenario,
    Share,
    State,
    StepData,
    Strategy,
    UserError,
    layers_of_hidden_units,
)


@dataclass(frozen=True)
class XdG(Strategy):
    """Context-dependent gating (Masse et al. 2018, arXiv 1802.01569).

    In every task, a random share of hidden units is active. An inactive unit passes nothing on: its
    column in the next layer's weights counts as 0, and is not trained.
    """

    scenarios: ClassVar[tuple[Scenario, ...]] = ("task",)
    boundaries: ClassVar[Boundaries | None] = "tasks"
    # Every task has its gates from the start, which no other task uses.
    later_classes_in_loss: ClassVar[bool] = False

    lr: Rate = 0.1
    active_share: Share = 0.2  # of each hidden layer's units

    def init(self, net: Net, params: Params) -> Params:
        layers = layers_of_hidden_units(net, params)
        if not layers:
            raise UserError(
                "XdG gates the hidden units between two linear layers; the model has no nn.Linear "
                "with a weight of its own that reads such units. Choose an mlp."
            )
        units = {f"{name}.weight": params[f"{name}.weight"].shape[1] for name in layers}
        sizes = list(units.values())
        random = net.uniform(net.tasks, sum(sizes))
        by_layer = random.split_with_sizes(sizes, 1)
        return {
            name: self._gates(numbers).to(params[name].dtype)
            for name, numbers in zip(units, by_layer, strict=True)
        }

    def _gates(self, random: Float[Tensor, "task unit"]) -> Tensor:
        """True for the active units of each task, the same number in every task."""
        count = max(1, round(self.active_share * random.shape[1]))
        return random.argsort(1) < count

    def step(self, net: Net, state: State, data: StepData) -> State:
        gates = {name: gate[net.experience] for name, gate in state.extra.items()}
        gradient = net.grad(gated(gates, state.params), data.incoming)
        # The gradient of an inactive unit's column is not 0, though the column counts as 0.
        return net.update(state, gated(gates, gradient), self.lr)

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        def logits(gates: Params) -> Float[Tensor, "row unit"]:
            return net.logits(gated(gates, state.params), x, task)

        # All tasks' gates predict all rows, since the rows may be of different tasks.
        outputs = vmap(logits)(state.extra)
        return outputs[task, torch.arange(len(x), device=x.device)]


def gated(gates: Params, params: Params) -> Params:
    """The parameters, or their gradient, with 0 in the columns of inactive units."""
    return {name: value * gates[name] if name in gates else value for name, value in params.items()}
