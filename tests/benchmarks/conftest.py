"""Every side of a comparison has the same threads, two where a file does not say how many, and the same memory."""

import pytest
import torch

from retrograde.heap import keep_memory


@pytest.fixture(scope="module", autouse=True)
def same_threads(request):
    keep_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(getattr(request.module, "THREADS", 2))
    yield
    torch.set_num_threads(before)
