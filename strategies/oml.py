"""OML: features pretrained for online learning of a linear head."""

from dataclasses import dataclass

from torch import Tensor

from retrograde import Episode, MetaStrategy, Net, Params, Rate, head_after_steps

from ._pretraining import HeadPretraining, Trajectory


@dataclass(frozen=True, kw_only=True)
class _OnlineAware(Trajectory):
    """The loss on the query and the remembered examples, after a head's steps on the support."""

    first_order: bool

    def task_loss(
        self, net: Net, meta_params: Params, episode: Episode, progress: Tensor
    ) -> Tensor:
        support = episode.support
        meta_query = episode.meta_query()
        features = net.features(meta_params, support.x)
        query = net.features(meta_params, meta_query.x)
        logits = head_after_steps(
            meta_params, features, support.y, query, self.inner_lr, self.first_order
        )
        return net.losses(logits, meta_query.y).mean()


@dataclass(frozen=True, kw_only=True)
class OML(HeadPretraining):
    """Online-aware meta-learning (Javed and White 2019, arXiv 1905.12588).

    Learns features on which a linear head, trained example by example, does not forget. The head is
    one layer, as in the authors' code since 2020; the paper's has two.
    """

    inner_lr: Rate = 0.03  # of the head's inner steps
    first_order: bool = False

    def pretraining(self) -> MetaStrategy:
        return _OnlineAware(
            meta_lr=self.meta_lr, inner_lr=self.inner_lr, first_order=self.first_order
        )
