"""OML: features pretrained for online learning of a linear head."""

from dataclasses import dataclass

from torch import Tensor

from retrograde import Net, Params, PretrainingEpisode, Rate

from ._head import head_after_steps
from ._prepared import Prepared


@dataclass(frozen=True, kw_only=True)
class OML(Prepared):
    """Online-aware meta-learning (Javed and White 2019, arXiv 1905.12588).

    Learns features whose linear head, taught example by example, does not forget. The head is one
    layer, as in the authors' code since 2020; the paper's has two.
    """

    inner_lr: Rate = 0.03  # of the head's steps in a lesson
    first_order: bool = False

    def pretraining_loss(self, net: Net, params: Params, episode: PretrainingEpisode) -> Tensor:
        trajectory = episode.trajectory
        judged = episode.meta_query()
        seen = net.features(params, trajectory.x)
        asked = net.features(params, judged.x)
        logits = head_after_steps(
            params, seen, trajectory.y, asked, self.inner_lr, self.first_order
        )
        return net.losses(logits, judged.y).mean()
