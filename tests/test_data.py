"""Datasets: what is read, from where, and what is refused."""

import gzip
import hashlib
import io
import os
import struct
import sys
import tempfile
import zipfile
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from PIL import Image

from retrograde.data.cache import cache_folder
from retrograde.data.dataset import Dataset
from retrograde.data.sources import data_folder, load
from retrograde.data.torchvision import import_torchvision
from retrograde.errors import UserError

NOWHERE = Path("/nonexistent")
PNG_HEADER = 33


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache folder of the test's own, for decoded images."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def arrays(shape=(8, 8), dtype=np.uint8, **changes):
    random = np.random.default_rng(0)
    x = {
        f"x_{part}": (200 * random.random((n, *shape))).astype(dtype)
        for part, n in (("train", 12), ("test", 6))
    }
    y = {f"y_{part}": np.arange(n) % 3 for part, n in (("train", 12), ("test", 6))}
    return {name: array for name, array in {**x, **y, **changes}.items() if array is not None}


def saved(path, save=np.savez, **changes):
    save(path, **arrays(**changes))
    return load(str(path), NOWHERE)


def picture(value, size=(5, 4), mode="RGB"):
    random = np.random.default_rng(value)
    file = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)).convert(mode).save(
        file, "png"
    )
    return file.getvalue()


def tree(root, names=("cat", "dog"), **changes):
    files = {
        f"{part}/{name}/{n}.png": (len(name) + n, name)
        for part in ("train", "test")
        for name in names
        for n in range(3)
    }
    content = {
        name: picture(sum(map(ord, key[1])) + key[0]) for name, key in files.items()
    } | changes
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def zipped(root, path, prefix="", method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(root.rglob("*"), reverse=True):
            archive.write(file, prefix + file.relative_to(root).as_posix())
    return path


def spoil_first_member(path):
    """Make the compressed bytes of a zip's first file an impossible deflate block."""
    raw = bytearray(path.read_bytes())
    start = 30 + sum(struct.unpack("<HH", raw[26:30]))
    raw[start : start + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(raw)


@pytest.fixture
def unchecked(monkeypatch):
    """People run without the shape checks of the tests, which would see a misfit first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def equal(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays())


@pytest.fixture
def offline(monkeypatch):
    """Whatever asks MNIST to download gets an error, and is counted."""
    asked = []

    def download(self):
        asked.append(self.raw_folder)
        raise OSError("no network here")

    monkeypatch.setattr(import_torchvision().datasets.MNIST, "download", download)
    return asked


def write_idx(folder, name, array, compress=False):
    """LeCun's format: magic number, sizes (big-endian), bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    content = (
        struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        + array.astype(np.uint8).tobytes()
    )
    (folder / name).write_bytes(gzip.compress(content) if compress else content)


def test_the_digits_are_bundled_and_every_class_is_split_alike():
    data = load("digits", NOWHERE)
    assert (data.shape, data.classes, data.x_train.dtype, data.scale * data.x_train.max()) == (
        (1, 8, 8),
        10,
        np.uint8,
        1,
    )
    shares = np.bincount(data.y_test) / (np.bincount(data.y_train) + np.bincount(data.y_test))
    assert len(data.y_train) + len(data.y_test) == 1797
    assert np.allclose(shares, 0.25, atol=0.01)


def test_the_digits_are_the_same_every_time_and_need_scikit_learn_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # Python 3.10 lacks it
    monkeypatch.delattr(hashlib, "file_digest", raising=False)
    first = load("digits", NOWHERE)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    again = load("digits", NOWHERE)
    assert (again.digest, again.scale) == (first.digest, first.scale)


def test_mnist_is_read_from_its_own_files_without_asking_the_network(tmp_path, offline):
    parts = {
        part: np.random.default_rng(n).integers(0, 256, (n, 28, 28))
        for part, n in (("train", 20), ("t10k", 10))
    }
    for part, x in parts.items():
        write_idx(tmp_path / "MNIST" / "raw", f"{part}-images-idx3-ubyte", x)
        write_idx(tmp_path / "MNIST" / "raw", f"{part}-labels-idx1-ubyte", np.arange(len(x)) % 10)
    data = load("mnist", tmp_path)
    assert (data.shape, data.classes, data.scale, offline) == ((1, 28, 28), 10, 1 / 255, [])
    assert np.array_equal(data.x_train[:, 0], parts["train"])
    assert np.array_equal(data.x_test[:, 0], parts["t10k"])
    assert data.y_train.tolist() == [*range(10), *range(10)]


def test_missing_mnist_names_the_folder_looked_in_and_the_remedy(tmp_path, offline):
    with pytest.raises(UserError, match=r"no network here.*set RETROGRADE_DATA") as refusal:
        load("mnist", tmp_path)
    assert str(tmp_path / "MNIST" / "raw") in str(refusal.value)
    assert len(offline) == 1


def test_damaged_mnist_is_refused(tmp_path, offline):
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        write_idx(tmp_path / "MNIST" / "raw", f"{name}-ubyte", np.zeros(3), compress=True)
    with pytest.raises(UserError, match="MNIST could not be had"):
        load("mnist", tmp_path)


def test_the_data_folder_is_given_or_from_the_environment_or_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    monkeypatch.delenv("RETROGRADE_DATA", raising=False)
    assert data_folder() == Path("/cache/retrograde")
    monkeypatch.setenv("RETROGRADE_DATA", "/data")
    assert (data_folder(), data_folder(tmp_path)) == (Path("/data"), tmp_path)


def test_an_unknown_dataset_lists_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"'digts' is neither a name nor a file here\. Did you mean digits"
    ):
        load("digts", NOWHERE)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    ("shape", "dtype", "seen", "kept", "scale"),
    [
        ((7,), np.float64, (7,), np.float32, 1.0),
        ((8, 8), np.uint8, (1, 8, 8), np.uint8, 1 / 255),
        ((3, 4, 5), np.float32, (3, 4, 5), np.float32, 1.0),
        ((3, 4, 5), np.int64, (3, 4, 5), np.float32, 1.0),
        ((3, 4, 3), np.uint8, (3, 4, 3), np.uint8, 1 / 255),
        ((1, 9, 1), np.uint8, (1, 9, 1), np.uint8, 1 / 255),
    ],
)
def test_own_arrays_keep_their_values_and_get_a_channel(
    tmp_path, save, shape, dtype, seen, kept, scale
):
    data = saved(tmp_path / "own.npz", save=save, shape=shape, dtype=dtype)
    assert (data.name, data.shape, data.x_train.dtype, data.scale, data.classes) == (
        "own",
        seen,
        kept,
        scale,
        3,
    )
    assert np.array_equal(
        data.x_test.reshape(6, *shape), arrays(shape, dtype)["x_test"].astype(kept)
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"x_train": np.full((12, 8, 8), np.nan)}, "x_train of own holds NaN"),
        (
            {"x_test": np.full((6, 8, 8), -np.inf), "dtype": np.float32},
            "x_test of own holds NaN or infinity",
        ),
        ({"x_train": np.zeros(12)}, r"x_train of .*own.npz is \(12,\)"),
        ({"x_train": np.zeros((12, 1, 2, 3, 4))}, "Examples are"),
        ({"x_test": np.zeros((6, 9, 9), np.uint8)}, r"\(1, 8, 8\) uint8 and \(1, 9, 9\) uint8"),
        ({"x_test": np.zeros((6, 8, 8))}, "uint8 and .* float32"),
        ({"x_train": np.full((12, 8, 8), "a")}, "Examples are numbers"),
        ({"x_train": np.zeros((12, 8, 8), complex)}, "Examples are numbers"),
        (
            {"x_train": np.zeros((0, 8, 8), np.uint8), "y_train": np.zeros(0, int)},
            r"x_train of own has shape \(0",
        ),
        ({"y_train": np.arange(11) % 3}, "12 x_train, 11 y_train"),
        ({"y_train": np.zeros((12, 1), int)}, "y_train of .* shape"),
        ({"y_test": np.arange(6) % 3 / 1.0}, "Labels are .*y_test of .* float64 .*y.astype.int"),
        ({"y_test": np.eye(3)[np.arange(6) % 3]}, r"Labels are .* shape \(6, 3\). .*y.argmax\(1\)"),
        ({"y_test": np.arange(6).astype("S1")}, r"Labels are .* |S1 .*texts: y.astype\(str\)"),
        ({"y_test": np.array(list("abcabc"))}, "in training and in test alike"),
        (
            {"y_train": np.array(list("abcabc") * 2), "y_test": np.array(list("abcabd"))},
            "y_test of .* holds d",
        ),
        ({"y_train": np.arange(12) % 3 + 1}, "y_test of .* holds 0"),
        ({"y_train": np.array([0, 2] * 6)}, "y_train of own holds 0, 2"),
        ({"y_test": np.array([0, 1] * 3)}, "y_train holds 0, 1, 2, y_test 0, 1"),
        (
            {"y_test": np.array([0, 1, 2] * 1 + [3, 3, 3])},
            "y_train holds 0, 1, 2, y_test 0, 1, 2, 3",
        ),
        ({"y_train": np.array([-1, 0, 1, 2] * 3)}, "y_train of own holds -1"),
        ({"x_test": None, "y_test": None}, "lacks x_test, y_test"),
        ({"y_train": np.array([None] * 12)}, "cannot be read as a .npz of plain arrays"),
        ({"x_test": np.zeros((6, 5, 4, 1))}, "Train and test examples have one shape"),
        (
            {"x_test": np.full((6, 8, 8), 1e300), "dtype": np.float64},
            "x_test of own holds NaN or infinity",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_own_arrays_that_do_not_fit_together_are_refused_with_the_reason(tmp_path, changes, why):
    with pytest.raises(UserError, match=why):
        saved(tmp_path / "own.npz", **changes)


def test_labels_from_one_and_texts_are_numbered_and_name_the_classes(tmp_path):
    texts = {"y_train": np.array(list("cab") * 4), "y_test": np.array(list("bca") * 2)}
    data = saved(tmp_path / "texts.npz", **texts)
    assert data.class_names == ("a", "b", "c")
    assert data.y_train[:3].tolist() == [2, 0, 1]
    from_one = {"y_train": np.arange(12) % 3 + 1, "y_test": np.arange(6) % 3 + 1}
    data = saved(tmp_path / "numbers.npz", **from_one)
    assert data.class_names == ("1", "2", "3")
    assert data.y_test.tolist() == [0, 1, 2, 0, 1, 2]
    assert saved(tmp_path / "plain.npz").class_names == ()


def test_images_with_their_channels_last_are_turned(tmp_path):
    x = np.arange(12 * 8 * 9 * 3).reshape(12, 8, 9, 3) % 255
    data = saved(tmp_path / "own.npz", x_train=x, x_test=x[:6])
    assert data.shape == (3, 8, 9)
    assert np.array_equal(data.x_train, x.transpose(0, 3, 1, 2))


def test_arrays_that_are_not_read_are_named(tmp_path):
    np.savez(tmp_path / "own.npz", **arrays(), x_valid=np.zeros(3), note=np.zeros(1))
    with pytest.warns(UserWarning, match="own.npz has arrays that are not read: note, x_valid"):
        load(str(tmp_path / "own.npz"), NOWHERE)


@pytest.mark.parametrize("ending", [".pt", ".csv", ".parquet"])
def test_files_of_other_kinds_say_how_to_convert_them(ending, tmp_path):
    path = tmp_path / f"own{ending}"
    path.write_bytes(b"content")
    with pytest.raises(
        UserError, match=rf"ends in \{ending}. Convert it: .*own\{ending}.*np.savez"
    ):
        load(str(path), NOWHERE)


class FakeLibrary:
    """What the lines for a folder of the library `datasets` call of it; it is not installed."""

    names = ("ant", "bee")

    def load_from_disk(self, path):
        has_parts = (Path(path) / "dataset_dict.json").is_file()
        return self.train_test_split(0, 0) if has_parts else self

    def train_test_split(self, share, seed):
        return {"train": Column(8), "test": Column(4)}


class Column:
    """Eight or four images, whose labels alternate."""

    def __init__(self, count):
        self.columns = {
            "image": [Image.fromarray(np.full((6, 5, 3), n, np.uint8)) for n in range(count)],
            "label": iter([n % 2 for n in range(count)]),
        }
        self.features = {"label": self}

    def __getitem__(self, name):
        return self.columns[name]

    def int2str(self, labels):
        assert isinstance(labels, list)
        return [FakeLibrary.names[label] for label in labels]


@pytest.mark.parametrize("mark", ["dataset_dict.json", "state.json"])
def test_the_lines_for_a_folder_of_the_library_datasets_convert_it(mark, tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / mark).write_text("{}")
    with pytest.raises(UserError, match="own is a folder of the library datasets") as refusal:
        load(str(tmp_path / "own"), NOWHERE)
    lines = str(refusal.value).partition("the names of its columns: ")[2]
    monkeypatch.chdir(tmp_path)
    exec(lines, {"np": np, "datasets": FakeLibrary()})
    data = load("data.npz", NOWHERE)
    assert (data.class_names, data.shape) == (("ant", "bee"), (3, 6, 5))
    assert (data.x_train[:, 0, 0, 0].tolist(), data.y_test.tolist()) == ([*range(8)], [0, 1, 0, 1])


def test_the_names_of_classes_outlive_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tree(tmp_path / "images")
    names = [load(str(root), NOWHERE).class_names for _ in range(2)]
    assert names[0] == names[1] != ()


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99])
def test_a_cut_off_npz_is_refused(tmp_path, kept):
    path = tmp_path / "own.npz"
    np.savez(path, **arrays())
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept < 1 else kept])
    with pytest.raises(UserError, match=r"own\.npz cannot be read"):
        load(str(path), NOWHERE)


def test_an_npz_with_a_changed_byte_is_refused(tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, **arrays())
    content = bytearray(path.read_bytes())
    content[400] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"own\.npz cannot be read"):
        load(str(path), NOWHERE)


def test_a_compressed_npz_that_is_damaged_is_refused(tmp_path):
    path = tmp_path / "own.npz"
    np.savez_compressed(path, **arrays())
    spoil_first_member(path)
    with pytest.raises(UserError, match=r"own\.npz cannot be read"):
        load(str(path), NOWHERE)


def test_one_plain_array_under_the_name_of_an_npz_is_refused(tmp_path):
    with (tmp_path / "own.npz").open("wb") as file:
        np.save(file, np.zeros((3, 3)))
    with pytest.raises(UserError, match=r"own\.npz"):
        load(str(tmp_path / "own.npz"), NOWHERE)


def test_the_digest_changes_with_the_content_and_not_with_the_name(tmp_path):
    first = saved(tmp_path / "a.npz")
    pixel, label = arrays()["x_test"], arrays()["y_train"]
    pixel[5, 7, 7] ^= 1
    label[0], label[1] = label[1], label[0]
    others = [
        saved(tmp_path / "b.npz", **changes)
        for changes in ({"x_test": pixel}, {"y_train": label}, {"shape": (64,)})
    ]
    assert saved(tmp_path / "c.npz").digest == first.digest
    assert len({first.digest, *(other.digest for other in others)}) == 4


def test_the_digest_changes_with_the_scale():
    first, second = (Dataset("a", **arrays(), scale=scale) for scale in (1.0, 0.5))
    assert first.digest != second.digest


def test_an_image_folder_holds_the_pixels_and_sorted_classes(tmp_path):
    data = load(str(tree(tmp_path / "pets", names=("dog", "cat"))), NOWHERE)
    assert (data.name, data.shape, data.y_train.tolist(), data.scale) == (
        "pets",
        (3, 5, 4),
        [0, 0, 0, 1, 1, 1],
        1 / 255,
    )
    first = np.asarray(Image.open(tmp_path / "pets" / "train" / "cat" / "0.png"))
    assert np.array_equal(data.x_train[0], first.transpose(2, 0, 1))


@pytest.mark.parametrize("prefix", ["", "pets/", "deep/er/"])
def test_a_zip_gives_the_same_arrays_as_its_folder(tmp_path, prefix):
    root = tree(tmp_path / "pets", names=("a", "a-b", "a b", "ä"))
    folder, archive = (
        load(str(root), NOWHERE),
        load(str(zipped(root, tmp_path / "z.zip", prefix)), NOWHERE),
    )
    assert equal(folder, archive)
    assert folder.digest == archive.digest


def test_grey_images_have_one_channel(tmp_path):
    root = tmp_path / "grey"
    content = {
        f"{part}/{label}/x.PNG": picture(n, mode="L")
        for part in ("train", "test")
        for n, label in enumerate("ab")
    }
    assert load(str(tree(root, names=(), **content)), NOWHERE).shape == (1, 5, 4)


def test_sixteen_bit_grey_images_keep_their_contrast_or_are_refused(tmp_path):
    file = io.BytesIO()
    Image.fromarray((np.arange(20).reshape(5, 4) * 3000).astype(np.uint16)).save(file, "png")
    content = {
        f"{part}/{label}/x.png": file.getvalue() for part in ("train", "test") for label in "ab"
    }
    try:
        data = load(str(tree(tmp_path / "deep", names=(), **content)), NOWHERE)
    except UserError:
        return
    assert len(np.unique(data.x_train)) == 20


def test_other_files_beside_the_images_are_passed_over(tmp_path):
    plain = load(str(tree(tmp_path / "one")), NOWHERE)
    other = tree(
        tmp_path / "two",
        **{"train/cat/notes.txt": b"x", "README.png": b"x", "extra/cat/0.png": b"x"},
    )
    assert equal(plain, load(str(other), NOWHERE))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"train/cat/9.png": picture(9, size=(6, 4))}, r"one size.*\(3, 5, 4\), \(3, 6, 4\)"),
        ({"test/dog/9.png": picture(9, mode="L")}, r"number of channels.*\(1, 5, 4\), \(3, 5, 4\)"),
        ({"train/cat/9.png": b"no image"}, "train/cat/9.png in .* cannot be read as an image"),
        ({"train/cat/9.png": b""}, "train/cat/9.png in .* cannot be read as an image"),
        (
            {"train/cat/9.png": picture(9)[: PNG_HEADER + 20]},
            "train/cat/9.png in .* cannot be read as an image",
        ),
        ({"test/cow/9.png": picture(9)}, "test/cow has no train/cow"),
        ({"train/cow/9.png": picture(9)}, "y_train holds 0, 1, 2, y_test 0, 2"),
    ],
)
@pytest.mark.parametrize("as_zip", [False, True], ids=["folder", "zip"])
def test_images_that_do_not_fit_together_are_refused_with_the_reason(
    tmp_path, changes, why, as_zip
):
    root = tree(tmp_path / "pets", **changes)
    path = zipped(root, tmp_path / "z.zip") if as_zip else root
    with pytest.raises(UserError, match=why):
        load(str(path), NOWHERE)


@pytest.mark.parametrize("missing", ["train", "test"])
def test_an_image_folder_without_one_half_is_refused(tmp_path, missing):
    root = tree(tmp_path / "pets")
    (root / missing).rename(root / "elsewhere")
    with pytest.raises(UserError, match=missing):
        load(str(root), NOWHERE)


@pytest.mark.parametrize(
    "make",
    [lambda path: path.symlink_to("/nonexistent/x.png"), os.mkfifo],
    ids=["a dangling link", "a pipe"],
)
def test_an_image_that_is_no_file_is_refused_by_name(tmp_path, make):
    root = tree(tmp_path / "pets")
    make(root / "train" / "cat" / "9.png")
    with pytest.raises(UserError, match=r"cat/9\.png"):
        load(str(root), NOWHERE)


def test_a_folder_that_is_named_like_an_image_is_passed_over(tmp_path):
    root = tree(tmp_path / "pets")
    (root / "train" / "cat" / "9.png").mkdir()
    assert equal(load(str(root), NOWHERE), load(str(tree(tmp_path / "plain")), NOWHERE))


def test_folders_of_an_image_folder_may_be_links_also_round_and_round(tmp_path):
    root = tree(tmp_path / "pets")
    (root / "train" / "cat").rename(tmp_path / "elsewhere")
    (root / "train" / "cat").symlink_to(tmp_path / "elsewhere")
    (root / "test" / "round").symlink_to(root)
    assert equal(load(str(root), NOWHERE), load(str(tree(tmp_path / "plain")), NOWHERE))


def test_a_folder_that_may_not_be_read_is_refused_by_name(tmp_path, monkeypatch):
    root, listed = tree(tmp_path / "pets"), os.scandir

    def denied(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(UserError, match=r"/dog in .*pets cannot be read: Permission denied"):
        load(str(root), NOWHERE)


def test_an_image_that_may_not_be_read_is_refused_by_name(tmp_path, monkeypatch):
    root, opened = tree(tmp_path / "pets"), Path.open

    def denied(path, *mode, **more):
        if path.suffix == ".png":
            raise PermissionError(13, "Permission denied")
        return opened(path, *mode, **more)

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(UserError, match=r"0\.png cannot be read: Permission denied"):
        load(str(root), NOWHERE)


@pytest.mark.parametrize("kept", [1, 10, 20, 40])
def test_a_png_whose_end_is_cut_off_is_refused_even_where_no_pixel_is_lost(tmp_path, kept):
    root = tree(tmp_path / "pets", **{"train/cat/9.png": picture(9)[:-kept]})
    with pytest.raises(UserError, match=r"train/cat/9\.png in .* cannot be read as an image"):
        load(str(root), NOWHERE)


def test_a_folder_with_too_many_folders_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("retrograde.data.files.MAX_FOLDERS", 5)
    with pytest.raises(UserError, match=r"at most 5 folders; .* Name the one that holds train/"):
        load(str(tree(tmp_path / "pets")), NOWHERE)


@pytest.mark.parametrize(
    "name", ["~nobody-of-that-name/x.npz", "a" * 5000, "nul\0.npz", "/dev/zero", "/dev/null"]
)
def test_a_path_that_leads_to_no_data_is_refused(name):
    with pytest.raises(
        UserError,
        match="home folder|A path names a file|Only regular files|neither a name nor a file",
    ):
        load(name, NOWHERE)


@pytest.mark.parametrize("name", ["x.npz", "x.zip", "x"])
def test_a_pipe_is_refused_as_data(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="Only regular files and folders are read"):
        load(str(tmp_path / name), NOWHERE)


def test_a_pipe_among_the_files_of_mnist_is_refused(tmp_path, offline):
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    os.mkfifo(tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte")
    with pytest.raises(UserError, match="Only regular files and folders are read"):
        load("mnist", tmp_path)


@pytest.mark.parametrize(
    "content",
    [{}, {"x_train": b"no array"}, dict.fromkeys(arrays(), b"no array"), {"train/a/0.png": b""}],
)
def test_a_zip_without_arrays_is_refused_as_an_npz(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    with pytest.raises(UserError, match=r"A \.npz holds"):
        load(str(tmp_path / "own.npz"), NOWHERE)


@pytest.mark.parametrize(
    "make",
    [lambda path: np.savez(path / "own.npz", **arrays()), lambda path: tree(path / "own.npz")],
)
def test_data_that_memory_does_not_hold_twice_are_refused(tmp_path, monkeypatch, make):
    make(tmp_path)
    monkeypatch.setattr("retrograde.data.files.physical_bytes", lambda: 1000)
    (tmp_path / "own.npz").rename(
        path := tmp_path / ("own" if (tmp_path / "own.npz").is_dir() else "own.npz")
    )
    with pytest.raises(UserError, match="Data and a copy of them are held in memory"):
        load(str(path), NOWHERE)


def test_an_image_of_a_zip_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("retrograde.data.files.IMAGE_BYTES", 10)
    with pytest.raises(UserError, match=r"An image has at most 10 bytes; .*\.png in .*z\.zip has"):
        load(str(zipped(tree(tmp_path / "pets"), tmp_path / "z.zip")), NOWHERE)


def test_without_a_home_the_cache_is_among_the_temporary_files(monkeypatch):
    def homeless(_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", homeless)
    assert cache_folder() == Path(tempfile.gettempdir(), "retrograde")


def test_an_image_that_claims_to_be_enormous_is_refused(tmp_path):
    bomb = bytearray(picture(1))
    bomb[16:24] = struct.pack(">II", 10**5, 10**5)
    bomb[29:33] = struct.pack(">I", zipfile.crc32(bytes(bomb[12:29])))
    with pytest.raises(UserError, match=r"9\.png"):
        load(str(tree(tmp_path / "pets", **{"train/cat/9.png": bytes(bomb)})), NOWHERE)


def test_the_extra_files_of_a_zip_made_on_a_mac_are_passed_over(tmp_path):
    root = tree(tmp_path / "pets")
    path = zipped(root, tmp_path / "z.zip", "pets/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/pets/train/cat/._0.png", b"resource fork")
    assert equal(load(str(path), NOWHERE), load(str(root), NOWHERE))


def test_what_is_no_zip_is_refused(tmp_path):
    (tmp_path / "data.zip").write_bytes(b"not a zip")
    with pytest.raises(
        UserError, match=r"data\.zip is neither a \.npz, nor an image folder, nor a sound zip"
    ):
        load(str(tmp_path / "data.zip"), NOWHERE)


def test_a_damaged_zip_is_refused(tmp_path):
    path = zipped(
        tree(tmp_path / "pets", names=("z",)) / "test",
        tmp_path / "z.zip",
        "test/",
        zipfile.ZIP_DEFLATED,
    )
    spoil_first_member(path)
    with pytest.raises(UserError, match=r"z\.zip"):
        load(str(path), NOWHERE)
