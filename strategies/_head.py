"""A linear head that learns example by example: reset rows, and many steps in closed form."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad

from retrograde import HEAD, Params, UserError

WEIGHT = f"{HEAD}.weight"
BIAS = f"{HEAD}.bias"


def reset_head(params: Params, y: Int64[Tensor, " row"] | None = None) -> Params:
    """Set the head's rows of the classes `y` to zero; None: all rows."""
    weight, bias = linear(params)
    keep = torch.zeros_like(bias) if y is None else 1 - _one_hot(y, bias).amax(0)
    return params | {WEIGHT: weight * keep[:, None], BIAS: bias * keep}


def linear(params: Params) -> tuple[Float[Tensor, "unit feature"], Float[Tensor, " unit"]]:
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
    seen: Float[Tensor, "row feature"],
    y: Int64[Tensor, " row"],
    asked: Float[Tensor, "query feature"],
    lr: float,
    first_order: bool = False,
) -> Float[Tensor, "query unit"]:
    """The logits of `asked` after one SGD step on the cross-entropy of each row of `seen` in turn.

    A step on a row f with the error e = softmax - one_hot adds -lr * e f' to the weight. So the
    logits after some steps are those of the initial head, minus lr times the sum of the errors
    weighted by inner products of features. This is exact, with all derivatives, and never writes
    the head down: it costs vectors, not matrices.

    Args:
        params: the parameters, with the initial head.
        seen: the features to learn from.
        y: the class of each row of `seen`.
        asked: the features to predict.
        lr: the learning rate of the head.
        first_order: True if the steps' additions to the head are constants to the gradient.
    """
    weight, bias = linear(params)
    # The bias is the weight of a feature that is always 1.
    seen = pad(seen, (0, 1), value=1.0)
    asked = pad(asked, (0, 1), value=1.0)
    head = torch.cat([weight, bias[:, None]], 1)
    steady = head
    if first_order:
        seen = seen.detach()
        steady = head.detach()
    before = seen @ steady.T
    alike = seen @ seen.T
    right = _one_hot(y, bias)
    error = before[0].softmax(0) - right[0]
    errors = error[None]
    for step in range(1, len(seen)):
        now = before[step] - lr * alike[step, :step] @ errors
        error = now.softmax(0) - right[step]
        errors = torch.cat([errors, error[None]])
    at_first = asked @ head.T
    overlap = asked @ seen.T
    return at_first - lr * overlap @ errors


def _one_hot(y: Int64[Tensor, " row"], bias: Float[Tensor, " unit"]) -> Float[Tensor, "row unit"]:
    units = torch.arange(len(bias), device=y.device)
    return (y[:, None] == units).to(bias.dtype)
