"""A model's hidden layers: the features of its last one, and the ReLU units that are active."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from retrograde.errors import UserError
from retrograde.networks.functional import BODY, Networks
from retrograde.networks.head import HEAD


def check_hidden_units(networks: Networks) -> None:
    """Raise `UserError` unless the model has a head and nn.ReLU layers."""
    relus = any(isinstance(module, nn.ReLU) for module in networks.model.modules())
    if not networks.has_body or not relus:
        raise UserError(
            f"plasticity_examples measures the hidden layers of a model with a module named {HEAD} "
            f"and nn.ReLU layers; the model is {networks.model}. "
            "Choose one such as mlp-100-100, or leave the setting out."
        )


@contextmanager
def relu_outputs(networks: Networks) -> Iterator[list[Tensor]]:
    """The outputs of the ReLU layers of a model's body in evaluation mode, in order of calls.

    Within the context, every call of the body adds to the list. It works within `vmap`.
    """
    outputs: list[Tensor] = []
    hooks = [
        module.register_forward_hook(_noting(outputs))
        for module in networks.evaluating[BODY].modules()
        if isinstance(module, nn.ReLU)
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def active_units(outputs: list[Tensor], is_real: Bool[Tensor, "row 1"]) -> Bool[Tensor, " unit"]:
    """True for the units of all layers that are above 0 on any example.

    Args:
        outputs: The outputs of each layer, of shape (row, unit, *place). A channel of a
            convolution is one unit, which is above 0 if it is so in any place.
        is_real: False for padding.
    """
    by_place = [(output > 0).reshape(*output.shape[:2], -1) for output in outputs]
    return torch.cat([(above.any(2) & is_real).any(0) for above in by_place])


def _noting(outputs: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    """A hook that adds a layer's output to a list."""

    def note(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs.append(output)

    return note
