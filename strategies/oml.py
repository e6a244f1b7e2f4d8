"""OML: features pretrained for online learning of a linear head."""

from dataclasses import dataclass

from torch import Tensor

from retrograde import Net, Params, PretrainingEpisode, Rate

from ._head import head_after_steps
from ._pretraining import HeadPretraining


@dataclass(frozen=True, kw_only=True)
class OML(HeadPretraining):
    """Online-aware meta-learning (Javed and White 2019, arXiv 1905.12588).

    Learns features on which a linear head, trained example by example, does not forget. The head is
    one layer, as in the authors' code since 2020; the paper's has two.
    """

    inner_lr: Rate = 0.03  # of the head's inner steps
    first_order: bool = False

    def pretraining_loss(self, net: Net, params: Params, episode: PretrainingEpisode) -> Tensor:
        trajectory = episode.trajectory
        meta_query = episode.meta_query()
        features = net.features(params, trajectory.x)
        query = net.features(params, meta_query.x)
        logits = head_after_steps(
            params, features, trajectory.y, query, self.inner_lr, self.first_order
        )
        return net.losses(logits, meta_query.y).mean()
