"""Random choices: one generator for each (replicate seed, axis), so that no axis disturbs another."""

from zlib import crc32

import numpy as np


def generator(seed: int, axis: str, *index: int) -> np.random.Generator:
    """A NumPy generator for one axis of a replicate, such as "order" of task 3."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(crc32(axis.encode()), *index)))


def torch_seed(seed: int, axis: str) -> int:
    """A seed for a `torch.Generator` on one axis of a replicate."""
    return int(generator(seed, axis).integers(2**62))
