"""Augmentation of images: pure functions of images and of a random key.

They work under `torch.func.vmap` and in a compiled step: every row has random numbers of its own,
and no row is treated by a loop. The numbers of a row depend on the key and on its place alone, so
that a longer batch begins with the same ones.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from retrograde.errors import UserError
from retrograde.randomness import named, uniform

Augment = Literal[
    "none",
    "crop",
    "flip",
    "jitter",
    "crop-flip",
    "crop-jitter",
    "flip-jitter",
    "crop-flip-jitter",
]
"""The changes that each image undergoes, in order."""

PADDING = 4
"""The number of black pixels around an image before a crop of its size."""
SHORTEST = 7
"""For each pixel of padding, the shorter side of an image has at least as many pixels."""
APPLIED = 0.8
"""The share of images whose colours are jittered, as in SimCLR (Chen et al. 2020)."""
STRENGTH = 0.4
"""The largest change of the factors of brightness, contrast and saturation, which are around 1."""
HUE = 0.1
"""The largest change of the hue, as a share of the circle of colours."""
GREY = (0.2989, 0.587, 0.114)
"""The weights of red, green and blue in the grey value of a pixel (ITU-R BT.601)."""


def augmented(
    images: Float[Tensor, "row channel height width"],
    key: Int64[Tensor, ""],
    augment: Augment,
) -> Float[Tensor, "row channel height width"]:
    """The images after random changes, each in its own way.

    Args:
        images: Images with values in [0, 1], before normalisation.
        key: The random key. The second view of the images has another one, such as
            `named(key, "second view")`.
        augment: `crop`: a crop at a random place of the image with a black border of `padding`
            pixels. `flip`: left and right exchanged in every second image. `jitter`: in four of
            five images, factors of brightness, contrast and saturation between 0.6 and 1.4, and a
            shift of the hue by up to a tenth of the circle, in this order.
    """
    words = () if augment == "none" else augment.split("-")
    for word in words:
        images = _CHANGES[word](images, named(key, word))
    return images


def padding(height: int, width: int) -> int:
    """The border of a crop: 4 pixels, and of images below 28 pixels a seventh of a side.

    Images of 32 and 28 pixels get the 4 pixels of the literature, those of 8 pixels 1.
    """
    return min(PADDING, min(height, width) // SHORTEST)


def check_augmentation(
    augment: Augment,
    shape: tuple[int, ...],
    name: str,
) -> None:
    """Check that the examples of a dataset can be augmented.

    Args:
        augment: The changes.
        shape: The shape of one example.
        name: The name of the dataset, for an error.

    Raises:
        UserError: They are no images, or too small for a crop, or have no colours to jitter.
    """
    if augment == "none":
        return
    if len(shape) != 3:
        raise UserError(
            f"Images alone can be augmented; the examples of {name} have shape {shape}. "
            f"Leave out augment={augment}."
        )
    channels, height, width = shape
    words = augment.split("-")
    if "crop" in words and not padding(height, width):
        raise UserError(
            f"A crop needs images of at least {SHORTEST} x {SHORTEST} pixels; those of {name} "
            f"have {height} x {width}. Leave crop out of augment={augment}."
        )
    if "jitter" in words and channels not in (1, 3):
        raise UserError(
            f"Jitter changes grey or red, green and blue; the images of {name} have {channels} "
            f"channels. Leave jitter out of augment={augment}."
        )


def _crop(
    images: Float[Tensor, "row channel height width"],
    key: Int64[Tensor, ""],
) -> Float[Tensor, "row channel height width"]:
    count, _, height, width = images.shape
    border = padding(height, width)
    places = 2 * border + 1
    drawn = (uniform(key, count, 2) * places).long()
    # A product just below a whole number may be rounded up to it.
    return shifted(images, drawn.clamp(max=places - 1) - border)


def _flip(
    images: Float[Tensor, "row channel height width"],
    key: Int64[Tensor, ""],
) -> Float[Tensor, "row channel height width"]:
    return flipped(images, uniform(key, len(images)) < 0.5)


def _jitter(
    images: Float[Tensor, "row channel height width"],
    key: Int64[Tensor, ""],
) -> Float[Tensor, "row channel height width"]:
    drawn = uniform(key, len(images), 5).to(images.dtype)
    applied = drawn[:, 0] < APPLIED
    factors = 1 + STRENGTH * (2 * drawn[:, 1:4] - 1)
    changed = images
    for change, factor in zip((brightened, contrasted, saturated), factors.unbind(1), strict=True):
        changed = change(changed, factor)
    changed = turned_in_hue(changed, HUE * (2 * drawn[:, 4] - 1))
    return torch.where(_of_rows(applied), changed, images)


_Change = Callable[[Tensor, Tensor], Tensor]
_CHANGES: dict[str, _Change] = {"crop": _crop, "flip": _flip, "jitter": _jitter}


def shifted(
    images: Float[Tensor, "row channel height width"],
    offset: Int64[Tensor, "row axis"],
) -> Float[Tensor, "row channel height width"]:
    """The images of which pixel (y, x) is the given image's (y, x) + offset; black outside."""
    count, channels, height, width = images.shape
    y = torch.arange(height, device=images.device) + offset[:, :1]
    x = torch.arange(width, device=images.device) + offset[:, 1:]
    inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None]
    source = y.clamp(0, height - 1)[:, :, None] * width + x.clamp(0, width - 1)[:, None]
    flat = source.reshape(count, 1, -1).expand(-1, channels, -1)
    moved = images.reshape(count, channels, -1).gather(2, flat)
    return moved.reshape(images.shape) * inside[:, None]


def flipped(
    images: Float[Tensor, "row channel height width"],
    chosen: Bool[Tensor, " row"],
) -> Float[Tensor, "row channel height width"]:
    """The images, with left and right exchanged in the chosen ones."""
    return torch.where(_of_rows(chosen), images.flip(3), images)


def brightened(
    images: Float[Tensor, "row channel height width"],
    factor: Float[Tensor, " row"],
) -> Float[Tensor, "row channel height width"]:
    """The images times a factor each, at most white."""
    return (images * _of_rows(factor)).clamp(0, 1)


def contrasted(
    images: Float[Tensor, "row channel height width"],
    factor: Float[Tensor, " row"],
) -> Float[Tensor, "row channel height width"]:
    """The images with the distance to their mean grey value multiplied by a factor each."""
    return _blended(images, _grey(images).mean((1, 2, 3), keepdim=True), factor)


def saturated(
    images: Float[Tensor, "row channel height width"],
    factor: Float[Tensor, " row"],
) -> Float[Tensor, "row channel height width"]:
    """The images with the distance of pixels to their grey values multiplied by a factor each.

    Images of one channel stay as they are.
    """
    if images.shape[1] == 1:
        return images
    return _blended(images, _grey(images), factor)


def turned_in_hue(
    images: Float[Tensor, "row channel height width"],
    turn: Float[Tensor, " row"],
) -> Float[Tensor, "row channel height width"]:
    """The images with the hue of their pixels turned, as a share of the circle, for each image.

    Images of one channel stay as they are.
    """
    if images.shape[1] == 1:
        return images
    highest = images.amax(1)
    chroma = highest - images.amin(1)
    # The position on the circle of colours, whose corners are 0: red, 2: green, 4: blue.
    hue = _hue(images, highest, chroma) + 6 * turn[:, None, None]
    planes = []
    for corner in (5, 3, 1):
        distance = (hue + corner) % 6
        planes.append(highest - chroma * torch.minimum(distance, 4 - distance).clamp(0, 1))
    return torch.stack(planes, 1)


def _hue(
    images: Float[Tensor, "row channel height width"],
    highest: Float[Tensor, "row height width"],
    chroma: Float[Tensor, "row height width"],
) -> Float[Tensor, "row height width"]:
    """The hue of every pixel on a circle of length 6; grey pixels have any."""
    red, green, blue = images.unbind(1)
    width = torch.where(chroma > 0, chroma, 1.0)
    from_green = 2 + (blue - red) / width
    from_blue = 4 + (red - green) / width
    others = torch.where(highest == green, from_green, from_blue)
    return torch.where(highest == red, (green - blue) / width, others)


def _grey(
    images: Float[Tensor, "row channel height width"],
) -> Float[Tensor, "row 1 height width"]:
    """The grey values of images, of which those with one channel consist."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    weight = GREY
    return (weight[0] * red + weight[1] * green + weight[2] * blue)[:, None]


def _blended(
    images: Float[Tensor, "row channel height width"],
    other: Float[Tensor, "row one *_"],
    factor: Float[Tensor, " row"],
) -> Float[Tensor, "row channel height width"]:
    """Images on the line from others through themselves; 0 gives the others."""
    share = _of_rows(factor)
    return (share * images + (1 - share) * other).clamp(0, 1)


def _of_rows(values: Tensor) -> Tensor:
    """One value for each row, with axes for channel, height and width."""
    return values[:, None, None, None]
