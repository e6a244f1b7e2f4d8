"""A model's layers as matrices, and their inputs as rows in the space of the matrix's rows."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad, unfold

from retrograde.errors import UserError
from retrograde.interface.batch import Batch
from retrograde.interface.net import Net
from retrograde.networks.functional import MODEL
from retrograde.optim import Params


def weighted_layers(net: Net, params: Params) -> list[str]:
    """The names of the linear and convolutional layers that are trained, as forward calls them.

    Raises:
        UserError: Another parameter has two or more axes, or forward calls no such layer.
    """
    layers = [name for name, layer in net.module.named_modules() if _has_inputs(layer)]
    found = [name for name in layers if _parameter(name, "weight") in params]
    weights = {_parameter(name, "weight") for name in found}
    others = [name for name, value in params.items() if value.ndim > 1 and name not in weights]
    if others:
        raise UserError(
            "The inputs of nn.Linear and nn.Conv2d layers are known (without groups, and with a "
            f"number of zeros as padding); the model also has the weights {', '.join(others)}. "
            "Choose a model such as mlp-100-100 or conv."
        )
    called = list(dict.fromkeys(name for name, _, _ in net.networks.trial(net.shape).calls))
    uncalled = [name for name in found if name not in called]
    if uncalled:
        raise UserError(
            "The inputs of a layer are known if forward calls it; that of the model uses the "
            f"weight of {uncalled[0]} in another way, or not at all. Call the layer in forward."
        )
    return sorted(found, key=called.index)


def perceptron_layers(net: Net) -> tuple[str, ...]:
    """The names of the linear layers of a multi-layer perceptron with ReLUs, as forward calls them.

    Returns:
        The names, hidden layers first; empty if the model computes anything else.
    """
    return net.networks.perceptron_layers(net.shape)


def layers_of_hidden_units(net: Net, params: Params) -> list[str]:
    """The names of the linear layers that read hidden units, as forward calls them.

    The first linear layer, and every other with the same input, reads what comes before them.

    Raises:
        UserError: The weight of such a layer is not among the parameters.
    """
    modules = dict(net.module.named_modules())
    calls = net.networks.trial(net.shape).calls
    linear = [call for call in calls if isinstance(modules[call.name], nn.Linear)]
    names = [name for name, x, _ in linear if not torch.equal(x, linear[0].inputs)]
    others = [name for name in names if _parameter(name, "weight") not in params]
    if others:
        raise UserError(
            "Hidden units are switched off by the trained weights of the layer that reads them; "
            f"{others[0]} of the model has a weight that is frozen, shared or computed from "
            "others. Choose a model such as mlp-100-100."
        )
    return list(dict.fromkeys(names))


def layer_matrix(params: Params, layer: str) -> Float[Tensor, "unit input"]:
    """The weight of a layer as a matrix; a trained bias is its last column.

    Args:
        params: The parameters.
        layer: One of `weighted_layers`.
    """
    matrix = params[_parameter(layer, "weight")].flatten(1)
    bias = params.get(_parameter(layer, "bias"))
    return matrix if bias is None else torch.cat([matrix, bias[:, None]], 1)


def of_layer_matrix(params: Params, layer: str, matrix: Float[Tensor, "unit input"]) -> Params:
    """The weight and the bias of a layer, by name, of which `layer_matrix` made a matrix.

    Args:
        params: Parameters in the shapes wanted.
        layer: One of `weighted_layers`.
        matrix: The matrix.
    """
    weight = _parameter(layer, "weight")
    bias = _parameter(layer, "bias")
    inputs = params[weight][0].numel()
    parts = {weight: matrix[:, :inputs].reshape(params[weight].shape)}
    if bias in params:
        parts[bias] = matrix[:, inputs]
    return parts


def layer_inputs(
    net: Net,
    params: Params,
    examples: Batch,
) -> dict[str, Float[Tensor, "place input"]]:
    """The inputs of all linear and convolutional layers, in evaluation mode.

    The gradient of a weight, of shape (unit, input), is a combination of these rows. An input of a
    convolution is the patch under its kernel, flattened like its weight; it has as many rows as
    there are patches. If the layer has a trained bias, its input ends with a feature that is 1.

    Args:
        net: The net.
        params: The parameters, or a whole model.
        examples: The examples.

    Returns:
        For each layer of `weighted_layers`, its inputs, which are 0 for padding.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in weighted_layers(net, params)}
    module = net.networks.evaluating[MODEL]
    hooks = [
        layer.register_forward_pre_hook(_noting(found[name]))
        for name, layer in module.named_modules()
        if name in found
    ]
    # The hooks see the tensors of this very call, also within `vmap`.
    try:
        net.in_eval_mode().logits(params, examples.x)
    finally:
        for hook in hooks:
            hook.remove()
    inputs = {}
    for name, parts in found.items():
        rows = torch.cat(parts)
        if _parameter(name, "bias") in params:
            rows = pad(rows, (0, 1), value=1.0)
        # The patches of one example are consecutive rows.
        is_real = (examples.weight > 0).repeat_interleave(len(rows) // len(examples.x))
        inputs[name] = rows * is_real[:, None]
    return inputs


def _parameter(layer: str, kind: str) -> str:
    """The name of a layer's parameter, such as its weight."""
    return f"{layer}.{kind}" if layer else kind


def _has_inputs(layer: nn.Module) -> bool:
    """True for the layers whose inputs are known."""
    if isinstance(layer, nn.Conv2d):
        zeros = layer.padding_mode == "zeros" and layer.padding != "same"
        return zeros and layer.groups == 1
    return isinstance(layer, nn.Linear)


def _noting(into: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """A hook that adds a layer's input, one row for each place, to a list."""

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (x,) = inputs
        into.append(_patches(layer, x) if isinstance(layer, nn.Conv2d) else x.flatten(0, -2))

    return note


def _patches(layer: nn.Conv2d, x: Float[Tensor, "row channel height width"]) -> Tensor:
    """The patches under the kernel of a convolution, as rows."""
    # As text, it is "valid".
    padding = 0 if isinstance(layer.padding, str) else layer.padding
    patches = unfold(x, layer.kernel_size, layer.dilation, padding, layer.stride)
    return patches.transpose(1, 2).flatten(0, 1)
