"""Nearest class mean: an example has the class whose mean is nearest."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from retrograde import Net, Params, State, StepData, Strategy, class_sums


@dataclass(frozen=True)
class NCM(Strategy):
    """Nearest class mean of the inputs, such as features (Mensink et al. 2013).

    On features of a frozen network, with the cosine, it is SimpleCIL (Zhou et al. 2023, arXiv
    2303.07338). The means do not depend on the order of the stream. The model is not used.
    """

    classes_only: ClassVar[bool] = True
    probes: ClassVar[bool] = False  # predictions are not those of the model
    later_classes_in_loss: ClassVar[bool] = False  # a class without a mean is never predicted

    distance: Literal["cosine", "euclidean"] = "cosine"

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        # Double precision, so that the order of the examples makes no difference.
        zeros = next(iter(params.values())).new_zeros((), dtype=torch.double)
        sums = zeros.expand(net.outputs, math.prod(net.shape)).clone()
        return {"sums": sums, "counts": zeros.expand(net.outputs).clone()}

    def step(self, net: Net, state: State, data: StepData) -> State:
        sums, counts = class_sums(data.incoming, net.outputs)
        extra = {
            "sums": state.extra["sums"] + sums,
            "counts": state.extra["counts"] + counts,
        }
        return state.replace(extra=extra)

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        counts = state.extra["counts"]
        means = state.extra["sums"] / counts.clamp(min=1)[:, None]
        flat = x.flatten(1).double()
        if self.distance == "cosine":
            scores = normalize(flat) @ normalize(means).T
        else:
            scores = -torch.cdist(flat, means)
        return torch.where(counts > 0, scores, -torch.inf)
