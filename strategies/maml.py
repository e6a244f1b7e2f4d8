"""MAML: model-agnostic meta-learning."""

from dataclasses import dataclass

from torch import Tensor

from retrograde import Episode, MetaStrategy, Net, Params, Steps


@dataclass(frozen=True, kw_only=True)
class MAML(MetaStrategy):
    """Model-agnostic meta-learning (Finn et al. 2017, arXiv 1703.03400, algorithm 2).

    Learns initial parameters from which gradient steps on the support lower the loss on the query.
    The outer gradient goes through the inner steps: exact second order.
    """

    inner_steps: Steps = 1  # inner steps while meta-training

    def task_loss(
        self, net: Net, meta_params: Params, episode: Episode, progress: Tensor
    ) -> Tensor:
        adapted = self.adapt(net, meta_params, episode.support, self.inner_steps)
        return net.loss(adapted, episode.query)
