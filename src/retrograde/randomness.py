"""Random numbers: one generator per replicate seed and axis, so that no axis disturbs another."""

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def generator(
    seed: int,
    axis: str,
    *index: int,
) -> np.random.Generator:
    """A NumPy generator for one axis of a replicate, such as "order" of task 3.

    Args:
        seed: seed of the replicate.
        axis: name of the axis.
        *index: numbers that tell generators of one axis apart, such as the task.

    Example:
        >>> numbers = [rg.generator(0, "order", task).random() for task in (3, 3, 4)]
        >>> numbers[0] == numbers[1], numbers[0] == numbers[2]
        (True, False)
    """
    spawn_key = (crc32(axis.encode()), *index)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=spawn_key))


def torch_seed(seed: int, axis: str) -> int:
    """A seed for a `torch.Generator` on one axis of a replicate."""
    return int(generator(seed, axis).integers(2**62))


def keys(
    seed: int,
    axis: str,
    index: int,
    count: int,
) -> Int64[np.ndarray, " count"]:
    """`count` keys for `uniform`, below 2^32, on one axis of a replicate."""
    return generator(seed, axis, index).integers(2**32, size=count)


def named(
    key: Int64[Tensor, ""],
    name: str,
) -> Int64[Tensor, ""]:
    """The key of a named draw, where one key serves several; without a name, the key itself."""
    return _mixed(key ^ crc32(name.encode())) if name else key


def uniform(
    key: Int64[Tensor, ""],
    *shape: int,
) -> Float[Tensor, "*_"]:
    """Random numbers in [0, 1) of a given shape that depend on the key alone.

    With it, a pure function can draw at random. A counter and the key are mixed by a 32-bit hash
    that Wellons found by search ("lowbias32"); its upper 24 bits make the number.
    """
    count = torch.arange(math.prod(shape), device=key.device)
    # The constant (2^32 over the golden ratio) keeps the key's bits apart from a count's.
    bits = _mixed(_mixed(count) ^ _mixed(key ^ 0x9E3779B9))
    return ((bits >> 8).float() / 2**24).reshape(shape)


def normal(
    key: Int64[Tensor, ""],
    *shape: int,
) -> Float[Tensor, "*_"]:
    """Random numbers of the standard normal distribution that depend on the key alone.

    Each is made of two uniform numbers (Box and Muller 1958).
    """
    first, second = uniform(key, 2, *shape)
    # 1 - first is above 0, whose logarithm is infinite.
    radius = (-2 * torch.log1p(-first)).sqrt()
    drawn: Tensor = radius * (2 * math.pi * second).cos()
    return drawn


def _mixed(bits: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    bits = _product(bits ^ (bits >> 16), 0x7FEB352D)
    bits = _product(bits ^ (bits >> 15), 0x846CA68B)
    return bits ^ (bits >> 16)


def _product(
    bits: Int64[Tensor, "*shape"],
    factor: int,
) -> Int64[Tensor, "*shape"]:
    """The product modulo 2^32.

    The factor is split into halves, so that no intermediate product exceeds 64 bits.
    """
    high = (bits * (factor >> 16)) & 0xFFFF
    return (bits * (factor & 0xFFFF) + (high << 16)) & 0xFFFFFFFF


def distinct(
    available: Int64[np.ndarray, " step"],
    draw: int,
    random: np.random.Generator,
) -> tuple[Int64[np.ndarray, "step draw"], Bool[np.ndarray, "step draw"]]:
    """Draw `draw` different numbers below `available[s]` for each step s (Floyd's sampling).

    Every set is equally likely, but not every order: the largest number can only come last.

    Returns:
        The numbers, and a mask that is True for the real ones. Where fewer than `draw` are
        available, all of them are drawn, and the other entries are 0.
    """
    ranks = np.tile(np.arange(draw), (len(available), 1))
    real = ranks < available[:, None]
    enough = available >= draw
    sampled = ranks[enough]
    for i in range(draw):
        # Steps with too few numbers draw as well, so that one call serves all steps.
        top = np.maximum(available - draw + i, 0)
        pick = random.integers(0, top + 1)
        taken = (sampled[:, :i] == pick[enough, None]).any(axis=1)
        sampled[:, i] = np.where(taken, top[enough], pick[enough])
    ranks[enough] = sampled
    return np.where(real, ranks, 0), real


def shuffled(
    ranks: Int64[np.ndarray, "step draw"],
    real: Bool[np.ndarray, "step draw"],
    random: np.random.Generator,
) -> Int64[np.ndarray, "step draw"]:
    """The ranks of each step in uniformly random order; real ones stay in front of the others."""
    # `~real` adds 1 to the random numbers of ranks that are not real, which sorts them last.
    order = np.argsort(random.random(ranks.shape) + ~real, axis=1)
    return np.take_along_axis(ranks, order, axis=1)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and PyTorch, and restore them on leaving."""
    python = random.getstate()
    numpy = np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        # NumPy's global generator takes seeds below 2^32 only.
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
