"""Streaming linear discriminant analysis: class means and one covariance, example by example."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retrograde import Batch, Decay, Net, Params, State, StepData, Strategy


@dataclass(frozen=True)
class SLDA(Strategy):
    """Deep streaming linear discriminant analysis (Hayes and Kanan 2020, arXiv 1909.01520).

    Class means and the covariance that all classes share are updated with every example, in the
    order of the stream (equations 2 and 3). The inputs are features of a frozen network, or any
    vectors; the model is not used.
    """

    classes_only: ClassVar[bool] = True
    probes: ClassVar[bool] = False  # predictions are not those of the model
    later_classes_in_loss: ClassVar[bool] = False  # a class without a mean is never predicted

    shrinkage: Decay = 1e-4

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        size = math.prod(net.shape)
        zero = next(iter(params.values())).new_zeros((), dtype=torch.double)
        return {
            "means": zero.expand(net.outputs, size).clone(),
            "counts": zero.expand(net.outputs).clone(),
            "covariance": zero.expand(size, size).clone(),
            "weights": zero.expand(net.outputs, size).clone(),
        }

    def step(self, net: Net, state: State, data: StepData) -> State:
        means = state.extra["means"]
        counts = state.extra["counts"]
        covariance = state.extra["covariance"]
        units = torch.arange(net.outputs, device=means.device)
        incoming = data.incoming
        for row in range(len(incoming.x)):
            weight = incoming.weight[row].double()
            own = (units == incoming.y[row]).double()
            seen = counts.sum()
            difference = incoming.x[row].flatten().double() - own @ means
            scatter = seen / (seen + 1) * torch.outer(difference, difference)
            after = (seen * covariance + scatter) / (seen + 1)
            covariance = covariance + weight * (after - covariance)
            counts = counts + weight * own
            share = weight * own / counts.clamp(min=1)
            means = means + share[:, None] * difference
        extra = state.extra | {"means": means, "counts": counts, "covariance": covariance}
        return state.replace(extra=extra)

    def before_evaluation(self, net: Net, state: State, memory: Batch | None) -> State:
        covariance = state.extra["covariance"]
        identity = torch.eye(len(covariance), dtype=covariance.dtype).to(covariance)
        shrunk = (1 - self.shrinkage) * covariance + self.shrinkage * identity
        weights = torch.linalg.solve(shrunk, state.extra["means"].T).T
        return state.replace(extra=state.extra | {"weights": weights})

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        weights = state.extra["weights"]
        constant = (state.extra["means"] * weights).sum(1) / 2
        scores = x.flatten(1).double() @ weights.T - constant
        return torch.where(state.extra["counts"] > 0, scores, -torch.inf)
