"""A multi-layer perceptron with dropout."""

from dataclasses import dataclass

from torch import nn

from retrograde import Model, Share, Sizes, UserError

from ._mlp import mlp


@dataclass(frozen=True)
class MLPDropout(Model):
    """Layers as in mlp, with dropout after every ReLU: mlpdropout-0.5-400-400 drops half of them.

    While it trains, each hidden unit is 0 with that probability (Srivastava et al. 2014).
    """

    # The probability that a hidden unit is dropped, below 1.
    dropout: Share
    # The sizes of the hidden layers.
    hidden: Sizes = ()

    def __post_init__(self) -> None:
        """Refuse to drop every unit."""
        super().__post_init__()
        if self.dropout == 1:
            raise UserError("dropout is below 1, not 1, which leaves no unit. Give such as 0.5.")

    def build(self, shape: tuple[int, ...], outputs: int, running: bool) -> nn.Module:
        return mlp(shape, outputs, *self.hidden, dropout=self.dropout)
