"""Fisher information: how much the predicted distribution changes with each parameter, on average over examples."""

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import one_hot

from retrograde import Batch, Net, Params

from ._per_example import Directions, mean_powers

Fisher = Literal["exact", "sampled", "empirical", "weighted"]
"""Whose log-likelihood has its gradient squared: each class's, by its predicted probability; that of one class, drawn with
that probability; the label's; or the label's, by its predicted probability (as in Mammoth)."""


def fisher_information(
    net: Net, params: Params, examples: Batch, kind: Fisher, count: int
) -> Params:
    """The diagonal of the Fisher information, a mean over `count` of the examples, drawn by chance; 0: over all of them.

    Where the task is told, the distribution is that over its units.
    """
    chance = net.chance(len(examples.x), 1 + net.outputs)
    if count:
        chosen = torch.where(examples.weight > 0, chance[:, 0], 2.0).argsort()[:count]
        examples, chance = examples.at(chosen), chance[chosen]

    def along(outputs: Float[Tensor, "row unit"], rows: slice) -> Directions:
        probabilities = outputs.softmax(-1)
        drawn = (probabilities / -chance[rows, 1:].log()).argmax(
            -1
        )  # the first of exponential clocks
        return _directions(probabilities, drawn if kind == "sampled" else examples.y[rows], kind)

    return mean_powers(net, params, examples, along, power=2)


def _directions(
    probabilities: Float[Tensor, "row unit"], y: Int64[Tensor, " row"], kind: Fisher
) -> Directions:
    """Gradients of log-likelihoods with respect to the outputs, times the root of what their squares are weighted by."""
    units = probabilities.shape[1]
    if kind == "exact":
        classes = torch.eye(units, device=y.device)[:, None]
        return (classes - probabilities) * probabilities.T.sqrt()[..., None]
    label = one_hot(y, units)
    root = (probabilities * label).sum(-1, keepdim=True).sqrt() if kind == "weighted" else 1
    return ((label - probabilities) * root)[None]
