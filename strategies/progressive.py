"""Progressive networks: a new column for every task, which reads the features of the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import linear

from retrograde import (
    Boundaries,
    Net,
    Params,
    Rate,
    Scenario,
    State,
    StepData,
    Strategy,
    UserError,
    perceptron_layers,
)


@dataclass(frozen=True)
class Progressive(Strategy):
    """Progressive neural networks (Rusu et al. 2016, arXiv 1606.04671, equation 1).

    Every task adds a column, a network like the model. From its second layer on, a layer also reads
    the hidden units that the layers before it have in all earlier columns, which never change
    again. Lateral connections are linear, without the adapters of the paper's larger networks.
    """

    scenarios: ClassVar[tuple[Scenario, ...]] = ("task",)
    boundaries: ClassVar[Boundaries | None] = "tasks"
    grows: ClassVar[bool] = True
    probes: ClassVar[bool] = False  # the model is one of several columns
    later_classes_in_loss: ClassVar[bool] = False  # a column is made when its task begins

    lr: Rate = 0.1

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        layers = [
            f"{layer}.{kind}" for layer in perceptron_layers(net) for kind in ("weight", "bias")
        ]
        if set(layers) != set(params) or len(layers) < 4:
            raise UserError(
                "Columns are made of two or more linear layers with biases and ReLUs between them; "
                "the model computes something else. Choose an mlp."
            )
        return {"columns": ()}

    def begin_experience(self, net: Net, state: State, number: int) -> State:
        if number == 0:
            return state
        columns = (*state.extra["columns"], state.params)
        column: Params = {}
        for depth, layer in enumerate(perceptron_layers(net)):
            weight = state.params[f"{layer}.weight"]
            readers = [f"{layer}.weight"]
            if depth:
                readers += [f"{layer}.from{other}" for other in range(number)]
            column |= {name: _xavier(net, weight, name) for name in readers}
            column[f"{layer}.bias"] = torch.zeros_like(state.params[f"{layer}.bias"])
        slots = net.optimizer.init(column)
        return state.replace(params=column, slots=slots, extra={"columns": columns})

    def step(self, net: Net, state: State, data: StepData) -> State:
        def loss(params: Params) -> Tensor:
            outputs = _outputs(net, (*state.extra["columns"], params), data.incoming.x)
            return net.loss_from_logits(outputs[-1], data.incoming)

        return net.update(state, net.grad_of_loss(loss, state.params), self.lr)

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        # All columns predict all rows, since the rows may be of different tasks.
        outputs = torch.stack(_outputs(net, (*state.extra["columns"], state.params), x))
        rows = torch.arange(len(x), device=x.device)
        # A task that has not come yet has no column: the last one answers.
        column = rows * 0 if task is None else task.clamp(max=len(outputs) - 1)
        return net.mask_tasks(outputs[column, rows], task)


def _xavier(net: Net, like: Tensor, name: str) -> Tensor:
    """Initial weights of the shape of others (Glorot and Bengio 2010), as those of an mlp."""
    bound: float = (6 / sum(like.shape)) ** 0.5
    return bound * (2 * net.uniform(*like.shape, name=name).to(like.dtype) - 1)


def _outputs(
    net: Net, columns: Sequence[Params], x: Float[Tensor, "row *shape"]
) -> list[Float[Tensor, "row unit"]]:
    """The outputs of every column."""
    read = [x.flatten(1)] * len(columns)
    written: list[Tensor] = []
    for depth, layer in enumerate(perceptron_layers(net)):
        written = []
        for number, column in enumerate(columns):
            units = linear(read[number], column[f"{layer}.weight"], column[f"{layer}.bias"])
            for other in range(number if depth else 0):
                units = units + linear(read[other], column[f"{layer}.from{other}"])
            written.append(units)
        read = [units.relu() for units in written]
    return written
