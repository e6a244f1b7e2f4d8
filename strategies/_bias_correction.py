"""The correction of BiC: a scale and a shift of the logits of new classes."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.func import grad, jacrev

from retrograde import Batch, Net, class_indicators

NEWTON_STEPS = 20
STEP_SIZES = (1.0, 0.5, 0.25, 0.1, 0.01)
"""The lengths of a step of Newton's method that are tried."""


def fitted_correction(
    net: Net,
    logits: Float[Tensor, "row unit"],
    batch: Batch,
    new: Float[Tensor, " unit"],
    decay: float,
) -> Float[Tensor, "2"]:
    """The scale and the shift of the new classes' logits that minimise the label loss.

    The loss is convex. Of each step of Newton's method, the best of several lengths is taken.

    Args:
        net: The model's loss.
        logits: The logits; very low, but finite, for classes that are not seen.
        batch: The examples; each class has the same weight.
        new: 1 for the units of new classes, else 0.
        decay: Half of it times (scale - 1)² + shift² is added to the loss.
    """
    members = class_indicators(batch, net.outputs)
    balanced = batch._replace(weight=(members / members.sum(0).clamp(min=1)).sum(1))
    precise = logits.double()
    start = torch.tensor([1.0, 0.0]).to(precise)

    def loss(correction: Float64[Tensor, "2"]) -> Float64[Tensor, ""]:
        scale, shift = correction
        corrected = torch.where(new > 0, precise * scale + shift, precise)
        penalty = decay / 2 * (correction - start).square().sum()
        return net.loss_from_logits(corrected, balanced) + penalty

    correction = start
    damping = torch.finfo(start.dtype).eps * torch.eye(2).to(start)
    for _ in range(NEWTON_STEPS):
        curvature = jacrev(grad(loss))(correction) + damping
        direction = torch.linalg.solve(curvature, grad(loss)(correction))
        tried = [correction - size * direction for size in (0.0, *STEP_SIZES)]
        best = torch.stack([loss(each) for each in tried]).argmin()
        correction = torch.stack(tried)[best]
    return correction.to(logits.dtype)
