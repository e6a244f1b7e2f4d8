"""Models whose features are gated by another network."""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from retrograde import HEAD, Model, ModelName, UserError, headless, model


@dataclass(frozen=True)
class Gated(Model):
    """Another model, such as gated-plainconv-32, with features times a learned gate (ANML).

    This is neuromodulation (Beaulieu et al. 2020). Its modules have the names `gated.body`,
    `gated.gate` and `head`; the gate is a model of the same kind as the body.
    """

    model: ModelName

    def build(self, shape: tuple[int, ...], outputs: int, running: bool) -> nn.Module:
        inner = model(self.model)
        whole = inner.build(shape, outputs, running)
        body = headless(whole)
        head = getattr(whole, HEAD, None)
        if body is None or not isinstance(head, nn.Linear):
            raise UserError(
                "A gated model is one with a linear layer named head. "
                "Give such as model=gated-plainconv-32."
            )
        gate = inner.build(shape, head.in_features, running)
        return nn.Sequential(OrderedDict(gated=GatedFeatures(body, gate), head=head))


class GatedFeatures(nn.Module):
    """Features, each times a gate between 0 and 1 that another network computes."""

    def __init__(self, body: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        """Multiply the features by their gates."""
        # `as_tensor` leaves the product as it is: modules are untyped, and this names the type.
        return torch.as_tensor(self.body(x) * self.gate(x).sigmoid())
