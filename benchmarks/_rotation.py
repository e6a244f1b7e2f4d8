"""Rotations of images as tables of the source of each pixel."""

import numpy as np
from jaxtyping import Int64


def rotation(channel: int, height: int, width: int, degrees: float) -> Int64[np.ndarray, " pixel"]:
    """The source of each pixel when an image turns counter-clockwise about its centre.

    Args:
        channel: the number of channels.
        height: the height in pixels.
        width: the width in pixels.
        degrees: the angle.

    Returns:
        For each pixel, channel by channel and row by row, the index of its source; one past the
        last pixel for a source outside the image, which is black.
    """
    turn = np.deg2rad(degrees)
    cos = np.cos(turn)
    sin = np.sin(turn)
    y, x = np.mgrid[:height, :width].astype(float)
    down = y - (height - 1) / 2
    right = x - (width - 1) / 2
    # The inverse rotation; adding half the size instead of half of size - 1 rounds to the nearest.
    source_x = np.floor(cos * right - sin * down + width / 2).astype(int)
    source_y = np.floor(sin * right + cos * down + height / 2).astype(int)
    in_width = (source_x >= 0) & (source_x < width)
    in_height = (source_y >= 0) & (source_y < height)
    inside = (in_width & in_height).ravel()
    source = (source_y * width + source_x).ravel()
    planes = np.arange(channel)[:, None] * height * width + source
    return np.where(inside, planes, channel * height * width).ravel()
