"""Datasets that people put into the data folder: tiny copies in the layouts of their authors."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from retrograde import benchmark
from retrograde.data import Prepared, prepared
from retrograde.data.sources import load
from retrograde.datasets import _core50, cub200, imagenet_r, tiny_imagenet
from retrograde.errors import UserError


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """Few classes and images, and a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sizes = {
        tiny_imagenet: {"CLASSES": 3, "TRAIN": 2, "TEST": 1},
        cub200: {"CLASSES": 2, "IMAGES": 6},
        _core50: {"OBJECTS": 10},
        imagenet_r: {"CLASSES": 2},
    }
    for module, changes in sizes.items():
        for name, value in changes.items():
            monkeypatch.setattr(module, name, value)


def picture(shade, size=(64, 64), kind="png", mode="RGB"):
    """One colour: its shade."""
    file = io.BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).convert(mode).save(file, kind)
    return file.getvalue()


def as_folder(folder, name, files):
    for inner, content in files.items():
        path = folder / name / inner
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def as_zip(folder, name, files):
    """The folder inside a zip of its name, as the authors' zips are."""
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
        archive.writestr(f"{name}/", b"")
        for inner, content in files.items():
            archive.writestr(f"{name}/{inner}", content)


def as_bare_zip(folder, name, files):
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
        for inner, content in files.items():
            archive.writestr(inner, content)


LAID = pytest.mark.parametrize("laid", [as_folder, as_zip, as_bare_zip])


def shades(x):
    """The shade of each image of one colour."""
    return np.round(x.mean((1, 2, 3))).astype(int).tolist()


WNIDS = ("n02", "n01", "n03")


def tiny(size=(64, 64), **changes):
    """Three classes, each with its shade, which is one more in the test."""
    files = {
        f"train/{wnid}/images/{wnid}_{n}.JPEG": picture(40 * shade, size, "jpeg")
        for shade, wnid in enumerate(WNIDS)
        for n in range(2)
    }
    files |= {f"val/images/val_{n}.JPEG": picture(40 * n + 10, size, "jpeg") for n in range(3)}
    lines = [f"val_{n}.JPEG\t{wnid}\t0\t32\t44\t62" for n, wnid in enumerate(WNIDS)]
    # In another order than that of the file names.
    files["val/val_annotations.txt"] = "\n".join(reversed(lines)).encode()
    files["words.txt"] = b"n00\tentity\nn01\tcrane, bird\nn02\tcrane\nn03\tEgyptian cat, cat\n"
    files["test/images/test_0.JPEG"] = picture(255, size, "jpeg")
    files["train/n02/n02_boxes.txt"] = b"n02_0.JPEG 0 0 1 1"
    files |= changes
    return {name: content for name, content in files.items() if content is not None}


@LAID
def test_tiny_imagenet_is_read_from_its_own_layout(tmp_path, laid):
    laid(tmp_path, "tiny-imagenet-200", tiny())
    for _ in range(2):  # decoded, and from the cache
        data = load("tiny_imagenet", tmp_path)
        assert (data.name, data.shape, data.scale) == ("tiny_imagenet", (3, 64, 64), 1 / 255)
        assert data.y_train.tolist() == [0, 0, 1, 1, 2, 2]
        # The annotations list them in another order than their names.
        assert data.y_test.tolist() == [2, 0, 1]
        assert np.abs(np.array(shades(data.x_train)) - [40, 40, 0, 0, 80, 80]).max() < 2
        assert np.abs(np.array(shades(data.x_test)) - [90, 50, 10]).max() < 2
        assert data.class_names == ("crane (n01)", "crane (n02)", "Egyptian cat")


BIRDS = ("001.Black_footed_Albatross", "002.Laysan_Albatross")


def cub(**changes):
    """Six images, of which 2, 3 and 6 are for training, wider than they are high."""
    paths = [f"{BIRDS[n // 3]}/bird_{n}.jpg" for n in range(6)]
    files = {f"images/{path}": picture(30 * n, (90, 60), "jpeg") for n, path in enumerate(paths)}
    files["images.txt"] = _listed(paths)
    files["image_class_labels.txt"] = _listed([1, 1, 1, 2, 2, 2])
    files["train_test_split.txt"] = _listed([0, 1, 1, 0, 0, 1])
    files["classes.txt"] = _listed(BIRDS)
    return files | changes


def _listed(words):
    return "".join(f"{n} {word}\n" for n, word in enumerate(words, 1)).encode()


@LAID
def test_birds_have_the_split_of_their_authors(tmp_path, laid):
    laid(tmp_path, "CUB_200_2011", cub())
    for _ in range(2):
        data = load("cub200", tmp_path)
        assert (data.name, data.shape) == ("cub200", (3, 128, 128))
        assert (data.y_train.tolist(), data.y_test.tolist()) == ([0, 0, 1], [0, 1, 1])
        assert np.abs(np.array(shades(data.x_train)) - [30, 60, 150]).max() < 2
        assert np.abs(np.array(shades(data.x_test)) - [0, 90, 120]).max() < 2
        assert data.class_names == ("Black_footed_Albatross", "Laysan_Albatross")


def core(leave_out=(), size=(128, 128)):
    """Ten objects in eleven sessions: the shade is ten times the session, plus the object."""
    return {
        f"s{session}/o{one}/C_{session:02}_{one:02}_000.png": picture(10 * session + one, size)
        for session in range(1, 12)
        for one in range(1, 11)
        if (session, one) not in leave_out
    }


@LAID
def test_core50_tests_on_three_sessions_and_the_others_are_tasks(tmp_path, laid):
    laid(tmp_path, "core50_128x128", core())
    for _ in range(2):
        data = load("core50", tmp_path)
        assert (data.name, data.shape, data.classes) == ("core50", (3, 32, 32), 10)
        assert shades(data.x_train) == (10 * data.task_train + data.y_train + 1).tolist()
        assert shades(data.x_test) == [10 * s + o for s in (3, 7, 10) for o in range(1, 11)]
        assert np.unique(data.task_train).tolist() == [1, 2, 4, 5, 6, 8, 9, 11]
        assert data.task_test is None
        assert data.class_names[4:6] == ("plug adapter 5", "mobile phone 1")
    categories = load("core50_categories", tmp_path)
    assert categories.name == "core50_categories"
    assert categories.class_names == ("plug adapter", "mobile phone")
    assert np.array_equal(categories.y_train, data.y_train // 5)


def test_the_sessions_of_core50_are_domains(tmp_path):
    as_folder(tmp_path, "core50_128x128", core())
    data = load("core50_categories", tmp_path)
    stream = benchmark("given:scenario=domain,dataset=core50_categories").stream(data, seed=0)
    assert len(stream) == 8
    assert {len(task.test.row) for task in stream.tasks} == {30}
    assert stream.units.all()


def renditions(**changes):
    files = {
        f"{wnid}/{style}_{n}.jpg": picture(100 * label + 8 * n, (50, 70), "jpeg")
        for label, wnid in enumerate(("n9", "n8"))
        for style, count in (("art", 6), ("toy", 5))
        for n in range(count)
    }
    return {"README.txt": b"n8 goldfish"} | files | changes


@LAID
def test_every_fifth_rendition_of_a_class_is_a_test_example(tmp_path, laid):
    laid(tmp_path, "imagenet-r", renditions())
    for _ in range(2):
        data = load("imagenet_r", tmp_path)
        assert (data.name, data.shape) == ("imagenet_r", (3, 64, 64))
        assert data.class_names == ("n8", "n9")
        assert np.bincount(data.y_train).tolist() == [9, 9]
        # art_4 and toy_3 of each.
        assert np.abs(np.array(shades(data.x_test)) - [132, 124, 32, 24]).max() < 2
        assert data.y_test.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("name", "inside", "what"),
    [
        ("tiny_imagenet", "tiny-imagenet-200", r"tiny-imagenet-200\.zip of Stanford"),
        ("cub200", "CUB_200_2011", r"content of CUB_200_2011\.tgz"),
        ("core50", "core50_128x128", r"core50_128x128\.zip of the authors"),
        ("core50_categories", "core50_128x128", r"core50_128x128\.zip of the authors"),
        ("imagenet_r", "imagenet-r", r"content of imagenet-r\.tar"),
    ],
)
def test_a_dataset_that_is_nowhere_says_what_to_put_where(name, inside, what, tmp_path):
    places = rf"Looked for {tmp_path}/{inside}\.zip and the folder {tmp_path}/{inside}\."
    with pytest.raises(UserError, match=rf"{places} Put (the )?{what}.* Or set RETROGRADE_DATA"):
        load(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "inside", "files", "why"),
    [
        (
            "tiny_imagenet",
            "tiny-imagenet-200",
            tiny(**{"train/n01/images/n01_0.JPEG": None}),
            "has 5 training images of 3 classes and 3 in val; there are 2 and 1 of each of 3",
        ),
        (
            "tiny_imagenet",
            "tiny-imagenet-200",
            tiny(**{"val/images/val_1.JPEG": None}),
            r"lacks 1 images, such as val/images/val_1\.JPEG",
        ),
        (
            "tiny_imagenet",
            "tiny-imagenet-200",
            tiny(size=(32, 64)),
            r"of 64 x 32 pixels, and its images have 64 x 64",
        ),
        (
            "tiny_imagenet",
            "tiny-imagenet-200",
            tiny(**{"val/val_annotations.txt": None}),
            r"has no val/val_annotations\.txt",
        ),
        (
            "tiny_imagenet",
            "tiny-imagenet-200",
            tiny(**{"val/val_annotations.txt": b"val_0.JPEG n07"}),
            "has images of n07 in val alone",
        ),
        (
            "cub200",
            "CUB_200_2011",
            cub(**{"train_test_split.txt": _listed([0, 1])}),
            "has 6 images, 6 labels, 2 places in the split and 2 classes",
        ),
        (
            "cub200",
            "CUB_200_2011",
            cub(**{"classes.txt": b"2 a\n1 b\n"}),
            r"has a classes\.txt whose lines are not a number from 1",
        ),
        (
            "cub200",
            "CUB_200_2011",
            cub(**{"image_class_labels.txt": _listed("abcdef")}),
            r"image_class_labels\.txt with other words than whole numbers",
        ),
        (
            "cub200",
            "CUB_200_2011",
            cub(**{"classes.txt": b"\xff\xfe"}),
            r"has a classes\.txt that is no text",
        ),
        (
            "core50",
            "core50_128x128",
            core(leave_out=[(5, 2), (9, 1)]),
            "has no frames in s5/o2, in 2 folders in all",
        ),
        ("core50", "core50_128x128", core(size=(350, 350)), "of 350 x 350 pixels, and its images"),
        (
            "imagenet_r",
            "imagenet-r",
            renditions(**{"n7/art_0.jpg": picture(0)}),
            "has images of 3 classes; there are 2",
        ),
        (
            "imagenet_r",
            "imagenet-r",
            {f"{wnid}/{n}.jpg": picture(0) for wnid, of in (("a", 6), ("b", 4)) for n in range(of)},
            "has fewer than 5 images of b",
        ),
        (
            "imagenet_r",
            "imagenet-r",
            renditions(**{"n8/art_0.jpg": b"no image"}),
            r"n8/art_0\.jpg in .* cannot be read as an image",
        ),
    ],
)
@pytest.mark.parametrize("laid", [as_folder, as_zip])
def test_a_copy_that_is_not_whole_is_refused(name, inside, files, why, laid, tmp_path):
    laid(tmp_path, inside, files)
    with pytest.raises(UserError, match=why):
        load(name, tmp_path)


def test_a_zip_that_is_damaged_is_refused(tmp_path):
    (tmp_path / "imagenet-r.zip").write_bytes(b"half a download")
    with pytest.raises(UserError, match=r"imagenet-r\.zip is no sound zip.*Put a whole copy"):
        load("imagenet_r", tmp_path)


def test_the_square_in_the_middle_of_an_image_is_resized(tmp_path):
    """Left and right quarters of a picture of two to one are cut off."""
    wide = np.zeros((20, 40, 3), np.uint8)
    wide[:, 10:20] = (200, 100, 50)
    wide[:, 20:30] = 80
    wide[:, 30:] = 255
    file = io.BytesIO()
    Image.fromarray(wide).save(file, "png")
    grey = picture(77, (8, 8), mode="L")
    as_folder(tmp_path, "some", {"a.png": file.getvalue(), "b.png": grey, ".c.png": grey})
    source = prepared(tmp_path, "some", "Some", "Put it there.")
    assert source.names == ("a.png", "b.png")
    images = source.images(["b.png", "a.png"], 8)
    assert (images.dtype, images.shape) == (np.uint8, (2, 3, 8, 8))
    assert (images[0] == 77).all()
    assert images[1, :, 4, 1].tolist() == [200, 100, 50]
    assert images[1, :, 4, 6].tolist() == [80, 80, 80]


def test_images_that_do_not_fit_into_memory_are_refused_before_they_are_read(tmp_path):
    with pytest.raises(UserError, match=r"Data and a copy of them are held in memory"):
        Prepared("Some", tmp_path).images(["a.png"], 10**9)
