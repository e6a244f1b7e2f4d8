"""Herding: choose examples of each class whose mean is close to the mean of the class."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def class_means(
    features: Float[Tensor, "row feature"], member: Bool[Tensor, "row unit"]
) -> Float[Tensor, "unit feature"]:
    """The mean of each class's rows; 0 for a class without rows."""
    weight = member.to(features.dtype)
    count = weight.sum(0).clamp(min=1)
    return weight.T @ features / count[:, None]


def herding_rounds(
    features: Float[Tensor, "row feature"],
    member: Bool[Tensor, "row unit"],
    means: Float[Tensor, "unit feature"],
    rounds: int,
) -> Int64[Tensor, " row"]:
    """The round in which each row is taken (Rebuffi et al. 2017, algorithm 4), all classes at once.

    Round k takes the row p that brings the mean of the k rows taken closest to the mean of the
    class. This is the row with the smallest |p|² - 2 p'(k mean - the sum of the rows taken before).

    Args:
        features: the features of the examples.
        member: the class of each row, one-hot; a row without a class is never taken.
        means: the mean of each class.
        rounds: the number of rounds.

    Returns:
        The round of each row, from 0; `rounds` for a row that is not taken.
    """
    square = (features**2).sum(1, keepdim=True)
    rank = torch.full_like(member[:, 0], rounds, dtype=torch.long)
    # k mean - the sum of the rows taken before, for each class.
    missing = means
    for number in range(rounds):
        remaining = member & (rank == rounds)[:, None]
        cost = torch.where(remaining, square - 2 * features @ missing.T, torch.inf)
        row = cost.argmin(0)
        # A class that has no row left points at some row, and must not change its rank.
        taken = torch.where(remaining.any(0), number, rounds)
        rank = rank.scatter_reduce(0, row, taken, "amin")
        missing = missing + means - features[row]
    return rank
