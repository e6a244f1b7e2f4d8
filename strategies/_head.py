"""A linear head that learns example by example: blank rows for new classes, and many steps without writing the head down."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad

from retrograde import HEAD, Params, UserError

WEIGHT, BIAS = f"{HEAD}.weight", f"{HEAD}.bias"


def blank(params: Params, y: Int64[Tensor, " row"] | None = None) -> Params:
    """The parameters with the head's rows of the classes `y`, or all of its rows, set to zero."""
    weight, bias = linear(params)
    keep = torch.zeros_like(bias) if y is None else 1 - _one_hot(y, bias).amax(0)
    return params | {WEIGHT: weight * keep[:, None], BIAS: bias * keep}


def linear(params: Params) -> tuple[Float[Tensor, "unit feature"], Float[Tensor, " unit"]]:
    """The weight and the bias of the head; raises `UserError` where it is not one linear layer."""
    if WEIGHT not in params or BIAS not in params or params[WEIGHT].ndim != 2:
        raise UserError(
            f"The model's head must be one linear layer with a bias, named {HEAD}. Choose another model."
        )
    return params[WEIGHT], params[BIAS]


def taught(
    params: Params,
    seen: Float[Tensor, "row feature"],
    y: Int64[Tensor, " row"],
    asked: Float[Tensor, "query feature"],
    lr: float,
    first_order: bool = False,
) -> Float[Tensor, "query unit"]:
    """The logits of `asked` after one step of gradient descent on the cross-entropy of each row of `seen`, in order.

    A step on a row f whose error is e = softmax - one_hot adds -lr * e f' to the weight. So the logits along the way are those
    of the head as it was, less lr times the sum of errors weighted by products of features: exact, with all derivatives,
    at the cost of vectors. In first order, what the steps add is a constant.
    """
    weight, bias = linear(params)
    seen, asked = (
        pad(each, (0, 1), value=1.0) for each in (seen, asked)
    )  # the bias is the weight of a feature that is 1
    head = torch.cat([weight, bias[:, None]], 1)
    if first_order:
        seen, steady = seen.detach(), head.detach()
    else:
        steady = head
    before, alike, right = seen @ steady.T, seen @ seen.T, _one_hot(y, bias)
    errors = (before[0].softmax(0) - right[0])[None]
    for step in range(1, len(seen)):
        now = before[step] - lr * alike[step, :step] @ errors
        errors = torch.cat([errors, (now.softmax(0) - right[step])[None]])
    return asked @ head.T - lr * (asked @ seen.T) @ errors


def _one_hot(y: Int64[Tensor, " row"], bias: Float[Tensor, " unit"]) -> Float[Tensor, "row unit"]:
    return (y[:, None] == torch.arange(len(bias), device=y.device)).to(bias.dtype)
