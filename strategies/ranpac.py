"""RanPAC: ridge regression on random projections of the inputs."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retrograde import (
    Batch,
    Count,
    Net,
    Params,
    Rate,
    State,
    StepData,
    Strategy,
    class_indicators,
    ridge_head,
)


@dataclass(frozen=True)
class RanPAC(Strategy):
    """Random projections and prototypes (McDonnell et al. 2023, arXiv 2307.02251, equation 6).

    A fixed Gaussian matrix and a ReLU give `projection` new features; the head is ridge regression
    on these. The paper has 10 000, and chooses the strength on a part of the training data of each
    task; here it is a setting. The first session's fine-tuning of the network is left out. The
    model is not used.
    """

    classes_only: ClassVar[bool] = True
    probes: ClassVar[bool] = False  # predictions are not those of the model
    later_classes_in_loss: ClassVar[bool] = False  # a class without examples is never predicted

    projection: Count = 2000
    strength: Rate = 1000.0

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        size = self.projection
        matrix = net.normal(math.prod(net.shape), size, name="projection")
        zero = next(iter(params.values())).new_zeros((), dtype=torch.double)
        return {
            "matrix": matrix.to(next(iter(params.values()))),
            "inputs": zero.expand(size, size).clone(),
            "classes": zero.expand(size, net.outputs).clone(),
            "counts": zero.expand(net.outputs).clone(),
            "head": zero.expand(size, net.outputs).clone(),
        }

    def step(self, net: Net, state: State, data: StepData) -> State:
        projected = _projected(state, data.incoming.x)
        classes = class_indicators(data.incoming, net.outputs)
        weighted = projected * data.incoming.weight[:, None]
        extra = state.extra | {
            "inputs": state.extra["inputs"] + weighted.T @ projected,
            "classes": state.extra["classes"] + projected.T @ classes,
            "counts": state.extra["counts"] + classes.sum(0),
        }
        return state.replace(extra=extra)

    def before_evaluation(self, net: Net, state: State, memory: Batch | None) -> State:
        head = ridge_head(state.extra["inputs"], state.extra["classes"], self.strength)
        return state.replace(extra=state.extra | {"head": head})

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        scores = _projected(state, x) @ state.extra["head"]
        return torch.where(state.extra["counts"] > 0, scores, -torch.inf)


def _projected(state: State, x: Float[Tensor, "row *shape"]) -> Float[Tensor, "row feature"]:
    """The random features of examples, in double precision."""
    projected: Tensor = (x.flatten(1) @ state.extra["matrix"]).relu()
    return projected.double()
