"""Distillation: how far outputs are from those of an earlier net, and where they are kept beside a memory."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retrograde import Batch, Net, Params, mean


def blank(net: Net, params: Params, memory: int) -> Float[Tensor, "slot unit"]:
    """A row of outputs for each slot of the memory."""
    return next(iter(params.values())).new_zeros(memory, net.outputs)


def written(
    kept: Float[Tensor, "slot unit"],
    slot: Int64[Tensor, " row"],
    outputs: Float[Tensor, "row unit"],
) -> Float[Tensor, "slot unit"]:
    """What is kept, with the outputs of some examples at their slots; one past the last slot is nowhere."""
    return torch.cat([kept, kept[:1]]).index_put((slot,), outputs)[:-1]


def squared_gap(
    outputs: Float[Tensor, "row unit"],
    wanted: Float[Tensor, "row unit"],
    weight: Float[Tensor, " row"],
) -> Float[Tensor, ""]:
    """The mean over rows and units of the squared difference."""
    return mean(((outputs - wanted) ** 2).mean(-1), weight)


def met(before: Float[Tensor, " unit"], batch: Batch) -> Float[Tensor, " unit"]:
    """1 for every output unit of which an example was met before or is in the batch, else 0."""
    units = torch.arange(len(before), device=batch.y.device)
    return torch.maximum(before, ((batch.y[:, None] == units) * batch.weight[:, None]).amax(0))


def taught_among(
    groups: Float[Tensor, "group unit"],
    logits: Float[Tensor, "row unit"],
    wanted: Float[Tensor, "row unit"],
    weight: Float[Tensor, " row"],
) -> Float[Tensor, ""]:
    """The cross-entropy of predictions against a teacher's among the units of a group (those above 0), averaged over groups.

    A group without units does not count; 0 where none has any.
    """
    out = (groups == 0)[:, None]
    lowest = (
        torch.finfo(logits.dtype).min / 4
    )  # not infinite: it is multiplied by a probability of 0
    ours, theirs = (each.masked_fill(out, lowest) for each in (logits, wanted))
    losses = -(theirs.softmax(-1) * ours.log_softmax(-1)).sum(-1)
    return mean(
        torch.stack([mean(each, weight) for each in losses.unbind()]),
        (groups > 0).any(-1).to(weight.dtype),
    )
