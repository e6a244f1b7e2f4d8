"""Quadratic programs with a lower bound, solved in a fixed number of rounds."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ROUNDS = 3
"""Rounds for each entry; one more is added."""


def solve_qp(
    matrix: Float[Tensor, "n n"], slope: Float[Tensor, " n"], bound: float | Tensor
) -> Float[Tensor, " n"]:
    """The v >= bound that minimises v'(matrix)v / 2 + slope'v.

    An active-set method (Lawson and Hanson 1974, algorithm NNLS). In each round, the free entries
    move to the point of slope 0, or until the first of them reaches the bound; the entry that
    reaches the bound first is then fixed there. If no entry passes the bound, the fixed entry along
    which the value falls most steeply is freed. No round increases the value, so too few rounds do
    no harm.

    Args:
        matrix: a positive definite matrix.
        slope: the linear term.
        bound: the lower bound of every entry.
    """
    # From here on, the unknown is v - bound, which is at least 0.
    target = -(slope + bound * matrix.sum(1))
    table = torch.cat([matrix, target[:, None]], 1)
    above = torch.zeros_like(slope)
    free = torch.zeros_like(slope, dtype=torch.bool)
    # No branch depends on data, so that steps can be vectorised and compiled.
    for _ in range(ROUNDS * len(slope) + 1):
        goal = torch.where(free, table[:, -1], 0.0)
        fall = torch.where(free, 0.0, table[:, -1])
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
    """True at the smallest entry; at the first of several."""
    return torch.arange(len(values), device=values.device) == values.argmin()


def _swept(
    table: Float[Tensor, "n columns"], row: Bool[Tensor, " n"], back: Bool[Tensor, " n"]
) -> Float[Tensor, "n columns"]:
    """Solve the table's linear equations for one more unknown, or for one less.

    This is the sweep operator (Goodnight 1979). In the last column, the rows that are solved for
    hold the solution; the other rows hold the residuals.

    Args:
        table: the equations, with the right-hand side as the last column.
        row: the unknown, one-hot.
        back: the unknowns that are solved for already; one of these is undone.
    """
    column = torch.cat([row, row.new_zeros(1)])
    # Products with a one-hot row instead of indices: which row it is, is data.
    taken = table[:, :-1] @ row.to(table.dtype)
    across = row.to(table.dtype) @ table
    pivot = (row * taken).sum()
    sign = torch.where((row & back).any(), -1.0, 1.0)
    swept = table - taken[:, None] * across / pivot
    in_column = sign * taken[:, None] / pivot
    in_row = sign * across / pivot
    swept = torch.where(column, in_column, swept)
    swept = torch.where(row[:, None], in_row, swept)
    return torch.where(row[:, None] & column, -1 / pivot, swept)
