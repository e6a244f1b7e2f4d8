"""Distillation losses, and the classes seen so far."""

import torch
from jaxtyping import Float
from torch import Tensor

from retrograde.interface.batch import Batch
from retrograde.interface.net import Net
from retrograde.losses import mean


def logit_distance(
    outputs: Float[Tensor, "row unit"],
    target: Float[Tensor, "row unit"],
    weight: Float[Tensor, " row"],
) -> Float[Tensor, ""]:
    """The squared difference of outputs and targets: the mean over units and weighted rows."""
    distances = ((outputs - target) ** 2).mean(-1)
    return mean(distances, weight)


def seen_classes(seen: Float[Tensor, " unit"], batch: Batch) -> Float[Tensor, " unit"]:
    """1 for every output unit seen before or in the batch, else 0; padding does not count.

    Example:
        >>> from retrograde.testing import toy_batch
        >>> rg.seen_classes(torch.tensor([1.0, 0.0, 0.0]), toy_batch(2, y=[2, 2])).tolist()
        [1.0, 0.0, 1.0]
    """
    units = torch.arange(len(seen), device=batch.y.device)
    labels = batch.y[:, None] == units
    in_batch = (labels * batch.weight[:, None]).amax(0)
    return torch.maximum(seen, in_batch)


def distillation_loss(
    groups: Float[Tensor, "group unit"],
    logits: Float[Tensor, "row unit"],
    target: Float[Tensor, "row unit"],
    weight: Float[Tensor, " row"],
) -> Float[Tensor, ""]:
    """The distillation loss within groups of units.

    The loss of a group is the cross-entropy between the teacher's and the student's softmax over
    the units of the group.

    Args:
        groups: the units of each group are those above 0.
        logits: the student's logits.
        target: the teacher's logits.
        weight: the weight of each row.

    Returns:
        The mean over the groups that have a unit; 0 if none has any.
    """
    outside = (groups == 0)[:, None]
    # Finite, since it is multiplied by a probability of 0.
    lowest = torch.finfo(logits.dtype).min / 4
    student = logits.masked_fill(outside, lowest)
    teacher = target.masked_fill(outside, lowest)
    target_probabilities = teacher.softmax(-1)
    losses = -(target_probabilities * student.log_softmax(-1)).sum(-1)
    group_means = torch.stack([mean(group, weight) for group in losses.unbind()])
    has_units = (groups > 0).any(-1)
    return mean(group_means, has_units.to(weight.dtype))


def class_weighted_loss(
    net: Net,
    logits: Float[Tensor, "row unit"],
    target: Float[Tensor, "row unit"],
    batch: Batch,
    classes: tuple[Float[Tensor, " unit"], Float[Tensor, " unit"]],
    temperature: float | Tensor,
) -> Float[Tensor, ""]:
    """A label loss and a distillation loss, weighted by the numbers of new and of earlier classes.

    With n earlier and m new classes, the distillation loss among the earlier ones has the weight
    n / (n + m), and the cross-entropy of the labels among all n + m the rest (Wu et al. 2019, arXiv
    1905.13260, section 3). Without a new class, m counts as 1, so that labels are always learned.

    Args:
        net: The model and its loss.
        logits: The student's logits.
        target: The teacher's logits.
        batch: The examples.
        classes: 1 for the units of earlier classes, and 1 for those seen so far; else 0.
        temperature: The divisor of both logits in the distillation loss.
    """
    earlier, seen = classes
    new = (seen - earlier).sum().clamp(min=1)
    share = earlier.sum() / (earlier.sum() + new)
    label_loss = net.loss_from_logits(logits.masked_fill(seen == 0, -torch.inf), batch)
    distilled = distillation_loss(
        earlier[None], logits / temperature, target / temperature, batch.weight
    )
    return (1 - share) * label_loss + share * distilled
