"""Augmentation, row by row against torchvision's functions of one image."""

import colorsys
from typing import get_args

import numpy as np
import pytest
import torch
from scipy import stats
from torch.func import vmap
from torch.testing import assert_close

from retrograde import augmentation as ours
from retrograde.augmentation import Augment, augmented, check_augmentation, padding
from retrograde.data.torchvision import import_torchvision
from retrograde.errors import UserError
from retrograde.randomness import keys, named
from retrograde.training.traced_step import trace

import_torchvision()
theirs = pytest.importorskip("torchvision.transforms.functional")

KINDS = [kind for kind in get_args(Augment) if kind != "none"]


def key(number=0):
    return torch.tensor(keys(number, "augment", 0, 1)[0])


def images(count=12, channels=3, height=32, width=28, dtype=torch.float64):
    random = torch.Generator().manual_seed(count + channels)
    drawn = torch.rand(count, channels, height, width, generator=random, dtype=torch.float64)
    # Grey, black, white and pure pixels too, where hues and clamps have their corners.
    drawn[0, :, :4] = torch.tensor([0.0, 0.5, 1.0, 0.25])[:, None].to(dtype)
    drawn[1, 0] = 1.0
    drawn[2] = drawn[2].round()
    return drawn.to(dtype)


def test_a_shift_is_torchvisions_crop_of_the_padded_image():
    x = images()
    offset = torch.tensor([[dy, dx] for dy in (-4, 0, 3, 4) for dx in (-4, 1, 4)])
    moved = ours.shifted(x, offset)
    for image, after, (dy, dx) in zip(x, moved, offset.tolist(), strict=True):
        assert torch.equal(after, theirs.crop(theirs.pad(image, 4), 4 + dy, 4 + dx, 32, 28))


def test_a_flip_is_torchvisions():
    x = images()
    chosen = torch.arange(12) % 3 == 0
    for image, after, flip in zip(x, ours.flipped(x, chosen), chosen, strict=True):
        assert torch.equal(after, theirs.hflip(image) if flip else image)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("change", "of_torchvision", "low", "high"),
    [
        (ours.brightened, theirs.adjust_brightness, 0.0, 2.0),
        (ours.contrasted, theirs.adjust_contrast, 0.0, 2.0),
        (ours.saturated, theirs.adjust_saturation, 0.0, 2.0),
    ],
)
def test_each_row_has_the_colours_that_torchvision_gives_it(
    change, of_torchvision, low, high, channels
):
    x = images(channels=channels)
    numbers = torch.linspace(low, high, 12, dtype=torch.float64)
    for image, after, number in zip(x, change(x, numbers), numbers.tolist(), strict=True):
        assert_close(after, of_torchvision(image, number), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_row_has_the_hue_that_torchvision_gives_it(channels):
    x = images(channels=channels)
    turns = torch.linspace(-0.5, 0.5, 12, dtype=torch.float64)
    for image, after, turn in zip(x, ours.turned_in_hue(x, turns), turns.tolist(), strict=True):
        # torchvision computes hues in single precision.
        assert_close(after, theirs.adjust_hue(image, turn), rtol=1e-4, atol=1e-5)


def test_hues_turn_as_those_of_python_do_to_the_last_digits():
    x = images(height=6, width=5)
    turned = ours.turned_in_hue(x, torch.full((12,), 0.07, dtype=torch.float64))
    for before, after in zip(
        *(part.movedim(1, 3).reshape(-1, 3) for part in (x, turned)), strict=True
    ):
        hue, saturation, value = colorsys.rgb_to_hsv(*before.tolist())
        expected = colorsys.hsv_to_rgb((hue + 0.07) % 1, saturation, value)
        assert after.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_images_keep_their_range_and_type_and_the_key_alone_decides(kind):
    x = images(dtype=torch.float32)
    first = augmented(x, key(), kind)
    assert first.dtype == torch.float32
    assert 0 <= first.min() <= first.max() <= 1
    assert torch.equal(first, augmented(x, key(), kind))
    assert not torch.equal(first, augmented(x, key(1), kind))
    assert not torch.equal(first, augmented(x, named(key(), "second view"), kind))


def test_without_augmentation_images_are_the_same_tensor():
    x = images()
    assert augmented(x, key(), "none") is x


@pytest.mark.parametrize("kind", KINDS)
def test_a_longer_batch_begins_with_the_same_images(kind):
    x = images()
    assert_close(augmented(x, key(), kind)[:5], augmented(x[:5], key(), kind))


def test_the_changes_of_a_spelling_follow_each_other_with_the_numbers_of_each_alone():
    x = images()
    one_by_one = x
    for word in ("crop", "flip", "jitter"):
        one_by_one = augmented(one_by_one, key(), word)
    assert torch.equal(augmented(x, key(), "crop-flip-jitter"), one_by_one)


def places(count, height, width):
    """The offsets of crops, found from images of which every pixel has its own value."""
    value = torch.arange(1.0, height * width + 1, dtype=torch.float64).reshape(1, 1, height, width)
    cut = augmented(value.expand(count, 1, height, width) / value.max(), key(2), "crop")
    middle = (cut[:, 0, height // 2, width // 2] * value.max()).round().long() - 1
    return middle // width - height // 2, middle % width - width // 2


@pytest.mark.parametrize(("side", "border"), [(32, 4), (28, 4), (16, 2), (8, 1)])
def test_every_offset_of_a_crop_is_equally_likely(side, border):
    assert padding(side, side + 5) == border
    y, x = places(20_000, side, side)
    size = 2 * border + 1
    counts = torch.bincount((y + border) * size + x + border, minlength=size**2)
    assert len(counts) == size**2
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_half_of_the_images_are_flipped_and_four_of_five_jittered():
    x = images(channels=1)[3:4, :, :2, :3].expand(20_000, 1, 2, 3)
    for kind, share in (("flip", 0.5), ("jitter", 0.8)):
        changed = (augmented(x, key(), kind) != x).any(dim=(1, 2, 3)).double().mean()
        assert abs(changed - share) < 4 * np.sqrt(share * (1 - share) / 20_000)


def test_factors_of_jitter_fill_their_range():
    x = torch.full((20_000, 1, 1, 1), 0.5, dtype=torch.float64)
    # One pixel is its own mean, so that brightness alone changes it.
    factors = augmented(x, key(), "jitter").ravel() / 0.5
    drawn = factors[factors != 1]
    assert stats.kstest(drawn.numpy(), stats.uniform(0.6, 0.8).cdf).pvalue > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_replicates_side_by_side_are_those_one_by_one(kind):
    x = torch.stack([images(), images().flip(0)])
    own = torch.stack([key(1), key(2)])
    together = vmap(lambda x, key: augmented(x, key, kind))(x, own)
    for replicate in range(2):
        assert_close(together[replicate], augmented(x[replicate], own[replicate], kind))
    shared = vmap(lambda key: augmented(x[0], key, kind))(own)
    assert_close(shared[0], together[0])


def test_it_is_a_list_of_operations_as_a_compiled_step_needs():
    x, keys = torch.stack([images(), images()]), torch.stack([key(1), key(2)])
    step = vmap(lambda x, key: augmented(x, key, "crop-flip-jitter"))
    traced = trace("augmented", step, (x, keys), "key").listed
    others = torch.stack([key(3), key(4)])
    assert_close(traced(x, others), step(x, others))
    assert not torch.equal(traced(x, others), traced(x, keys))


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        ("flip", (784,), r"shape \(784,\). Leave out augment=flip"),
        ("crop", (28, 28), "Images alone can be augmented; the examples of mine"),
        ("crop-flip", (3, 6, 32), "at least 7 x 7 pixels; those of mine have 6 x 32. Leave crop"),
        ("flip-jitter", (2, 8, 8), "have 2 channels. Leave jitter out of augment=flip-jitter"),
    ],
)
def test_examples_that_cannot_be_augmented_are_refused(kind, shape, message):
    with pytest.raises(UserError, match=message):
        check_augmentation(kind, shape, "mine")


def test_images_are_accepted_and_vectors_without_augmentation():
    check_augmentation("none", (784,), "mine")
    check_augmentation("flip", (2, 1, 2), "mine")
    check_augmentation("crop-flip-jitter", (1, 7, 7), "mine")
