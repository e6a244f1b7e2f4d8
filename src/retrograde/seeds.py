"""Random choices: one generator for each (replicate seed, axis), so that no axis disturbs another."""

import math
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor


def generator(seed: int, axis: str, *index: int) -> np.random.Generator:
    """A NumPy generator for one axis of a replicate, such as "order" of task 3."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(crc32(axis.encode()), *index)))


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
