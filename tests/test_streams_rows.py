"""Rows: named columns of one array, and shapes that are those of the examples."""

import numpy as np
import torch

from retrograde.streams.rows import COLUMNS, Rows
from retrograde.training.columns import Columns


def rows_of(*shape):
    """Training rows of which every column has numbers of its own."""
    count, width = int(np.prod(shape)), len(COLUMNS)
    return Rows(np.arange(width * count).reshape(*shape, width))


def test_names_are_those_of_the_columns_in_order():
    rows = rows_of(4)
    named = [getattr(rows, name) for name in COLUMNS]
    assert np.array_equal(np.stack(named, axis=-1), rows.array)


def test_a_column_of_the_rows_on_a_device_has_the_same_name():
    rows = rows_of(2, 3)
    columns = Columns.of(torch.from_numpy(rows.array))
    assert columns._fields == COLUMNS
    for name in COLUMNS:
        assert np.array_equal(getattr(columns, name).numpy(), getattr(rows, name))
    assert torch.equal(columns.stacked(), torch.from_numpy(rows.array))


def test_rows_without_a_slot_stay_without_one_on_a_device():
    rows = rows_of(3).examples.weighted(np.ones(3, dtype=bool))
    columns = Columns.of(torch.from_numpy(rows.array))
    assert columns.slot is None
    assert columns.stacked().tolist() == rows.array.tolist()


def test_indices_and_shapes_are_those_of_the_examples():
    rows = rows_of(2, 3)
    assert (rows.shape, len(rows)) == ((2, 3), 2)
    assert rows[:, 1].tuples() == [rows.tuples()[1], rows.tuples()[4]]
    assert [part.shape for part in rows] == [(3,), (3,)]
    assert rows.reshape(-1).tuples() == rows.reshape(3, 2).tuples() == rows.tuples()
    assert rows.transposed()[2, 1].tuples() == rows[1, 2].tuples()


def test_weights_are_one_or_zero_and_masking_leaves_the_original():
    real = np.array([True, False, True])
    rows = rows_of(3).examples.weighted(real)
    assert rows.weight.tolist() == [1, 0, 1]
    assert np.array_equal(rows.real, real)
    assert not rows.masked(False).real.any()
    assert np.array_equal(rows.real, real)


def test_the_last_of_several_rows_for_one_place_replaces_it():
    rows, by = rows_of(3), rows_of(5)[3:]
    replaced = rows.replaced(np.array([1, 1]), by)
    assert replaced.tuples() == [rows.tuples()[0], by.tuples()[1], rows.tuples()[2]]
    assert rows.tuples() == rows_of(3).tuples()


def test_a_condition_chooses_whole_rows():
    first, second = rows_of(3), rows_of(6)[3:]
    chosen = Rows.where(np.array([True, False, True]), first, second)
    assert chosen.tuples() == [first.tuples()[0], second.tuples()[1], first.tuples()[2]]
