"""A quadratic program whose solution is bounded below, solved in a fixed number of rounds."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ROUNDS = 3
"""For each entry, and one more."""


def smallest(
    matrix: Float[Tensor, "n n"], slope: Float[Tensor, " n"], bound: float
) -> Float[Tensor, " n"]:
    """The v >= bound for which v'(matrix)v / 2 + slope'v is smallest; the matrix is positive definite.

    An active-set method (Lawson and Hanson 1974, algorithm NNLS): in each round the free entries go where the slope vanishes,
    or as far as none of them passes the bound, which then holds it; if all got there, the entry along which the value falls
    most steeply is freed. No round makes the value larger, so that too few would do no harm.
    """
    table = torch.cat(
        [matrix, -(slope + bound * matrix.sum(1))[:, None]], 1
    )  # from here on, of v - bound
    above, free = torch.zeros_like(slope), torch.zeros_like(slope, dtype=torch.bool)
    for _ in range(ROUNDS * len(slope) + 1):
        goal, fall = torch.where(free, table[:, -1], 0.0), torch.where(free, 0.0, table[:, -1])
        passes = free & (goal < 0)
        share = torch.where(passes, above / (above - goal), 1.0).amin()
        above = above + share * (goal - above)
        stops = _one(torch.where(passes, above, torch.inf))
        frees = _one(-fall) & (fall > 0)
        moves = torch.where(passes.any(), stops, frees)
        table = torch.where(moves.any(), _swept(table, moves, free), table)
        free = free ^ moves
    return above + bound


def _one(values: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Which entry is the smallest, the first where several are."""
    return torch.arange(len(values), device=values.device) == values.argmin()


def _swept(
    table: Float[Tensor, "n columns"], row: Bool[Tensor, " n"], back: Bool[Tensor, " n"]
) -> Float[Tensor, "n columns"]:
    """Solve the linear equations of the table for one more unknown or, where it is solved for already, for one less.

    (Goodnight 1979: the sweep operator.) Of the last column, the rows solved for are the solution, the others what is left.
    """
    column = torch.cat([row, row.new_zeros(1)])
    taken, across = table[:, :-1] @ row.to(table.dtype), row.to(table.dtype) @ table
    pivot = (row * taken).sum()
    sign = torch.where((row & back).any(), -1.0, 1.0)
    swept = table - taken[:, None] * across / pivot
    swept = torch.where(
        row[:, None],
        sign * across / pivot,
        torch.where(column, sign * taken[:, None] / pivot, swept),
    )
    return torch.where(row[:, None] & column, -1 / pivot, swept)
