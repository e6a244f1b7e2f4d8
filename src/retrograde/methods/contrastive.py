"""The supervised contrastive loss."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def contrastive_loss(
    views: Float[Tensor, "view row feature"],
    y: Int64[Tensor, " row"],
    weight: Float[Tensor, " row"],
    temperature: float | Tensor,
) -> Float[Tensor, ""]:
    """The supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362, equation 2).

    Each embedding is pulled towards all others of its class, and pushed from the rest.

    Args:
        views: Embeddings of norm 1, one view of all examples after the other.
        y: The class of each example.
        weight: 0 for padding, which neither pulls nor pushes.
        temperature: The divisor of inner products.

    Returns:
        The mean over the embeddings that have a positive; 0 if none has any.
    """
    count = len(views)
    embeddings = views.flatten(0, 1)
    real = weight.repeat(count) > 0
    classes = y.repeat(count)
    others = ~torch.eye(len(classes), dtype=torch.bool, device=y.device) & real
    similarity = embeddings @ embeddings.T / temperature
    lowest = torch.finfo(similarity.dtype).min / 4
    log_share = similarity.masked_fill(~others, lowest).log_softmax(1)
    positive = others & (classes[:, None] == classes)
    positives = positive.sum(1)
    loss = -(log_share * positive).sum(1) / positives.clamp(min=1)
    anchors = real & (positives > 0)
    return (loss * anchors).sum() / anchors.sum().clamp(min=1)
