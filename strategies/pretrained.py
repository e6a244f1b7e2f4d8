"""Features pretrained by classification of the held-out classes."""

from dataclasses import dataclass

from torch import Tensor

from retrograde import Episode, MetaStrategy, Net, Params

from ._pretraining import HeadPretraining, Trajectory


@dataclass(frozen=True, kw_only=True)
class _Classification(Trajectory):
    """The loss on random examples of all held-out classes."""

    resets_rows: bool = False

    def task_loss(
        self, net: Net, meta_params: Params, episode: Episode, progress: Tensor
    ) -> Tensor:
        return net.loss(meta_params, episode.remembered)


@dataclass(frozen=True, kw_only=True)
class Pretrained(HeadPretraining):
    """Train on random examples of all held-out classes together, then learn the stream."""

    def pretraining(self) -> MetaStrategy:
        return _Classification(meta_lr=self.meta_lr)
