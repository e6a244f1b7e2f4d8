"""GeMCL: features pretrained for a generative classifier, which is learned in closed form."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retrograde import (
    Batch,
    Episode,
    MetaStrategy,
    Net,
    Params,
    Rate,
    State,
    StepData,
    Strategy,
    class_indicators,
)

from ._pretraining import Trajectory

CHUNK = 32
"""The number of rows whose features are compared with those of every class at once."""
Sums = dict[str, Tensor]
"""Of each class the number of examples, and the sums of their features and of their squares."""


@dataclass(frozen=True, kw_only=True)
class _Generative(Trajectory):
    """The loss of the classifier of an episode's support on its query."""

    resets_rows: bool = False
    shape: float
    scale: float

    def task_loss(
        self, net: Net, meta_params: Params, episode: Episode, progress: Tensor
    ) -> Tensor:
        support = net.features(meta_params, episode.support.x)
        query = net.features(meta_params, episode.query.x)
        sums = class_moments(support, episode.support, net.outputs)
        scores = predictive_scores(sums, query, self.shape, self.scale)
        return net.losses(scores, episode.query.y).mean()


@dataclass(frozen=True, kw_only=True)
class GeMCL(Strategy):
    """Generative meta-continual learning (Banayeeanzade et al. 2021, arXiv 2112.01636).

    Each feature of each class is normal, with a variance whose prior is inverse gamma. The
    posterior follows from sums over the class, so that the order of the stream makes no difference;
    an example has the class with the highest predictive density. Features are pretrained for this
    and then stay. As in the authors' code, the mean is that of the examples.
    """

    classes_only: ClassVar[bool] = True
    probes: ClassVar[bool] = False  # predictions are not those of the model
    later_classes_in_loss: ClassVar[bool] = False  # a class without examples is never predicted

    meta_lr: Rate = 0.001  # of the pretraining steps
    shape: Rate = 100.0  # alpha of the prior
    scale: Rate = 1000.0  # beta of the prior

    def pretraining(self) -> MetaStrategy:
        return _Generative(meta_lr=self.meta_lr, shape=self.shape, scale=self.scale)

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        x = next(iter(params.values())).new_zeros(1, *net.shape)
        width = net.features(params, x).shape[1]
        sums = x.new_zeros(net.outputs, width, dtype=torch.double)
        return {"counts": sums[:, 0], "sums": sums, "squares": sums}

    def step(self, net: Net, state: State, data: StepData) -> State:
        features = net.features(state.params, data.incoming.x)
        sums = class_moments(features, data.incoming, net.outputs)
        return state.replace(extra={name: state.extra[name] + sums[name] for name in sums})

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        chunks = torch.split(net.features(state.params, x), CHUNK)
        scores = [predictive_scores(state.extra, each, self.shape, self.scale) for each in chunks]
        return torch.cat(scores)


def class_moments(features: Float[Tensor, "row feature"], batch: Batch, outputs: int) -> Sums:
    """The sums of a batch."""
    classes = class_indicators(batch, outputs)
    # Double precision, so that variances of many examples keep their digits.
    exact = features.double()
    return {"counts": classes.sum(0), "sums": classes.T @ exact, "squares": classes.T @ exact**2}


def predictive_scores(
    moments: Sums, features: Float[Tensor, "row feature"], shape: float, scale: float
) -> Float[Tensor, "row unit"]:
    """The log density of each row in each class, up to a constant; -inf without examples.

    Summed over features, it is that of Student's t with 2 alpha degrees of freedom about the mean,
    where alpha = shape + n / 2, and beta = scale + half of the sum of squared deviations.

    Args:
        moments: The sums of each class.
        features: The features of each row.
        shape: Alpha of the prior.
        scale: Beta of the prior.
    """
    counts = moments["counts"]
    some = counts.clamp(min=1)[:, None]
    mean = moments["sums"] / some
    deviations = (moments["squares"] - moments["sums"] * mean).clamp(min=0)
    alpha = shape + counts / 2
    beta = scale + deviations / 2
    distance = (features.double()[:, None] - mean) ** 2
    densities = alpha[:, None] * beta.log() - (alpha[:, None] + 0.5) * (beta + distance / 2).log()
    width = features.shape[1]
    gammas = width * (torch.lgamma(alpha + 0.5) - torch.lgamma(alpha))
    scores = densities.sum(-1) + gammas
    return scores.masked_fill(counts == 0, -torch.inf).to(features.dtype)
