"""Features pretrained by classification of the held-out classes."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from retrograde import Net, Params, PretrainingEpisode

from ._pretraining import HeadPretraining


@dataclass(frozen=True, kw_only=True)
class Pretrained(HeadPretraining):
    """Train on random examples of all held-out classes together, then learn the stream."""

    resets_rows: ClassVar[bool] = False

    def pretraining_loss(self, net: Net, params: Params, episode: PretrainingEpisode) -> Tensor:
        return net.loss(params, episode.remember_set)
