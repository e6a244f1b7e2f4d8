"""Distillation losses, and the storage of logits next to a replay memory."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retrograde import Batch, Net, Params, mean


def empty_logits(net: Net, params: Params, memory: int) -> Float[Tensor, "slot unit"]:
    """Zeros for the logits of `memory` examples, with the dtype and device of the parameters."""
    like = next(iter(params.values()))
    return like.new_zeros(memory, net.outputs)


def store_at(
    kept: Float[Tensor, "slot unit"],
    slot: Int64[Tensor, " row"],
    outputs: Float[Tensor, "row unit"],
) -> Float[Tensor, "slot unit"]:
    """Store outputs at their slots.

    Args:
        kept: the stored outputs.
        slot: the slot of each row; one past the last slot discards the row.
        outputs: the outputs to store.
    """
    # One more slot takes the discarded rows: no branch depends on data.
    padded = torch.cat([kept, kept[:1]])
    return padded.index_put((slot,), outputs)[:-1]


def squared_gap(
    outputs: Float[Tensor, "row unit"],
    wanted: Float[Tensor, "row unit"],
    weight: Float[Tensor, " row"],
) -> Float[Tensor, ""]:
    """The squared difference, averaged over units and, by weight, over rows."""
    gaps = ((outputs - wanted) ** 2).mean(-1)
    return mean(gaps, weight)


def seen_classes(before: Float[Tensor, " unit"], batch: Batch) -> Float[Tensor, " unit"]:
    """1 for every output unit seen before or in the batch (padding aside), else 0."""
    units = torch.arange(len(before), device=batch.y.device)
    labels = batch.y[:, None] == units
    in_batch = (labels * batch.weight[:, None]).amax(0)
    return torch.maximum(before, in_batch)


def distillation_loss(
    groups: Float[Tensor, "group unit"],
    logits: Float[Tensor, "row unit"],
    wanted: Float[Tensor, "row unit"],
    weight: Float[Tensor, " row"],
) -> Float[Tensor, ""]:
    """The distillation loss within groups of units.

    The loss of a group is the cross-entropy between the teacher's and the student's softmax over
    the units of the group.

    Args:
        groups: the units of each group are those above 0.
        logits: the student's logits.
        wanted: the teacher's logits.
        weight: the weight of each row.

    Returns:
        The mean over the groups that have a unit; 0 if none has any.
    """
    out = (groups == 0)[:, None]
    # Finite, since it is multiplied by a probability of 0.
    lowest = torch.finfo(logits.dtype).min / 4
    ours = logits.masked_fill(out, lowest)
    theirs = wanted.masked_fill(out, lowest)
    wanted_probabilities = theirs.softmax(-1)
    losses = -(wanted_probabilities * ours.log_softmax(-1)).sum(-1)
    group_means = torch.stack([mean(group, weight) for group in losses.unbind()])
    has_units = (groups > 0).any(-1)
    return mean(group_means, has_units.to(weight.dtype))
