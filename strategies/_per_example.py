"""Powers of the gradient of each example alone, summed over examples: what measures of importance are made of."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import vjp, vmap
from torch.nn.functional import linear

from retrograde import Batch, Net, Params, UserError, added

from ._importance import nothing

PIECE = 2**20
"""Numbers of per-example gradients that are held at once."""
ROWS = 500
"""Examples taken at once where no gradient of a single one is held."""

Directions = Float[Tensor, "direction row unit"]

Along = Callable[[Float[Tensor, "row unit"], slice], Directions]
"""The model's outputs for some rows, and which these are -> the directions along which each output's gradient is asked for."""


def check_rows(net: Net) -> None:
    """Raise `UserError` where an example alone has no gradient: where rows are always normalised by their own statistics."""
    for layer in net.module.modules():
        if (
            isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
            and layer.running_mean is None
        ):
            raise UserError(
                "Importance is measured one example at a time; the model normalises by the statistics of a batch. "
                "Choose a model without batch normalisation, or with running statistics."
            )


def mean_powers(net: Net, params: Params, examples: Batch, along: Along, power: int) -> Params:
    """The mean over examples of the sum over directions of |the gradient of the outputs along a direction| ** power.

    Gradients are of one example each, in evaluation mode, piece by piece; the model must treat each example by itself. `along`
    is given outputs of which other tasks' are masked.
    """
    net, total = net.evaluating(), nothing(params)
    powers = _of_layers if _layered(net, params) else _of_any
    size = (
        ROWS
        if powers is _of_layers
        else max(1, PIECE // sum(value.numel() for value in params.values()))
    )
    for start in range(0, len(examples.x), size):
        rows = slice(start, start + size)
        total = added(total, powers(net, params, examples, rows, along, power))
    return {name: value / examples.weight.sum() for name, value in total.items()}


def _of_any(
    net: Net, params: Params, examples: Batch, rows: slice, along: Along, power: int
) -> Params:
    """The sum over rows, by weight, for any module: every gradient of every row by itself."""

    def of_one(x: Tensor, directions: Float[Tensor, "direction unit"]) -> Params:
        pulled = vjp(lambda params: net.logits(params, x[None])[0], params)[1]
        total = nothing(params)
        for direction in directions:
            (gradient,) = pulled(direction)
            total = {name: value + _raised(gradient[name], power) for name, value in total.items()}
        return total

    batch = examples.at(rows)
    found = vmap(of_one, in_dims=(0, 1))(
        batch.x, along(net.logits(params, batch.x, batch.task), rows)
    )
    return {name: torch.tensordot(batch.weight, value, 1) for name, value in found.items()}


def _raised(value: Tensor, power: int) -> Tensor:
    return value.square() if power == 2 else value.abs() ** power


def _layered(net: Net, params: Params) -> bool:
    """Whether the module is a plain chain of linear layers and ReLU, each there once and free to learn."""
    module = net.module
    if not isinstance(module, nn.Sequential) or len(list(module.modules())) != len(module) + 1:
        return False
    plain = type(module[0]) is nn.Flatten and all(
        type(layer) in (nn.Flatten, nn.Linear, nn.ReLU) for layer in module
    )
    learnt = {
        name
        for name, _ in module.named_parameters(remove_duplicate=False)
        if name.endswith((".weight", ".bias"))
    }
    return plain and any(isinstance(layer, nn.Linear) for layer in module) and learnt == set(params)


def _of_layers(
    net: Net, params: Params, examples: Batch, rows: slice, along: Along, power: int
) -> Params:
    """The same for a chain of linear layers: a row's gradient is the outer product of what comes back to a layer and its input.

    The power of a product is the product of powers, so that the sum over rows is one matrix product for each layer.
    """
    batch = examples.at(rows)
    x, passed = batch.x, []
    for name, layer in net.module.named_children():
        passed.append((name, layer, x))
        x = (
            linear(x, params[f"{name}.weight"], params.get(f"{name}.bias"))
            if isinstance(layer, nn.Linear)
            else layer(x)
        )
    first = next(name for name, layer, _ in passed if isinstance(layer, nn.Linear))
    back, found = along(net.of_tasks(x, batch.task), rows), nothing(params)
    for name, layer, x in reversed(passed):
        if isinstance(layer, nn.ReLU):
            back = back * (x > 0)
        elif isinstance(layer, nn.Linear):
            powers = batch.weight[:, None] * _raised(back, power).sum(0)
            found |= {f"{name}.weight": powers.T @ _raised(x, power), f"{name}.bias": powers.sum(0)}
            if name == first:
                break
            back = linear(back, params[f"{name}.weight"].T)
    return {name: found[name] for name in params}
