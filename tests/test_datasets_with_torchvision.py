"""Datasets that torchvision reads: tiny files in their original formats, and what is said without."""

import pickle
import struct

import numpy as np
import pytest
from scipy.io import savemat

from retrograde.data import import_torchvision
from retrograde.data.sources import load
from retrograde.errors import UserError
from retrograde.parts.registry import Registry

PARTS = Registry()
RANDOM = np.random.default_rng(0)


def write_idx(path, array):
    """LeCun's format: magic number, sizes (big-endian), bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(sizes + array.astype(np.uint8).tobytes())


def grey(count):
    return RANDOM.integers(0, 256, (count, 28, 28), dtype=np.uint8)


def colours(count, side):
    return RANDOM.integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def labels(count, classes):
    return np.arange(count) % classes


def like_mnist(folder, classes, prefix=("train", "t10k")):
    """The four files of MNIST's format, and their content."""
    parts = {}
    for part in prefix:
        x, y = grey(2 * classes), labels(2 * classes, classes)
        write_idx(folder / f"{part}-images-idx3-ubyte", x)
        write_idx(folder / f"{part}-labels-idx1-ubyte", y)
        parts[part] = x, y
    return [*parts.values()]


@pytest.mark.parametrize(
    ("name", "inside", "title", "first"),
    [
        ("mnist", "MNIST", "MNIST", "0 - zero"),
        ("fashion_mnist", "FashionMNIST", "Fashion-MNIST", "T-shirt/top"),
        ("kmnist", "KMNIST", "Kuzushiji-MNIST", "o"),
    ],
)
def test_files_in_the_format_of_mnist_are_read(name, inside, title, first, tmp_path):
    (x_train, y_train), (x_test, y_test) = like_mnist(tmp_path / inside / "raw", 10)
    data = load(name, tmp_path)
    assert (data.name, data.shape, data.classes, data.scale) == (name, (1, 28, 28), 10, 1 / 255)
    assert np.array_equal(data.x_train[:, 0], x_train)
    assert np.array_equal(data.x_test[:, 0], x_test)
    assert (data.y_train.tolist(), data.y_test.tolist()) == (y_train.tolist(), y_test.tolist())
    assert len(data.class_names) == 10
    assert data.class_names[0] == first


def test_letters_of_emnist_stand_upright(tmp_path):
    folder = tmp_path / "EMNIST" / "raw"
    prefix = ("emnist-balanced-train", "emnist-balanced-test")
    (x_train, _), _ = like_mnist(folder, 47, prefix)
    data = load("emnist", tmp_path)
    assert (data.shape, data.classes) == ((1, 28, 28), 47)
    # The files hold each image transposed.
    assert np.array_equal(data.x_train[:, 0], x_train.transpose(0, 2, 1))
    assert data.class_names[10] == "A"


@pytest.mark.usefixtures("unchecked")
def test_house_numbers_are_read_from_matlab_files(tmp_path):
    parts = {part: (colours(count, 32), labels(count, 10)) for part, count in SIZES.items()}
    for part, (x, y) in parts.items():
        # Ten stands for zero.
        content = {"X": x.transpose(2, 3, 1, 0), "y": np.where(y == 0, 10, y)[:, None]}
        savemat(tmp_path / f"{part}_32x32.mat", content)
    data = load("svhn", tmp_path)
    assert (data.shape, data.classes) == ((3, 32, 32), 10)
    assert np.array_equal(data.x_train, parts["train"][0])
    assert np.array_equal(data.y_test, parts["test"][1])


SIZES = {"train": 30, "test": 20}


@pytest.fixture
def unchecked(monkeypatch):
    """torchvision compares the real files with checksums; these are none of them."""
    datasets = import_torchvision().datasets
    for name in ("CIFAR10", "CIFAR100", "STL10", "SVHN"):
        monkeypatch.setattr(getattr(datasets, name), "_check_integrity", lambda *_: True)
    monkeypatch.setattr(datasets.cifar, "check_integrity", lambda *_: True)


@pytest.mark.usefixtures("unchecked")
def test_cifar10_is_read_from_its_batches(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = [f"data_batch_{number}" for number in range(1, 6)]
    x = {name: colours(10, 32) for name in (*names, "test_batch")}
    for name, images in x.items():
        content = {"data": images.reshape(10, -1), "labels": [*range(10)]}
        (folder / name).write_bytes(pickle.dumps(content))
    classes = [f"class {number}" for number in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": classes}))
    data = load("cifar10", tmp_path)
    assert (data.shape, data.classes, data.class_names) == ((3, 32, 32), 10, tuple(classes))
    assert np.array_equal(data.x_train, np.concatenate([x[name] for name in names]))
    assert np.array_equal(data.x_test, x["test_batch"])


@pytest.mark.usefixtures("unchecked")
def test_cifar100_has_its_fine_labels(tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    x = {part: colours(100, 32) for part in ("train", "test")}
    for part, images in x.items():
        content = {"data": images.reshape(100, -1), "fine_labels": [*range(100)]}
        (folder / part).write_bytes(pickle.dumps(content))
    classes = [f"class {number}" for number in range(100)]
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": classes}))
    data = load("cifar100", tmp_path)
    assert (data.shape, data.classes, data.class_names) == ((3, 32, 32), 100, tuple(classes))
    assert np.array_equal(data.x_test, x["test"])


@pytest.mark.usefixtures("unchecked")
def test_stl10_is_read_from_its_binary_files(tmp_path):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    x = {part: colours(count, 96) for part, count in SIZES.items()}
    for part, images in x.items():
        # Columns come first, and labels count from 1.
        (folder / f"{part}_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())
        of_part = labels(len(images), 10).astype(np.uint8) + 1
        (folder / f"{part}_y.bin").write_bytes(of_part.tobytes())
    (folder / "class_names.txt").write_text("\n".join("abcdefghij"))
    data = load("stl10", tmp_path)
    assert (data.shape, data.classes, data.class_names) == ((3, 96, 96), 10, tuple("abcdefghij"))
    assert np.array_equal(data.x_train, x["train"])
    assert data.y_test.tolist() == labels(20, 10).tolist()


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("mnist", "MNIST/raw"),
        ("fashion_mnist", "FashionMNIST/raw"),
        ("kmnist", "KMNIST/raw"),
        ("emnist", "EMNIST/raw"),
        ("svhn", ""),
        ("cifar10", "cifar-10-batches-py"),
        ("cifar100", "cifar-100-python"),
        ("stl10", "stl10_binary"),
    ],
)
def test_a_dataset_that_is_nowhere_says_where_to_put_its_files(name, inside, tmp_path, monkeypatch):
    part = PARTS.get("datasets", name)

    def nowhere(self, datasets, folder, train, download):
        if not download:
            raise RuntimeError("Dataset not found.")
        raise OSError("no network here")

    monkeypatch.setattr(type(part), "part", nowhere)
    with pytest.raises(UserError, match=r"no network here.*Put .* there, or set RETRO") as refusal:
        load(name, tmp_path)
    assert str(tmp_path / inside) in str(refusal.value)
    assert part.title in str(refusal.value)
    assert part.files in str(refusal.value)


def test_names_of_classes_are_as_many_as_classes():
    from retrograde import Dataset

    y = np.array([0, 1])
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(UserError, match="2 classes, and class_names has 1 different ones of 2"):
        Dataset("d", x, y, x, y, class_names=("a", "a"))


def test_licences_are_listed():
    declared = {name: PARTS.get("datasets", name).declares() for name in ("kmnist", "svhn")}
    assert declared == {
        "kmnist": {"licence": "CC BY-SA 4.0"},
        "svhn": {"licence": "not for commercial use"},
    }
