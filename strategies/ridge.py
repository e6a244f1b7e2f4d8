"""Ridge regression: the best linear head on all examples so far, in closed form."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retrograde import (
    Batch,
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
class Ridge(Strategy):
    """Ridge regression from the inputs, such as features, to the classes (Hoerl and Kennard 1970).

    The head W = (X'X + strength I)^-1 X'Y is that of all examples so far, whatever their order: the
    analytic learning of Zhuang et al. 2022 (arXiv 2205.14922). Only the two products are stored.
    The inputs have a constant besides. The model is not used.
    """

    classes_only: ClassVar[bool] = True
    probes: ClassVar[bool] = False  # predictions are not those of the model
    later_classes_in_loss: ClassVar[bool] = False  # a class without examples is never predicted

    strength: Rate = 1.0

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        size = math.prod(net.shape) + 1
        # Double precision, so that the order of the examples makes no difference.
        zero = next(iter(params.values())).new_zeros((), dtype=torch.double)
        return {
            "inputs": zero.expand(size, size).clone(),
            "classes": zero.expand(size, net.outputs).clone(),
            "head": zero.expand(size, net.outputs).clone(),
        }

    def step(self, net: Net, state: State, data: StepData) -> State:
        x = _with_constant(data.incoming.x)
        classes = class_indicators(data.incoming, net.outputs)
        weighted = x * data.incoming.weight[:, None]
        extra = state.extra | {
            "inputs": state.extra["inputs"] + weighted.T @ x,
            "classes": state.extra["classes"] + x.T @ classes,
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
        scores = _with_constant(x) @ state.extra["head"]
        # The constant's row counts the examples of each class.
        return torch.where(state.extra["classes"][-1] > 0, scores, -torch.inf)


def _with_constant(x: Float[Tensor, "row *shape"]) -> Float[Tensor, "row feature"]:
    """The inputs as vectors in double precision, with a last entry of 1."""
    flat = x.flatten(1).double()
    return torch.cat([flat, torch.ones_like(flat[:, :1])], dim=1)
