"""The supervised contrastive loss against a loop over anchors, written from equation 2 of Khosla et al. (2020)."""

import math

import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close

from retrograde import contrastive_loss


def embeddings(views, rows, seed=0):
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randn(views, rows, 5, generator=random, dtype=torch.float64)
    return normalize(drawn, dim=-1)


def loss_of_anchors(views, y, weight, temperature):
    """The loss of every anchor with a positive; the paper adds them up."""
    multiviewed = [
        (embedding, label)
        for view in views
        for embedding, label, real in zip(view, y.tolist(), weight.tolist(), strict=True)
        if real
    ]
    losses = []
    for i, (anchor, label) in enumerate(multiviewed):
        others = [pair for a, pair in enumerate(multiviewed) if a != i]
        positives = [embedding for embedding, other in others if other == label]
        if not positives:
            continue
        total = sum(((anchor @ embedding) / temperature).exp() for embedding, _ in others)
        shares = [((anchor @ positive) / temperature).exp() / total for positive in positives]
        losses.append(-sum(share.log() for share in shares) / len(positives))
    return losses


LABELS = {
    "pairs": [0, 1, 0, 1, 0, 1, 2],
    "one example of class 2": [0, 0, 2, 0, 1, 1, 1],
    "one class": [3, 3, 3, 3, 3, 3, 3],
    "no two alike": [0, 1, 2, 3, 4, 5, 6],
}


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_the_loss_and_its_gradient_are_those_of_a_loop_over_anchors(labels, count, padding):
    views = embeddings(count, len(labels)).requires_grad_()
    y, weight = torch.tensor(labels), torch.ones(len(labels))
    weight[len(labels) - padding :] = 0
    expected = loss_of_anchors(views, y, weight, 0.3)
    loss = contrastive_loss(views, y, weight, 0.3)
    if not expected:
        assert (loss.item(), count) == (0, 1)
        return
    mean = sum(expected) / len(expected)
    assert_close(loss, mean)
    assert_close(*(torch.autograd.grad(each, views)[0] for each in (loss, mean)))


def test_padding_neither_pulls_nor_pushes_whatever_it_holds():
    y, weight = torch.tensor([0, 1, 0, 1, 1]), torch.tensor([1.0, 1, 1, 0, 0])
    views = embeddings(2, 5)
    other = views.clone()
    other[:, 3:] = embeddings(2, 2, seed=1)
    other.requires_grad_()
    loss = contrastive_loss(other, y, weight, 0.1)
    assert_close(loss, contrastive_loss(views, y, weight, 0.1))
    (gradient,) = torch.autograd.grad(loss, other)
    assert gradient[:, :3].abs().sum() > 0
    assert gradient[:, 3:].abs().sum() == 0


@pytest.mark.parametrize("real", [0, 1])
def test_nothing_to_pull_together_costs_nothing_and_moves_nothing(real):
    views = embeddings(1, 3).requires_grad_()
    weight = (torch.arange(3) < real).double()
    loss = contrastive_loss(views, torch.zeros(3, dtype=torch.long), weight, 0.07)
    (gradient,) = torch.autograd.grad(loss, views)
    assert (loss.item(), gradient.abs().sum().item()) == (0, 0)


def test_a_low_temperature_does_not_overflow_single_precision():
    """Of two classes in opposite corners: one as sure as can be, or as wrong as can be."""
    corner = torch.tensor([1.0, 0.0])
    views = torch.stack([corner, corner, -corner, -corner])[None]
    losses = [
        contrastive_loss(views, torch.tensor(y), torch.ones(4), 0.005)
        for y in ([0, 0, 1, 1], [0, 1, 0, 1])
    ]
    # The wrong anchor has its positive at -1 / 0.005, and the only large term at 1 / 0.005.
    assert [float(loss) for loss in losses] == [pytest.approx(0), pytest.approx(400)]


def test_embeddings_that_all_agree_leave_the_logarithm_of_the_others():
    views = embeddings(1, 1).expand(2, 6, 5)
    loss = contrastive_loss(views, torch.tensor([0, 0, 1, 1, 2, 3]), torch.ones(6), 0.07)
    assert float(loss) == pytest.approx(math.log(11))
