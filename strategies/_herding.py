"""Herding: the examples of each class whose mean comes closest to the class's."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def class_means(
    features: Float[Tensor, "row feature"], member: Bool[Tensor, "row unit"]
) -> Float[Tensor, "unit feature"]:
    """The mean of each class's rows; 0 where it has none."""
    weight = member.to(features.dtype)
    return weight.T @ features / weight.sum(0).clamp(min=1)[:, None]


def herded(
    features: Float[Tensor, "row feature"],
    member: Bool[Tensor, "row unit"],
    means: Float[Tensor, "unit feature"],
    rounds: int,
) -> Int64[Tensor, " row"]:
    """The round in which each row is taken, `rounds` if in none (Rebuffi et al. 2017, algorithm 4); all classes at once.

    Round k takes the row p for which the mean of the k rows taken so far is closest to the class's: for which
    |p|² - 2 p'(k mean - the sum of those before) is smallest.
    """
    square = (features**2).sum(1, keepdim=True)
    rank = torch.full_like(member[:, 0], rounds, dtype=torch.long)
    lack = means
    for number in range(rounds):
        left = member & (rank == rounds)[:, None]
        row = torch.where(left, square - 2 * features @ lack.T, torch.inf).argmin(0)
        rank = rank.scatter_reduce(0, row, torch.where(left.any(0), number, rounds), "amin")
        lack = lack + means - features[row]
    return rank
