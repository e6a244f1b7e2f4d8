"""Hidden units of fully connected networks: their activations, and starting one anew."""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import linear

from retrograde import Batch, Net, Params, State, UserError, perceptron_layers


class HiddenLayer(NamedTuple):
    """The names of a linear layer and of the one that its units feed."""

    name: str
    following: str


def hidden_layers(net: Net, params: Params) -> list[HiddenLayer]:
    """The hidden layers of a multi-layer perceptron with ReLUs, in their order.

    Raises:
        UserError: The model is another network, or has no hidden layer.
    """
    layers = perceptron_layers(net)
    trained = {name.rpartition(".")[0] for name in params}
    if len(layers) < 2 or trained != set(layers):
        raise UserError(
            "Units start anew in a multi-layer perceptron with ReLUs and hidden layers, all of it "
            f"trained; the model is {net.module}. Choose a model such as mlp-100-100."
        )
    return [HiddenLayer(*pair) for pair in pairwise(layers)]


def activations(
    params: Params, examples: Batch, layers: list[HiddenLayer]
) -> dict[str, Float[Tensor, "row unit"]]:
    """The outputs of each hidden layer's units in evaluation mode, 0 for padding."""
    # The compiler knows no hooks, with which `layer_inputs` reads other networks.
    inputs = examples.x.flatten(1)
    is_real = (examples.weight > 0)[:, None]
    outputs = {}
    for layer, _ in layers:
        inputs = linear(inputs, params[f"{layer}.weight"], params.get(f"{layer}.bias")).relu()
        outputs[layer] = inputs * is_real
    return outputs


def mean_over_examples(
    values: Float[Tensor, "row unit"], examples: Batch
) -> Float[Tensor, " unit"]:
    """The mean over the rows that are not padding, whose values are 0."""
    return values.sum(0) / examples.weight.sum().clamp(min=1)


def initial_bounds(params: Params, layers: list[HiddenLayer]) -> Params:
    """Half of the width of the uniform distribution of each layer's initial weights.

    It is estimated by their standard deviation, so that any network's initial weights will do.
    """
    return {layer: math.sqrt(3) * params[f"{layer}.weight"].std() for layer, _ in layers}


def started_anew(
    state: State,
    layer: HiddenLayer,
    chosen: Bool[Tensor, " unit"],
    weights: Float[Tensor, "#unit input"],
) -> State:
    """Start units of a hidden layer anew: new incoming weights, and 0 for bias and outgoing ones.

    The optimiser's state of these parameters, such as a velocity, becomes 0 too.

    Args:
        state: The state.
        layer: The layer.
        chosen: True for the units.
        weights: Their new incoming weights; one row serves if one unit is chosen.
    """
    slots = {slot: _cleared(values, layer, chosen) for slot, values in state.slots.items()}
    params = _cleared(state.params, layer, chosen)
    incoming = f"{layer.name}.weight"
    params[incoming] = torch.where(chosen[:, None], weights, params[incoming])
    return state.replace(params=params, slots=slots)


def _cleared(values: Params, layer: HiddenLayer, chosen: Bool[Tensor, " unit"]) -> Params:
    """Values of parameters, with 0 for those of the chosen units; a count of steps stays."""
    masks = {
        f"{layer.name}.weight": chosen[:, None],
        f"{layer.name}.bias": chosen,
        f"{layer.following}.weight": chosen,
    }
    cleared = {
        name: torch.where(mask, 0.0, values[name]) for name, mask in masks.items() if name in values
    }
    return values | cleared
