"""GPM: steps that are orthogonal to the layers' inputs in past tasks."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from retrograde import (
    Count,
    ExperienceEnd,
    Net,
    NonNegative,
    Params,
    Rate,
    Rates,
    State,
    StepData,
    Strategy,
    UserError,
    layer_inputs,
    layer_matrix,
    of_head,
    of_layer_matrix,
    shuffled_rows,
)

from ._input_space import empty_space, main_directions


@dataclass(frozen=True)
class GPM(Strategy):
    """Gradient projection memory (Saha et al. 2021, arXiv 2103.09762, algorithm 1).

    After a task, the memory of each layer grows by the main directions of its inputs for some
    examples, until they hold a share of the inputs' squared length (equations 5, 8 and 9). Later
    steps of its weight are orthogonal to the memory (equations 6 and 7).

    A bias is the weight of an input that is always 1; the authors' networks have none. Other
    parameters, as of normalisation, are trained in the first task alone; running statistics follow
    every task. If the task is given, the head is free, since each task has output units of its own.
    The optimiser's whole step is projected, which for plain SGD is the projection of the gradient.
    In the first task, the authors' code stores one direction less than equation 5 says.
    """

    lr: Rate = 0.1
    # epsilon, of each layer in their order; the last one is that of all further layers.
    thresholds: Rates = (0.95, 0.99)
    growth: NonNegative = 0.0  # added to the thresholds after each task
    examples: Count = 300  # of a task, whose layer inputs are taken

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.thresholds or max(self.thresholds) > 1:
            raise UserError(
                "A threshold of GPM is a share of the squared length, at most 1; thresholds="
                f"{','.join(f'{value:g}' for value in self.thresholds)}. Give such as 0.95,0.99."
            )

    def init(self, net: Net, params: Params) -> Params:
        # The memory of a layer is a projection, whose size does not grow with its directions.
        return empty_space(net, params)

    def step(self, net: Net, state: State, data: StepData) -> State:
        after = net.update(state, net.grad(state.params, data.incoming), self.lr)
        return after.replace(params=self._projected(net, state, after.params))

    def _projected(self, net: Net, state: State, after: Params) -> Params:
        """The parameters after the part of a step that is orthogonal to the memory."""
        params = {}
        for name, before in state.params.items():
            params[name] = torch.where(net.experience == 0, after[name], before)
        if net.units is not None:
            params |= {name: value for name, value in after.items() if of_head(name)}
        for layer, projection in state.extra.items():
            before = layer_matrix(state.params, layer)
            step = layer_matrix(after, layer) - before
            params |= of_layer_matrix(after, layer, before + step - step @ projection)
        return params

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        order = shuffled_rows(net.uniform(len(end.examples.x)), end.examples.weight)
        some = end.examples.at(order[: self.examples])
        inputs = layer_inputs(net, state.params, some)
        memory = {}
        for place, (layer, projection) in enumerate(state.extra.items()):
            first = self.thresholds[min(place, len(self.thresholds) - 1)]
            threshold = first + self.growth * net.experience
            memory[layer] = extended(projection, inputs[layer], threshold)
        return state.replace(extra=memory)


def extended(
    projection: Float[Tensor, "input input"],
    inputs: Float[Tensor, "place input"],
    threshold: Tensor,
) -> Float[Tensor, "input input"]:
    """The projection onto a layer's memory, after that has grown by directions of new inputs.

    The residual inputs are those less their projection (equation 8). Its main directions are added
    until memory and directions hold the share `threshold` of the inputs' squared length (equation
    9).
    """
    residual = inputs - inputs @ projection
    directions, chosen = main_directions(residual, inputs.square().sum(), threshold)
    added = directions * chosen
    grown: Tensor = projection + added @ added.T
    return grown
