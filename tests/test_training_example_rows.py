"""Rows of the dataset as examples, against indexing and scaling in NumPy."""

import numpy as np
import pytest
import torch

from retrograde.data.dataset import Dataset
from retrograde.running.cell import CPU
from retrograde.training import example_rows
from retrograde.training.columns import Columns
from retrograde.training.example_rows import ExampleRows

ROWS = torch.tensor([3, 0, 3])


def made(dtype, scale):
    x = np.random.default_rng(0).integers(1, 256, (5, 1, 2, 3)).astype(dtype)
    y = np.arange(5)
    return Dataset("made", x, y, x[::-1].copy(), y[::-1], scale=scale)


def columns(view):
    zeros = torch.zeros(3, dtype=torch.long)
    return Columns(ROWS, zeros, zeros, torch.tensor(view), torch.ones(3))


@pytest.mark.parametrize("bound", [1 << 28, 0], ids=["scaled at once", "as they are read"])
@pytest.mark.parametrize(("dtype", "scale"), [(np.uint8, 1 / 255), (np.float32, 0.5)])
def test_examples_are_the_scaled_values_of_their_rows(monkeypatch, dtype, scale, bound):
    monkeypatch.setattr(example_rows, "SCALED_BYTES", bound)
    data = made(dtype, scale)
    rows = ExampleRows(data, CPU)
    for stored, x in ((rows.train, data.x_train), (rows.test, data.x_test)):
        expected = x[ROWS] * np.float32(scale)
        found = rows.batch(columns([0, 0, 0]), {}, stored).x
        assert found.dtype == torch.float32
        assert np.array_equal(found.numpy(), expected)
        # The second view turns the pixels around, and has a black one.
        views = torch.tensor([[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 6]])
        seen = rows.batch(columns([0, 1, 1]), {"pixels": views}, stored).x.flatten(1).numpy()
        flat = np.pad(expected.reshape(3, -1), ((0, 0), (0, 1)))
        for row, view in enumerate((0, 1, 1)):
            assert np.array_equal(seen[row], flat[row][views[view].numpy()])
