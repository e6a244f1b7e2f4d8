"""Checks that a user's model keeps its numbers in its tensors, and draws them from the seed."""

import copy
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from retrograde.errors import UserError
from retrograde.networks.calls import moved
from retrograde.networks.checks import agree
from retrograde.networks.dropout import keyed
from retrograde.optim import Params


def check_drawn_from_seed(
    model: str,
    one: nn.Module,
    again: nn.Module,
    x: Float[Tensor, "row *shape"],
) -> None:
    """Check that two models which were built with one seed have the same tensors and outputs.

    Args:
        model: The model's name, for the error.
        one: The model.
        again: The model, built again.
        x: Some examples.

    Raises:
        UserError: They differ.
    """
    first = one.state_dict()
    second = again.state_dict()
    changed = [name for name, value in first.items() if not _equal(value, second.get(name))]
    if changed or len(first) != len(second):
        raise UserError(
            "A model's initial weights follow from the seed; those of "
            f"model={model} are others when it is built again with one seed"
            f"{f': {changed[0]}' if changed else ''}. Draw them by torch, or from the global "
            "generators of NumPy or Python, which are seeded too; a generator of its own, such as "
            "np.random.default_rng(), is not."
        )
    if not _compute_the_same(one, again, x):
        raise UserError(
            "What a model computes follows from the seed; "
            f"model={model} gives other outputs when it is built again with one seed, from the "
            "same tensors. It keeps a number that is counted or drawn elsewhere, such as by "
            "np.random.default_rng(): draw it by torch, with self.register_buffer(NAME, tensor)."
        )


def _compute_the_same(one: nn.Module, again: nn.Module, x: Float[Tensor, "row *shape"]) -> bool:
    """True if two models give the same outputs in evaluation mode, or none that are tensors."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        outputs = []
        for module in (one, again):
            # Both draw the same numbers, if they draw any.
            torch.manual_seed(0)
            outputs.append(copy.deepcopy(module).eval()(x.clone()))
    first, second = outputs
    # What else a learner's model may give is known to the learner alone.
    if not (isinstance(first, Tensor) and isinstance(second, Tensor)):
        return True
    return first.shape == second.shape and agree(first, second)


def check_nothing_hidden(
    model: str,
    one: nn.Module,
    build: Callable[[], nn.Module],
    x: Float[Tensor, "row *shape"],
) -> None:
    """Check that models of two seeds differ in nothing but their parameters and buffers.

    Replicates share one module, and each brings its tensors: what the module keeps elsewhere would
    be that of the first replicate.

    Args:
        model: The model's name, for the error.
        one: The model of one seed.
        build: Builds the model of another seed.
        x: Some examples.

    Raises:
        UserError: They compute different outputs from the same tensors.
    """
    other = build()
    # Tensors that start at 0 would hide what they are multiplied by.
    tensors = {name: moved(value) for name, value in other.named_parameters()}
    tensors |= dict(other.named_buffers())
    own = {name: value.shape for name, value in one.state_dict().items()}
    alike = own == {name: value.shape for name, value in other.state_dict().items()}
    if alike and agree(_outputs(one, tensors, x), _outputs(other, tensors, x)):
        return
    raise UserError(
        "Replicates share one module, and each has parameters and buffers of its own; "
        f"model={model}, built with another seed, computes something else from the same tensors. "
        "It keeps random numbers in an attribute, a global or a structure of its own: keep them "
        "with self.register_buffer(NAME, tensor), and draw no sizes."
    )


def _outputs(
    module: nn.Module, tensors: Params, x: Float[Tensor, "row *shape"]
) -> Float[Tensor, "row unit"]:
    with torch.no_grad():
        copies = {name: value.clone() for name, value in tensors.items()}
        outputs: Tensor = functional_call(keyed(module).eval(), copies, (x,))
    return outputs


def _equal(one: Tensor, other: Tensor | None) -> bool:
    if other is None or one.shape != other.shape:
        return False
    # a buffer that waits for its first value may hold NaN
    return bool(((one == other) | (one.isnan() & other.isnan())).all())
