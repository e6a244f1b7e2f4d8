"""What a model must satisfy before it is trained."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from retrograde.errors import UserError
from retrograde.parts.author_code import hook, located


def check_module(module: nn.Module, x: Float[Tensor, "row *shape"], outputs: int) -> bool:
    """Whether training changes the module's buffers; raises `UserError` for a module that cannot be used.

    Where rows see each other (batch normalisation), they see padding too, which repeats real rows of the same step.
    """
    twin = copy.deepcopy(module).train()
    before = {name: value.clone() for name, value in twin.named_buffers()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            first, second = twin(x), twin(x)
        except Exception as error:
            raise UserError(
                f"The model cannot take examples of shape {tuple(x.shape[1:])}: {located(error)}."
            ) from error
    if not isinstance(first, Tensor):
        raise UserError(
            f"The model gives a tensor, a row of {outputs} outputs for each example; {hook(module, 'forward')} gave a "
            f"{type(first).__name__}. Return the outputs alone."
        )
    if tuple(first.shape) != (len(x), outputs):
        raise UserError(
            f"The model must give {outputs} outputs for each example; it gave shape {tuple(first.shape)}, "
            f"wanted {(len(x), outputs)}."
        )
    if not torch.equal(first, second):
        raise UserError(
            "The model gives other outputs when it is called again while training: it draws random numbers (dropout?), which "
            "replicates cannot share, or keeps something between two calls. Remove that."
        )
    return any(not torch.equal(before[name], value) for name, value in twin.named_buffers())


ROUNDING = 1e-3, 1e-5
"""By how much scores may differ and count as equal: of the largest of their unit, and at least."""


def agree(one: Float[Tensor, "row unit"], other: Float[Tensor, "row unit"]) -> bool:
    """True if scores are equal but for rounding."""
    relative, least = ROUNDING
    largest = torch.where(one.isfinite(), one, 0.0).abs().amax(0)
    # without `==`, infinite scores of masked units would differ by NaN
    same = (
        (one == other)
        | ((one - other).abs() <= relative * largest + least)
        | (one.isnan() & other.isnan())
    )
    return bool(same.all())


def check_rows_apart(module: nn.Module, x: Float[Tensor, "row *shape"], model: str) -> None:
    """Raise `UserError` where, in evaluation mode, the outputs for one row depend on the rows beside it.

    The parameters are moved a little first: a layer whose weights start at 0 would hide it.
    """
    twin = copy.deepcopy(module)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for value in twin.parameters():
            value.add_(torch.randn_like(value), alpha=0.01)
        try:
            outputs = twin.train()(x)
        except Exception as error:
            raise UserError(
                f"The model cannot take examples of shape {tuple(x.shape[1:])}: {located(error)}."
            ) from error
        twin.eval()
        if not isinstance(
            outputs, Tensor
        ):  # a learner of the user's own may know what to do with it; its scores are checked
            return
        if agree(twin(x), _one_by_one(twin, x)):
            return
    raise UserError(
        f"On a stream, what a model predicts for one example may not depend on the others of its batch; model={model} "
        "normalises test examples by each other. Build its normalisation with track_running_stats=True, or per example "
        "(layer or group normalisation)."
    )


def _one_by_one(module: nn.Module, x: Float[Tensor, "row *shape"]) -> Float[Tensor, "row unit"]:
    """The outputs for each row alone; NaN where one row cannot be taken."""
    try:
        return torch.cat([module(row[None]) for row in x])
    except ValueError:  # of batch normalisation, for want of statistics
        return torch.full_like(module(x), torch.nan)


def untracked(module: nn.Module) -> nn.Module:
    """A copy whose batch normalisation uses its running statistics in evaluation mode, and never writes to them.

    A strategy may call it as often as it likes, within any `vmap`, where writing to what is shared is an error.
    """
    twin = copy.deepcopy(module)
    for layer in twin.modules():
        if isinstance(layer, _BatchNorm):
            layer.track_running_stats = False
    return twin
