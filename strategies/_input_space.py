"""The main directions of a layer's inputs, for strategies that project gradients onto them."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retrograde import Net, Params, layer_matrix, of_head, of_layer_matrix, weighted_layers


def empty_space(net: Net, params: Params) -> dict[str, Float[Tensor, "input input"]]:
    """For each layer, a matrix of zeros, as large as its inputs.

    If the task is given, the head is left out, since each task has output units of its own.
    """
    layers = weighted_layers(net, params)
    if net.units is not None:
        layers = [layer for layer in layers if not of_head(f"{layer}.")]
    matrices = {layer: layer_matrix(params, layer) for layer in layers}
    return {layer: value.new_zeros(2 * value.shape[1:]) for layer, value in matrices.items()}


def main_directions(
    inputs: Float[Tensor, "place input"],
    total: Float[Tensor, ""],
    threshold: Float[Tensor, ""],
) -> tuple[Float[Tensor, "input direction"], Bool[Tensor, " direction"]]:
    """Orthogonal directions of inputs as columns, and True for the chosen ones.

    Chosen are as few of the longest as make the squared length that is left out at most the share
    1 - `threshold` of `total`. They are eigenvectors of the Gram matrix of the inputs, whose
    eigenvalues are the squared singular values.
    """
    # The parameters of a diverged replicate are not finite, which `eigh` refuses.
    gram = (inputs.T @ inputs).nan_to_num(posinf=0.0, neginf=0.0)
    lengths, directions = torch.linalg.eigh(gram)
    # The sign of an eigenvector is arbitrary: here its largest entry is positive.
    largest = directions.abs().argmax(0, keepdim=True)
    directions = directions * directions.gather(0, largest).sign()
    # The longest come last.
    shorter = lengths.clamp(min=0).cumsum(0)
    held_without = total - shorter
    rounding = len(lengths) * torch.finfo(lengths.dtype).eps * total
    return directions, (held_without < threshold * total) & (lengths > rounding)


def within(space: Params, importance: Params, gradient: Params) -> Params:
    """The part of a gradient in the space of each layer, each direction times its importance.

    Args:
        space: For each layer, orthogonal directions as columns; a direction of 0 has no effect.
        importance: For each layer, a factor of each direction.
        gradient: The gradient, for each parameter.
    """
    parts: Params = {}
    for layer, directions in space.items():
        matrix = layer_matrix(gradient, layer) @ (directions * importance[layer]) @ directions.T
        parts |= of_layer_matrix(gradient, layer, matrix)
    return parts
