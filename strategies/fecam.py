"""FeCAM: an example has the class of the smallest Mahalanobis distance, by its own covariance."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.nn.functional import normalize

from retrograde import (
    Batch,
    Count,
    ExperienceEnd,
    Net,
    NonNegative,
    Params,
    Rate,
    State,
    StepData,
    Strategy,
    class_indicators,
    class_sums,
)


@dataclass(frozen=True)
class FeCAM(Strategy):
    """Mahalanobis distances of the inputs, as features (Goswami et al. 2023, arXiv 2309.14062).

    The covariance of each class is that of features under Tukey's power transform. It is shrunk to
    its mean variance and its mean covariance, and divided by standard deviations. Distances are
    between transformed features and the transformed mean, both of norm 1, as in the authors' code;
    there, the classes of the first task have the distances of the trained head. A value below 0
    keeps its sign. The model is not used.
    """

    classes_only: ClassVar[bool] = True
    probes: ClassVar[bool] = False  # predictions are not those of the model
    later_classes_in_loss: ClassVar[bool] = False  # a class without a mean is never predicted

    power: Rate = 0.5  # lambda of Tukey's transform; 1: none
    shrink_variance: Rate = 1.0  # gamma_1, times the mean variance
    shrink_covariance: NonNegative = 1.0  # gamma_2, times the mean covariance
    rounds: Count = 2  # of shrinking: 2 in the authors' code, 1 in that for vision transformers

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        size = math.prod(net.shape)
        zero = next(iter(params.values())).new_zeros((), dtype=torch.double)
        return {
            "counts": zero.expand(net.outputs).clone(),
            "sums": zero.expand(net.outputs, size).clone(),
            "transformed_sums": zero.expand(net.outputs, size).clone(),
            "products": zero.expand(net.outputs, size, size).clone(),
            "precisions": zero.expand(net.outputs, size, size).clone(),
        }

    def step(self, net: Net, state: State, data: StepData) -> State:
        return state  # the examples of an experience are counted when it ends

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        examples = end.examples
        transformed = examples._replace(x=self._transformed(examples.x.flatten(1).double()))
        sums, counts = class_sums(examples, net.outputs)
        transformed_sums, _ = class_sums(transformed, net.outputs)
        members = class_indicators(examples, net.outputs)
        # One class after the other: the products of all rows would not fit into memory.
        products = [(transformed.x * own[:, None]).T @ transformed.x for own in members.T]
        extra = state.extra | {
            "counts": state.extra["counts"] + counts,
            "sums": state.extra["sums"] + sums,
            "transformed_sums": state.extra["transformed_sums"] + transformed_sums,
            "products": state.extra["products"] + torch.stack(products),
        }
        return state.replace(extra=extra)

    def before_evaluation(self, net: Net, state: State, memory: Batch | None) -> State:
        extra = state.extra
        counts = extra["counts"].clamp(min=1)[:, None]
        means = extra["transformed_sums"] / counts
        scatters = extra["products"] - counts[..., None] * means[:, :, None] * means[:, None]
        covariances = scatters / (counts - 1).clamp(min=1)[..., None]
        precisions = [torch.linalg.inv(self._correlation(each)) for each in covariances]
        return state.replace(extra=extra | {"precisions": torch.stack(precisions)})

    def _correlation(
        self, covariance: Float64[Tensor, "feature feature"]
    ) -> Float64[Tensor, "feature feature"]:
        """The shrunk covariance divided by the standard deviations, with 1 on the diagonal."""
        is_variance = torch.eye(len(covariance), device=covariance.device) > 0
        for _ in range(self.rounds):
            others = covariance.masked_fill(is_variance, 0.0)
            # As in the authors' code, covariances of 0, as of a constant feature, do not count.
            mean_covariance = others.sum() / (others != 0).sum().clamp(min=1)
            mean_variance = covariance.diagonal().mean()
            on_diagonal = self.shrink_variance * mean_variance
            covariance = covariance + torch.where(
                is_variance, on_diagonal, self.shrink_covariance * mean_covariance
            )
        # Of a class with one example, every variance is 0.
        smallest = torch.finfo(covariance.dtype).tiny
        deviations = covariance.diagonal().clamp(min=smallest).sqrt()
        correlation = covariance / torch.outer(deviations, deviations)
        return correlation.masked_fill(is_variance, 1.0)

    def _transformed(self, x: Float64[Tensor, "*_ feature"]) -> Float64[Tensor, "*_ feature"]:
        return x.sign() * x.abs() ** self.power

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        extra = state.extra
        means = extra["sums"] / extra["counts"].clamp(min=1)[:, None]
        means = normalize(self._transformed(means))
        features = normalize(self._transformed(x.flatten(1).double()))
        distances = []
        for mean, precision in zip(means, extra["precisions"], strict=True):
            away = features - mean
            distances.append(((away @ precision) * away).sum(1))
        scores = -torch.stack(distances, dim=1)
        return torch.where(extra["counts"] > 0, scores, -torch.inf)
