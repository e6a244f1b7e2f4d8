"""Pretraining on the examples of all tasks together."""

from dataclasses import dataclass

from torch import Tensor

from retrograde import Episode, MetaStrategy, Net, Params


@dataclass(frozen=True, kw_only=True)
class Pretrain(MetaStrategy):
    """Train on all tasks together, then fine-tune on the new one.

    A baseline of MAML (Finn et al. 2017, section 5.1).
    """

    def task_loss(
        self, net: Net, meta_params: Params, episode: Episode, progress: Tensor
    ) -> Tensor:
        return net.loss(meta_params, episode.combined())
