"""ANML: a learned gate on the features that makes learning selective."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from retrograde import Batch, Net, Params, PretrainingEpisode, Rate, UserError, sgd

from ._pretraining import HeadPretraining

GATE = "gated.gate."
"""The prefix of the gate's parameters."""


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

    def learns(self, name: str) -> bool:
        return super().learns(name) and _outside_gate(name)

    def pretraining_loss(self, net: Net, params: Params, episode: PretrainingEpisode) -> Tensor:
        if not any(name.startswith(GATE) for name in params):
            raise UserError(
                "ANML learns a gate; the model has none. Use a gated model, such as "
                "model=gated-plainconv-32."
            )
        trajectory = episode.trajectory
        fast = params
        for step in range(len(trajectory.y)):
            example = trajectory.at(slice(step, step + 1))
            fast = self._inner_step(net, fast, example)
        meta_query = trajectory.concat(episode.remember_set)
        return net.loss(fast, meta_query)

    def _inner_step(self, net: Net, fast: Params, example: Batch) -> Params:
        # The inner loop learns all but the gate, even with trainable=head.
        gradient = net.grad(fast, example, only=_outside_gate, constant=self.first_order)
        adapted = {name: fast[name] for name in gradient}
        return fast | sgd(adapted, gradient, self.inner_lr)


def _outside_gate(name: str) -> bool:
    return not name.startswith(GATE)
