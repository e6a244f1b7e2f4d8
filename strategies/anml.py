"""ANML: a learned gate on the features that makes learning selective."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from retrograde import Batch, Episode, MetaStrategy, Net, Params, Rate, UserError, sgd

from ._pretraining import HeadPretraining, Trajectory

GATE = "gated.gate."
"""The prefix of the gate's parameters."""


@dataclass(frozen=True, kw_only=True)
class _Neuromodulated(Trajectory):
    """The loss on the support and the remembered examples, after inner steps on the support."""

    first_order: bool

    def task_loss(
        self, net: Net, meta_params: Params, episode: Episode, progress: Tensor
    ) -> Tensor:
        if not any(name.startswith(GATE) for name in meta_params):
            raise UserError(
                "ANML learns a gate; the model has none. Use a gated model, such as "
                "model=gated-plainconv-32."
            )
        support = episode.support
        fast = meta_params
        for step in range(len(support.y)):
            fast = self._learned(net, fast, support.at(slice(step, step + 1)))
        return net.loss(fast, support.concat(episode.remembered))

    def _learned(self, net: Net, fast: Params, example: Batch) -> Params:
        """The parameters after an inner step on one example."""
        # The inner loop learns all but the gate, even with trainable=head.
        gradient = net.grad(fast, example, only=_outside_gate, constant=self.first_order)
        adapted = {name: fast[name] for name in gradient}
        return fast | sgd(adapted, gradient, self.inner_lr)


@dataclass(frozen=True, kw_only=True)
class ANML(HeadPretraining):
    """A neuromodulated meta-learning algorithm (Beaulieu et al. 2020, arXiv 2002.09571).

    Inner steps, one example at a time, learn everything but the gate; the outer loop learns the
    gate too. The model is a gated one, such as `model=gated-plainconv-32`. The outer loss is that
    on the trajectory itself and on the remember set.
    """

    contract_model: ClassVar[str] = "gated-mlp-16"

    inner_lr: Rate = 0.1  # of the inner steps
    # True: the inner steps are constants to the outer gradient, as in the released code.
    first_order: bool = False

    def pretraining(self) -> MetaStrategy:
        return _Neuromodulated(
            meta_lr=self.meta_lr, inner_lr=self.inner_lr, first_order=self.first_order
        )

    def learns(self, name: str) -> bool:
        return super().learns(name) and _outside_gate(name)


def _outside_gate(name: str) -> bool:
    return not name.startswith(GATE)
