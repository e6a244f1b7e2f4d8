"""Checks that a model must pass before it is trained."""

import copy
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from retrograde.errors import UserError
from retrograde.networks.dropout import keyed
from retrograde.parts.author_code import hook, located


def check_module(
    module: nn.Module,
    x: Float[Tensor, "row *shape"],
    outputs: int,
) -> bool:
    """Check that a module can be trained.

    If rows see each other, as in batch normalisation, they see padding too, which repeats real rows
    of the same step. The numbers of dropout layers follow from keys, as `keyed` makes them.

    Args:
        module: The module.
        x: Some examples.
        outputs: The number of outputs that the module must have.

    Returns:
        True if training changes the module's buffers.

    Raises:
        UserError: The module fails, has outputs of another shape, changes its input, is random
            while training, other than in dropout layers, or learns tensors that it does not
            register.
    """
    _check_recurrent(module)
    twin = keyed(module).train()
    before = {name: value.clone() for name, value in twin.named_buffers()}
    given = x.clone()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            first = twin(given)
            # The second call shows random outputs, and state that one call leaves for the next.
            second = twin(x.clone())
        except Exception as error:
            raise UserError(
                f"The model cannot take examples of shape {tuple(x.shape[1:])}: {located(error)}."
            ) from error
    _check_outputs(module, first, (len(x), outputs))
    if not torch.equal(given, x):
        raise UserError(
            "A model leaves its input as it is, since a strategy may use the examples again; "
            f"{hook(module, 'forward')} changes it in place. Begin with a layer that "
            "is not in place, such as nn.ReLU(inplace=False)."
        )
    # Outputs that are NaN are equal too: training reports them.
    if not torch.allclose(first, second, rtol=0, atol=0, equal_nan=True):
        raise UserError(
            "A model gives the same outputs when it is called again while training; "
            f"{hook(module, 'forward')} gives others: it draws random numbers, which replicates "
            "cannot share, or keeps something between two calls. Drop with modules (nn.Dropout "
            "instead of functional.dropout), whose numbers follow from the seed; remove the rest."
        )
    _check_registered(module, twin, x)
    after = twin.named_buffers()
    return any(not torch.equal(before[name], value) for name, value in after)


def _check_recurrent(module: nn.Module) -> None:
    """Raise `UserError` if a layer is recurrent, for which `vmap` has no rule."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.RNNBase):
            raise UserError(
                "A model learns for several replicates at once, which PyTorch's recurrent layers "
                f"cannot (torch.func.vmap); {name or 'the model'} is an nn.{layer.mode}. "
                "Write the recurrence with nn.Linear layers in forward, or train the model by a "
                "Learner."
            )


def _check_outputs(module: nn.Module, given: object, shape: tuple[int, int]) -> None:
    """Raise `UserError` if outputs are no tensor of a shape (row, unit)."""
    if not isinstance(given, Tensor):
        raise UserError(
            f"The model gives a tensor, a row of {shape[1]} outputs for each example; "
            f"{hook(module, 'forward')} gave a {type(given).__name__}. Return the outputs alone; "
            "if the code is another package's, from a module of your own around it: "
            "model=FILE.py:NAME."
        )
    if tuple(given.shape) != shape:
        raise UserError(
            f"The model must give {shape[1]} outputs for each example; {hook(module, 'forward')} "
            f"gave shape {tuple(given.shape)}, wanted {shape}."
        )
    if not given.is_floating_point():
        raise UserError(
            "The model gives logits, which are real numbers that have gradients; "
            f"{hook(module, 'forward')} gave {given.dtype}. Return what its last layer computes."
        )


def _check_registered(module: nn.Module, twin: nn.Module, x: Float[Tensor, "row *shape"]) -> None:
    """Raise `UserError` if outputs have gradients by tensors that are no parameters.

    No optimiser knows them, so they would stay as they are.

    Args:
        module: The module, for the error.
        twin: A copy of it in training mode.
        x: Some examples.
    """
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        outputs = twin(x.clone())
    registered = {id(value) for value in twin.parameters()}
    stray = [value for value in _learned(outputs) if id(value) not in registered]
    if stray:
        raise UserError(
            "A model learns its parameters, which are those of its attributes that are parameters "
            f"or layers; {hook(module, 'forward')} computes with a tensor of shape "
            f"{tuple(stray[0].shape)} that has a gradient and is none of them. Keep lists of "
            "parameters or layers in nn.ParameterList or nn.ModuleList, and dictionaries in "
            "nn.ParameterDict or nn.ModuleDict."
        )


def _learned(outputs: Tensor) -> Iterator[Tensor]:
    """The tensors by which outputs have a gradient."""
    # PyTorch keeps such a tensor in the last node of its graph of gradients.
    seen: set[object] = set()
    waiting = [outputs.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
        leaf: Tensor | None = getattr(node, "variable", None)
        if leaf is not None:
            yield leaf


ROUNDING = 1e-3, 1e-5
"""The largest difference of equal scores: a share of the unit's largest score, plus a constant."""


def agree(one: Float[Tensor, "row unit"], other: Float[Tensor, "row unit"]) -> bool:
    """True if scores are equal but for rounding."""
    relative, least = ROUNDING
    largest = torch.where(one.isfinite(), one, 0.0).abs().amax(0)
    close = (one - other).abs() <= relative * largest + least
    both_nan = one.isnan() & other.isnan()
    # Without `==`, infinite scores of masked units would differ by NaN.
    same = (one == other) | close | both_nan
    return bool(same.all())


def check_rows_apart(
    module: nn.Module,
    x: Float[Tensor, "row *shape"],
    model: str,
) -> None:
    """Check that, in evaluation mode, the outputs for one row do not depend on other rows.

    The parameters are moved a little first: a layer whose weights start at 0 would hide it.

    Args:
        module: The module.
        x: Some examples.
        model: The model's name, for the error.

    Raises:
        UserError: The outputs for a row depend on other rows.
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
        # The pass in training mode has given running statistics a value to normalise by.
        twin.eval()
        # A learner of the user's own may take other outputs; its scores are checked instead.
        if not isinstance(outputs, Tensor):
            return
        if agree(twin(x), _one_by_one(twin, x)):
            return
    raise UserError(
        "On a stream, what a model predicts for one example may not depend on the others of its "
        f"batch; model={model} normalises test examples by each other. Build its normalisation "
        "with track_running_stats=True, or per example (layer or group normalisation)."
    )


def _one_by_one(module: nn.Module, x: Float[Tensor, "row *shape"]) -> Float[Tensor, "row unit"]:
    """The outputs for each row alone; NaN if the module cannot take a single row.

    Raises:
        UserError: The outputs for a single row have another shape than those for several.
    """
    try:
        alone = [module(row[None]) for row in x]
    except ValueError:  # of batch normalisation, for want of statistics
        return torch.full_like(module(x), torch.nan)
    wanted = (1, *module(x).shape[1:])
    if alone[0].shape != wanted:
        raise UserError(
            "The model gives a row of outputs for each example, also for one alone; "
            f"{hook(module, 'forward')} then gave shape {tuple(alone[0].shape)}, wanted {wanted}. "
            "Name the axis, as squeeze(-1) does, so that the rows keep theirs."
        )
    return torch.cat(alone)


def untracked(module: nn.Module) -> nn.Module:
    """A copy whose batch normalisation never writes to its running statistics.

    In evaluation mode it uses them. A strategy may call the copy as often as it likes, within any
    `vmap`, in which it is an error to write to tensors that are shared.
    """
    twin = copy.deepcopy(module)
    for layer in twin.modules():
        # The base class of all batch normalisation; the public ones are a class for each dimension.
        if isinstance(layer, _BatchNorm):
            layer.track_running_stats = False
    return twin


def takes_channels_last(module: nn.Module, x: Float[Tensor, "row *shape"]) -> bool:
    """True if a module takes images whose channels are last in memory, with the same outputs.

    A module that calls `view` on what convolutions give may not.
    """
    if x.dim() != 4:
        return False
    twin = copy.deepcopy(module)
    try:
        found = twin(channels_last(x))
        found.sum().backward()
    except Exception:  # of the author's code, which takes the usual format
        return False
    with torch.no_grad():
        return agree(found, twin(x))


def channels_last(
    images: Float[Tensor, "row channel height width"],
) -> Float[Tensor, "row channel height width"]:
    """The same images, with channels last in memory; `vmap` has no memory formats, but this."""
    return images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
