"""CIFAR-10 as JPEG: where it is looked for, what is read and what is refused."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from retrograde.data.sources import load
from retrograde.datasets import cifar10_jpeg
from retrograde.errors import UserError

CLASSES = ("frog", "airplane", "ship")


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """Three classes with two training images and a test image each."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, count in (("CLASSES", 3), ("TRAIN", 2), ("TEST", 1)):
        monkeypatch.setattr(cifar10_jpeg, name, count)


def jpeg(shade, size=32):
    file = io.BytesIO()
    Image.new("RGB", (size, size), (shade, shade, shade)).save(file, "jpeg")
    return file.getvalue()


def files(size=32, leave_out=""):
    """A shade for each class in the order of `CLASSES`."""
    parts = ["train/{}/0.jpg", "train/{}/1.jpg", "test/{}/0.jpg"]
    named = {
        part.format(label): jpeg(50 * shade, size)
        for shade, label in enumerate(CLASSES)
        for part in parts
    }
    return {name: content for name, content in named.items() if name != leave_out}


def as_zip(folder, **changes):
    with zipfile.ZipFile(folder / "cifar10-jpeg.zip", "w") as archive:
        for name, content in files(**changes).items():
            archive.writestr(name, content)


def as_folder(folder, **changes):
    for name, content in files(**changes).items():
        path = folder / "cifar10-jpeg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.mark.parametrize("laid", [as_zip, as_folder])
def test_classes_have_labels_in_the_order_of_their_names(tmp_path, laid):
    laid(tmp_path)
    for _ in range(2):  # decoded, and from the cache
        data = load("cifar10_jpeg", tmp_path)
        assert (data.name, data.shape, data.scale) == ("cifar10_jpeg", (3, 32, 32), 1 / 255)
        assert data.y_train.tolist() == [0, 0, 1, 1, 2, 2]
        shades = np.array([50, 0, 100])
        assert np.abs(data.x_test.mean((1, 2, 3)) - shades).max() < 2


def test_missing_images_name_both_places_and_the_remedy(tmp_path):
    places = (
        rf"Looked for {tmp_path}/cifar10-jpeg\.zip and the folder {tmp_path}/cifar10-jpeg\. "
        r"Put train/<class>/\*\.jpg there.*or set RETROGRADE_DATA"
    )
    with pytest.raises(UserError, match=f"^CIFAR-10 as JPEG is not downloaded. {places}"):
        load("cifar10_jpeg", tmp_path)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"leave_out": "train/frog/1.jpg"}, r"3 classes with \[1, 2\] and \[1\] images of shape"),
        ({"size": 16}, r"images of shape \(3, 16, 16\)"),
    ],
)
def test_a_copy_that_is_not_whole_is_refused_every_time(tmp_path, changes, found):
    as_zip(tmp_path, **changes)
    for _ in range(2):
        with pytest.raises(UserError, match=f"^CIFAR-10 as JPEG has 3 .*{found}.* whole copy"):
            load("cifar10_jpeg", tmp_path)


def test_a_zip_that_is_damaged_is_refused(tmp_path):
    (tmp_path / "cifar10-jpeg.zip").write_bytes(b"no zip")
    with pytest.raises(UserError, match=r"nor a sound zip.*Put a whole copy of CIFAR-10 as JPEG"):
        load("cifar10_jpeg", tmp_path)
