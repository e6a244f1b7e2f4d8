"""Gradients of single examples: the cosines between them, and powers summed over examples."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import vjp, vmap
from torch.nn.functional import linear

from retrograde.errors import UserError
from retrograde.interface.batch import Batch
from retrograde.interface.net import Net
from retrograde.methods.importance import zeros_like
from retrograde.optim import Params, added

MAX_NUMBERS = 2**20
"""The most numbers of per-example gradients in memory at once."""
CHUNK_ROWS = 500
"""Examples taken at once if no per-example gradient is in memory."""

Directions = Float[Tensor, "direction row unit"]
"""Vectors in the space of outputs, several for each row."""

DirectionsOf = Callable[[Float[Tensor, "row unit"], slice], Directions]
"""Maps the model's outputs for some rows, and the slice of these rows, to directions.

The gradient of the outputs is taken along each direction.
"""


def gradient_cosines(
    net: Net, params: Params, batch: Batch, others: Batch
) -> Float[Tensor, "row other"]:
    """The cosine of the gradient of each example with that of each other one; 0 if one is 0.

    Args:
        net: The model and its loss.
        params: The parameters at which the gradients are taken.
        batch: The examples. Padding counts as they do.
        others: The other examples.
    """
    mine = _gradients(net, params, batch)
    theirs = _gradients(net, params, others)
    products = [own @ other.T for own, other in zip(mine, theirs, strict=True)]
    dots = torch.stack(products).sum(0)
    norms = _norms(mine)[:, None] * _norms(theirs)
    return dots / norms.clamp(min=torch.finfo(dots.dtype).tiny)


def _gradients(net: Net, params: Params, batch: Batch) -> list[Float[Tensor, "row _"]]:
    """The gradient of each row, one matrix for each parameter."""
    # A row is a batch of its own, in which padding would have no gradient by its weight.
    weighted = batch._replace(weight=torch.ones_like(batch.weight))
    gradients = net.grad_each(params, weighted.map(lambda column: column[:, None]))
    return [gradient.flatten(1) for gradient in gradients.values()]


def _norms(gradients: list[Float[Tensor, "row _"]]) -> Float[Tensor, " row"]:
    """The norm of each row's gradient over all parameters."""
    squares = [(gradient**2).sum(1) for gradient in gradients]
    return torch.stack(squares).sum(0).sqrt()


def check_rows(net: Net) -> None:
    """Check that the gradient of a single example exists, by taking that of made-up ones.

    Raises:
        UserError: the model always normalises rows by the statistics of their batch.
    """
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    for layer in net.module.modules():
        if isinstance(layer, norms) and layer.running_mean is None:
            raise UserError(
                "Importance is measured one example at a time; the model normalises by the "
                "statistics of a batch. Choose a model without batch normalisation, or with "
                "running statistics."
            )
    # Otherwise a model that cannot be mapped over examples would fail after the first experience.
    parameters = net.module.named_parameters()
    params = {name: value.detach() for name, value in parameters if value.requires_grad}
    x = net.networks.trial(net.shape).examples[:2]
    zeros = torch.zeros(len(x), dtype=torch.long, device=x.device)
    examples = Batch(x, zeros, zeros, torch.ones_like(x.flatten(1)[:, 0]))
    mean_powers(net, params, examples, lambda outputs, _: torch.ones_like(outputs)[None], power=1)


def mean_powers(
    net: Net, params: Params, examples: Batch, directions_of: DirectionsOf, power: int
) -> Params:
    """The mean over examples of the sum over directions of |gradient of the outputs| ** power.

    Each gradient is that of one example, in evaluation mode; examples are taken chunk by chunk. The
    model must treat each example by itself.

    Args:
        net: the model.
        params: the parameters.
        examples: the examples; rows of weight 0 do not count.
        directions_of: gives the directions; other tasks' outputs are masked.
        power: the power of the absolute gradient.
    """
    net = net.in_eval_mode()
    total = zeros_like(params)
    chain = _chain(net, params, examples)
    powers = partial(_powers_of_chain, chain) if chain else _powers_of_any
    size = CHUNK_ROWS if chain else _rows_at_once(params)
    for start in range(0, len(examples.x), size):
        rows = slice(start, start + size)
        total = added(total, powers(net, params, examples, rows, directions_of, power))
    return {name: value / examples.weight.sum() for name, value in total.items()}


def _rows_at_once(params: Params) -> int:
    """The number of rows whose gradients are in memory at once."""
    numbers = sum(value.numel() for value in params.values())
    return max(1, MAX_NUMBERS // numbers)


def _powers_of_any(
    net: Net, params: Params, examples: Batch, rows: slice, directions_of: DirectionsOf, power: int
) -> Params:
    """The weighted sum over rows for any module: one gradient for each row and direction."""

    def row_powers(x: Tensor, directions: Float[Tensor, "direction unit"]) -> Params:
        pull_back = vjp(lambda params: net.logits(params, x[None])[0], params)[1]
        total = zeros_like(params)
        for direction in directions:
            (gradient,) = pull_back(direction)
            total = {name: value + _power(gradient[name], power) for name, value in total.items()}
        return total

    batch = examples.at(rows)
    outputs = net.logits(params, batch.x, batch.task)
    directions = directions_of(outputs, rows)
    by_row = vmap(row_powers, in_dims=(0, 1))(batch.x, directions)
    return {name: torch.tensordot(batch.weight, value, 1) for name, value in by_row.items()}


def _power(value: Tensor, power: int) -> Tensor:
    return value.square() if power == 2 else value.abs() ** power


def _chain(net: Net, params: Params, examples: Batch) -> tuple[str, ...]:
    """The linear layers of a perceptron that trains all of its parameters; else none."""
    layers = net.networks.perceptron_layers(tuple(examples.x.shape[1:]))
    named = net.module.named_parameters()
    own = {name for name, _ in named if name.rpartition(".")[0] in layers}
    return layers if own == set(params) else ()


def _powers_of_chain(
    layers: tuple[str, ...],
    net: Net,
    params: Params,
    examples: Batch,
    rows: slice,
    directions_of: DirectionsOf,
    power: int,
) -> Params:
    """The weighted sum over rows for a chain of linear layers with ReLUs between them.

    The gradient of a row with respect to a weight is the outer product of the gradient at the
    layer's output and the layer's input. The power of a product is the product of powers, so the
    sum over rows is one matrix product for each layer.
    """
    batch = examples.at(rows)
    outputs, inputs = _forward(layers, params, batch.x)
    gradient = directions_of(net.mask_tasks(outputs, batch.task), rows)
    sums = {}
    for layer, x in reversed(inputs.items()):
        by_unit = _power(gradient, power).sum(0)
        powers = batch.weight[:, None] * by_unit
        sums[_parameter(layer, "weight")] = powers.T @ _power(x, power)
        sums[_parameter(layer, "bias")] = powers.sum(0)
        # Nothing before the first layer has parameters.
        if layer != layers[0]:
            gradient = linear(gradient, params[_parameter(layer, "weight")].T) * (x > 0)
    return {name: sums[name] for name in params}


def _forward(
    layers: tuple[str, ...], params: Params, x: Tensor
) -> tuple[Float[Tensor, "row unit"], dict[str, Float[Tensor, "row input"]]]:
    """The outputs of a chain of linear layers, and the input of each of them by its name."""
    inputs = {}
    x = x.flatten(1)
    for place, layer in enumerate(layers):
        x = x.relu() if place else x
        inputs[layer] = x
        x = linear(x, params[_parameter(layer, "weight")], params.get(_parameter(layer, "bias")))
    return x, inputs


def _parameter(layer: str, kind: str) -> str:
    """The name of a layer's parameter, such as its weight."""
    return f"{layer}.{kind}" if layer else kind
