"""Models whose features are gated by another network."""

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from retrograde.errors import UserError
from retrograde.models.head import HEAD, headless

Make = Callable[[tuple[int, ...], int], nn.Module]


class Gated(nn.Module):
    """Features, each times a gate between 0 and 1 that another network computes.

    This is neuromodulation as in ANML (Beaulieu et al. 2020).
    """

    def __init__(self, body: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        """Multiply the features by their gates."""
        # `as_tensor` leaves the product as it is: modules are untyped, and this names the type.
        return torch.as_tensor(self.body(x) * self.gate(x).sigmoid())


def gated(
    make: Make,
    shape: tuple[int, ...],
    outputs: int,
) -> nn.Module:
    """A model whose features are gated by another model of its kind.

    Its modules have the names `gated.body`, `gated.gate` and `head`.

    Args:
        make: Makes a model of the kind, given the shape of one example and the number of outputs.
        shape: The shape of one example.
        outputs: The number of outputs.

    Raises:
        UserError: Models of this kind have no linear layer named head.
    """
    model = make(shape, outputs)
    body = headless(model)
    head = getattr(model, HEAD, None)
    if body is None or not isinstance(head, nn.Linear):
        raise UserError(
            "A gated model is one with a linear layer named head. "
            "Give such as model=gated-plainconv-32."
        )
    gate = make(shape, head.in_features)
    return nn.Sequential(OrderedDict(gated=Gated(body, gate), head=head))
