"""MAML: model-agnostic meta-learning."""

from dataclasses import dataclass

from torch import Tensor

from retrograde.interface.metastrategy import Episode, MetaStrategy
from retrograde.interface.net import Net
from retrograde.optim import Params
from retrograde.parts.fields import Steps


@dataclass(frozen=True, kw_only=True)
class MAML(MetaStrategy):
    """Learn initial parameters from which gradient steps on the support lower the query's loss (Finn et al. 2017, 1703.03400).

    The outer gradient goes through the inner steps: algorithm 2, exact second order.
    """

    steps: Steps = 1  # inner steps while meta-training

    def task_loss(self, net: Net, learned: Params, episode: Episode, progress: Tensor) -> Tensor:
        adapted = self.adapted(net, learned, episode.support, self.steps)
        return net.loss(adapted, episode.query)
