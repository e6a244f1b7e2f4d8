"""Models whose features are gated by another network."""

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from retrograde.errors import UserError
from retrograde.models.head import HEAD, headless

Make = Callable[[tuple[int, ...], int], nn.Module]


class Gated(nn.Module):
    """Features times a gate for each, between 0 and 1, which another network opens (Beaulieu et al. 2020: neuromodulation)."""

    def __init__(self, body: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.body, self.gate = body, gate

    def forward(self, x: Tensor) -> Tensor:
        """Multiply."""
        return torch.as_tensor(self.body(x) * self.gate(x).sigmoid())


def gated(make: Make, shape: tuple[int, ...], outputs: int) -> nn.Module:
    """A model whose features are gated by another of its kind; the modules are `gated.body`, `gated.gate` and `head`."""
    model = make(shape, outputs)
    body, head = headless(model), getattr(model, HEAD, None)
    if body is None or not isinstance(head, nn.Linear):
        raise UserError(
            "A gated model is one with a linear layer named head. Give such as model=gated-plainconv-32."
        )
    return nn.Sequential(OrderedDict(gated=Gated(body, make(shape, head.in_features)), head=head))
