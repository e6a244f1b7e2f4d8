"""Image folders and zips of them are decoded once; a change or a damaged cache is seen."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrograde.data import sources
from retrograde.data.sources import load
from retrograde.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "retrograde"


def image(shade):
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(file, "png")
    return file.getvalue().ljust(200, b"\0")


def contents(shade=0):
    names = [f"{part}/{label}/0.png" for part in ("train", "test") for label in ("a", "b")]
    return {name: image(shade + 10 * number) for number, name in enumerate(names)}


def as_folder(path, shade=0):
    for name, content in contents(shade).items():
        file = path / "mine" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return path / "mine"


def as_zip(path, shade=0):
    with zipfile.ZipFile(path / "mine.zip", "w") as archive:
        for name, content in contents(shade).items():
            archive.writestr(name, content)
    return path / "mine.zip"


LAID = pytest.mark.parametrize("laid", [as_folder, as_zip])


def loaded(path):
    return load(str(path), Path())


@LAID
def test_the_second_time_nothing_is_decoded(tmp_path, monkeypatch, laid):
    path = laid(tmp_path)
    first = loaded(path)
    monkeypatch.setattr(sources, "image_folder", None)
    second = loaded(path)
    assert (second.name, second.digest, second.scale) == ("mine", first.digest, 1 / 255)


@LAID
def test_a_change_is_seen_and_what_was_kept_before_is_deleted(tmp_path, cache, laid):
    first = loaded(laid(tmp_path))
    second = loaded(laid(tmp_path, shade=1))
    assert (second.x_train - first.x_train).max() == 1
    assert len(list(cache.iterdir())) == 1


def test_a_file_of_the_same_size_at_another_time_is_read_again(tmp_path):
    path = loaded(as_folder(tmp_path)) and tmp_path / "mine"
    before = (path / "train/a/0.png").stat()
    (path / "train/a/0.png").write_bytes(image(99))
    os.utime(path / "train/a/0.png", ns=(0, before.st_mtime_ns + 1))
    assert loaded(path).x_train.max() == 99


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_file_of_the_cache_is_made_anew(tmp_path, cache, damage):
    first = loaded(as_zip(tmp_path))
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    place = whole.index(first.x_train.tobytes())
    flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    kept.write_bytes({"cut": whole[:-50], "flipped": flipped, "empty": b""}[damage])
    assert loaded(tmp_path / "mine.zip").digest == first.digest
    # Not byte for byte: members of an archive have a time.
    assert kept.stat().st_size == len(whole)


def test_two_zips_of_one_name_are_kept_side_by_side(tmp_path, cache):
    paths = [tmp_path / "one", tmp_path / "two"]
    for shade, path in enumerate(paths):
        path.mkdir()
        as_zip(path, shade)
    shades = [loaded(path / "mine.zip").x_train.max() for _ in range(2) for path in paths]
    assert shades == [10, 11, 10, 11]
    assert len(list(cache.iterdir())) == 2


def test_without_a_place_to_keep_them_images_are_decoded_every_time(tmp_path, cache):
    cache.parent.write_bytes(b"a file where the cache folder would be")
    digests = {loaded(as_zip(tmp_path)).digest for _ in range(2)}
    assert len(digests) == 1
    assert cache.parent.is_file()


def test_an_image_that_cannot_be_decoded_keeps_nothing(tmp_path, cache):
    path = as_folder(tmp_path)
    (path / "train/a/0.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="cannot be read as an image"):
        loaded(path)
    assert not cache.exists()
    assert np.array_equal(loaded(as_zip(tmp_path)).y_train, [0, 1])
