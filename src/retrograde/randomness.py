"""Random numbers: one generator for each (replicate seed, axis), so that no axis disturbs another."""

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def generator(seed: int, axis: str, *index: int) -> np.random.Generator:
    """A NumPy generator for one axis of a replicate, such as "order" of task 3."""
    return np.random.default_rng(
        np.random.SeedSequence(seed, spawn_key=(crc32(axis.encode()), *index))
    )


def torch_seed(seed: int, axis: str) -> int:
    """A seed for a `torch.Generator` on one axis of a replicate."""
    return int(generator(seed, axis).integers(2**62))


def keys(seed: int, axis: str, index: int, count: int) -> Int64[np.ndarray, " count"]:
    """Keys for `uniform`: so many of one axis of a replicate."""
    return generator(seed, axis, index).integers(2**32, size=count)


def named(key: Int64[Tensor, ""], name: str) -> Int64[Tensor, ""]:
    """The key of one draw among several by the same key; without a name, the key itself."""
    return _mixed(key ^ _number(name)) if name else key


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # the compiler cannot look into zlib
def _number(name: str) -> int:
    return crc32(name.encode())


def uniform(key: Int64[Tensor, ""], *shape: int) -> Float[Tensor, "*_"]:
    """Numbers in [0, 1) that follow from the key alone, so that a pure function can draw at random.

    A counter and the key are mixed by a 32-bit hash that Wellons found by search ("lowbias32"); its upper 24 bits count.
    """
    count = torch.arange(math.prod(shape), device=key.device)
    bits = _mixed(_mixed(count) ^ _mixed(key ^ 0x9E3779B9))
    return ((bits >> 8).float() / 2**24).reshape(shape)


def _mixed(bits: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    bits = _product(bits ^ (bits >> 16), 0x7FEB352D)
    bits = _product(bits ^ (bits >> 15), 0x846CA68B)
    return bits ^ (bits >> 16)


def _product(bits: Int64[Tensor, "*shape"], factor: int) -> Int64[Tensor, "*shape"]:
    """The product modulo 2^32, by halves of the factor, so that nothing leaves 64 bits."""
    high = (bits * (factor >> 16)) & 0xFFFF
    return (bits * (factor & 0xFFFF) + (high << 16)) & 0xFFFFFFFF


def distinct(
    available: Int64[np.ndarray, " step"], draw: int, random: np.random.Generator
) -> tuple[Int64[np.ndarray, "step draw"], Bool[np.ndarray, "step draw"]]:
    """For each step, `draw` different numbers below `available[s]` (Floyd's sampling), and which of them are real.

    Every set is equally likely, but not every order: the largest number can only come last.
    """
    ranks = np.tile(np.arange(draw), (len(available), 1))
    real = ranks < available[:, None]
    enough = available >= draw
    own = ranks[enough]
    for i in range(draw):
        top = np.maximum(available - draw + i, 0)
        pick = random.integers(0, top + 1)
        taken = (own[:, :i] == pick[enough, None]).any(axis=1)
        own[:, i] = np.where(taken, top[enough], pick[enough])
    ranks[enough] = own
    return np.where(real, ranks, 0), real


def shuffled(
    ranks: Int64[np.ndarray, "step draw"],
    real: Bool[np.ndarray, "step draw"],
    random: np.random.Generator,
) -> Int64[np.ndarray, "step draw"]:
    """The ranks of each step in uniformly random order; real ones stay in front of the others."""
    order = np.argsort(random.random(ranks.shape) + ~real, axis=1)
    return np.take_along_axis(ranks, order, axis=1)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and PyTorch, and restore them on leaving."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
