"""A linear head that learns example by example: resets, and many SGD steps in closed form."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad

from retrograde.errors import UserError
from retrograde.networks.head import HEAD
from retrograde.optim import LearningRate, Params

WEIGHT = f"{HEAD}.weight"
BIAS = f"{HEAD}.bias"


def reset_head(params: Params, y: Int64[Tensor, " row"] | None = None) -> Params:
    """Set the head's rows of the classes `y` to zero; None: all rows."""
    weight, bias = head_layer(params)
    keep = torch.zeros_like(bias) if y is None else 1 - _one_hot(y, bias).amax(0)
    return params | {WEIGHT: weight * keep[:, None], BIAS: bias * keep}


def head_layer(params: Params) -> tuple[Float[Tensor, "unit feature"], Float[Tensor, " unit"]]:
    """The weight and the bias of the head.

    Raises:
        UserError: the head is not one linear layer with a bias.
    """
    if WEIGHT not in params or BIAS not in params or params[WEIGHT].ndim != 2:
        raise UserError(
            f"The model's head must be one linear layer with a bias, named {HEAD}. "
            "Choose another model."
        )
    return params[WEIGHT], params[BIAS]


def head_after_steps(
    params: Params,
    features: Float[Tensor, "row feature"],
    y: Int64[Tensor, " row"],
    query: Float[Tensor, "query feature"],
    lr: LearningRate,
    first_order: bool = False,
) -> Float[Tensor, "query unit"]:
    """The logits of `query` after one SGD step on the cross-entropy of each row in turn.

    A step on a row f with the error e = softmax - one_hot adds -lr * e f' to the weight. So the
    logits after some steps are those of the initial head, minus lr times the sum of the errors
    weighted by inner products of features. This is exact, with all derivatives, and never writes
    the head down: it costs vectors, not matrices.

    Args:
        params: the parameters, with the initial head.
        features: the features to learn from.
        y: the class of each row of `features`.
        query: the features to predict.
        lr: the learning rate of the head.
        first_order: True if the steps' additions to the head are constants to the gradient.
    """
    weight, bias = head_layer(params)
    # The bias is the weight of a feature that is always 1.
    features = pad(features, (0, 1), value=1.0)
    query = pad(query, (0, 1), value=1.0)
    head = torch.cat([weight, bias[:, None]], 1)
    constant_head = head
    if first_order:
        features = features.detach()
        constant_head = head.detach()
    initial = features @ constant_head.T
    gram = features @ features.T
    target = _one_hot(y, bias)
    error = initial[0].softmax(0) - target[0]
    errors = error[None]
    for step in range(1, len(features)):
        logits = initial[step] - lr * gram[step, :step] @ errors
        error = logits.softmax(0) - target[step]
        errors = torch.cat([errors, error[None]])
    before = query @ head.T
    overlap = query @ features.T
    return before - lr * overlap @ errors


def _one_hot(y: Int64[Tensor, " row"], bias: Float[Tensor, " unit"]) -> Float[Tensor, "row unit"]:
    units = torch.arange(len(bias), device=y.device)
    return (y[:, None] == units).to(bias.dtype)
