"""Every side of a comparison has the same two threads, where it does not say how many, and the same memory."""

import pytest
import torch

from retrograde.heap import keep_memory


@pytest.fixture(scope="module", autouse=True)
def two_threads():
    keep_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
