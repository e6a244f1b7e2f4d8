"""Pretraining of the features by classification of the held-out classes."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from retrograde import Net, Params, PretrainingEpisode

from ._prepared import Prepared


@dataclass(frozen=True, kw_only=True)
class Pretrained(Prepared):
    """Train on random examples of all held-out classes together, then learn the stream."""

    resets: ClassVar[bool] = False

    def pretraining_loss(self, net: Net, params: Params, episode: PretrainingEpisode) -> Tensor:
        return net.loss(params, episode.remember_set)
