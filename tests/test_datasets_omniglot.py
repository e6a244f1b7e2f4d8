"""Omniglot: what is read, in which order, what is kept for the next time and what is refused."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from retrograde.data.sources import data_folder, load
from retrograde.data.torchvision import import_torchvision
from retrograde.datasets import omniglot
from retrograde.errors import UserError

HERE, WHOLE = data_folder(), omniglot.PARTS
PARTS = ("images_background", "images_evaluation")
CHARACTERS = [f"{PARTS[0]}/{name}" for name in ("A/b", "A/c", "A-b/a")] + [
    f"{PARTS[1]}/{name}" for name in ("A/a", "A/b")
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own; Omniglot has five characters here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(omniglot, "PARTS", tuple(zip(PARTS, (3, 2), strict=True)))
    return tmp_path / "cache" / "retrograde"


def drawing(character, n):
    """A sheet of 1-bit paper whose black corner tells the character and the drawing."""
    image = Image.new("1", (105, 105), 1)
    image.paste(0, (0, 0, 20 * (character + 1), 5 * (n + 1)))
    return image


def png(image):
    """All of one size, so that the size does not tell them apart."""
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue().ljust(500, b"\0")


def small(character, n):
    return 255 - np.asarray(
        drawing(character, n).convert("L").resize((28, 28), Image.Resampling.LANCZOS)
    )


def omniglot_files(**changes):
    files = {
        f"{name}/07_{n:02}.png": png(drawing(c, n))
        for c, name in enumerate(CHARACTERS)
        for n in range(20)
    } | changes
    return {
        name: content
        for name, content in sorted(files.items(), reverse=True)
        if content is not None
    }


def zips(folder, **changes):
    (folder / "omniglot-py").mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        with zipfile.ZipFile(folder / "omniglot-py" / f"{part}.zip", "w") as archive:
            for name, content in omniglot_files(**changes).items():
                if name.startswith(part):
                    archive.writestr(name, content)
    return folder


def folders(folder, **changes):
    for name, content in omniglot_files(**changes).items():
        (folder / "omniglot-py" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "omniglot-py" / name).write_bytes(content)
    return folder


def forbid(monkeypatch, owner, name):
    def forbidden(*arguments, **settings):
        raise OSError(f"{name} is forbidden here")

    monkeypatch.setattr(owner, name, forbidden)


@pytest.mark.parametrize("laid", [zips, folders])
def test_classes_go_by_part_alphabet_and_character_and_the_last_five_drawings_are_for_tests(
    tmp_path, laid
):
    data = load("omniglot", laid(tmp_path))
    assert np.array_equal(data.x_train[:, 0], [small(c, n) for c in range(5) for n in range(15)])
    assert np.array_equal(data.x_test[:, 0], [small(c, n) for c in range(5) for n in range(15, 20)])
    assert (data.y_train.tolist(), data.y_test.tolist()) == (
        sorted([*range(5)] * 15),
        sorted([*range(5)] * 5),
    )


def test_ink_is_bright_paper_is_dark_and_edges_are_grey(tmp_path):
    data = load("omniglot", zips(tmp_path))
    assert (data.name, data.shape, data.x_train.dtype, data.scale) == (
        "omniglot",
        (1, 28, 28),
        np.uint8,
        1 / 255,
    )
    assert (data.x_train[:, 0, 0, 0].min() > 250, data.x_train[:, 0, -1, -1].max()) == (True, 0)
    assert len(np.unique(data.x_train)) > 2


def test_zips_are_read_in_place(tmp_path):
    before = sorted(zips(tmp_path / "data").rglob("*"))
    load("omniglot", tmp_path / "data")
    assert sorted((tmp_path / "data").rglob("*")) == before


@pytest.mark.parametrize("laid", [zips, folders])
def test_the_second_time_nothing_is_decoded(tmp_path, monkeypatch, laid):
    first = load("omniglot", laid(tmp_path))
    forbid(monkeypatch, omniglot, "decoded")
    second = load("omniglot", tmp_path)
    assert (second.name, second.digest) == ("omniglot", first.digest)


@pytest.mark.parametrize("laid", [zips, folders])
def test_a_changed_drawing_is_seen_although_the_others_are_kept(tmp_path, laid):
    first = load("omniglot", laid(tmp_path))
    second = load(
        "omniglot", laid(tmp_path, **{"images_evaluation/A/a/07_00.png": png(drawing(0, 19))})
    )
    assert np.flatnonzero((first.x_train != second.x_train).any((1, 2, 3))).tolist() == [45]


def test_what_is_kept_is_one_file_and_a_damaged_one_is_made_again(tmp_path, cache):
    first = load("omniglot", zips(tmp_path))
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    assert load("omniglot", tmp_path).digest == first.digest
    assert [file.stat().st_size for file in cache.iterdir()] == [len(whole)]


def test_without_a_place_to_keep_it_omniglot_is_decoded_every_time(tmp_path, cache):
    cache.parent.write_bytes(b"a file where the cache folder would be")
    assert load("omniglot", zips(tmp_path)).classes == 5
    assert cache.parent.is_file()


def test_what_could_not_be_written_whole_is_not_kept(tmp_path, cache, monkeypatch):
    def write_half(path, **arrays):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", write_half)
    assert load("omniglot", zips(tmp_path)).classes == 5
    assert list(cache.iterdir()) == []


def test_missing_omniglot_names_the_folder_looked_in_and_the_remedy(tmp_path, monkeypatch):
    forbid(monkeypatch, import_torchvision().datasets.Omniglot, "download")
    with pytest.raises(
        UserError, match=r"is forbidden here.*images_evaluation\.zip there.*RETROGRADE_DATA"
    ) as refusal:
        load("omniglot", tmp_path)
    assert f"Looked in {tmp_path / 'omniglot-py'}," in str(refusal.value)


def test_only_the_half_that_is_missing_is_downloaded(tmp_path, monkeypatch):
    absent = zips(tmp_path) / "omniglot-py" / "images_evaluation.zip"
    content, asked = absent.read_bytes(), []

    def download(folder, background, download):
        asked.append((folder, background, download))
        absent.write_bytes(content)

    absent.unlink()
    monkeypatch.setattr(import_torchvision().datasets, "Omniglot", download)
    assert load("omniglot", tmp_path).classes == 5
    assert asked == [(tmp_path, False, True)]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {f"{CHARACTERS[0]}/07_19.png": None},
            "background of Omniglot is 3 .* holds 3 characters, 2 of them with 20",
        ),
        (
            {f"{CHARACTERS[4]}/21.png": png(drawing(0, 0))},
            "evaluation of Omniglot is 2 .* holds 2 characters, 1 of them",
        ),
        (
            {f"{CHARACTERS[4]}/07_{n:02}.png": None for n in range(20)},
            "holds 1 characters, 1 of them",
        ),
        (
            {f"{PARTS[0]}/A/d/{n}.png": png(drawing(0, n)) for n in range(19)},
            "holds 4 characters, 3 of them",
        ),
        (
            {f"{CHARACTERS[4]}/07_00.png": b"no image"},
            r"A/b/07_00\.png in .* cannot be read as an image",
        ),
    ],
)
@pytest.mark.parametrize("laid", [zips, folders])
def test_an_incomplete_or_damaged_omniglot_is_refused_with_the_reason_and_the_remedy(
    tmp_path, changes, why, laid
):
    with pytest.raises(UserError, match=f"{why}.*Put a whole copy there, or delete it"):
        load("omniglot", laid(tmp_path, **changes))


def test_what_is_no_zip_is_refused_with_the_remedy(tmp_path):
    (zips(tmp_path) / "omniglot-py" / "images_evaluation.zip").write_bytes(b"half a download")
    with pytest.raises(
        UserError,
        match=r"images_evaluation\.zip is neither .* Put a whole copy there, or delete it",
    ):
        load("omniglot", tmp_path)


@pytest.mark.skipif(
    not [*HERE.glob("omniglot-py/images_evaluation*")], reason="RETROGRADE_DATA holds no Omniglot"
)
def test_the_real_omniglot_is_1623_characters_with_20_drawings_that_are_mostly_paper(monkeypatch):
    monkeypatch.setattr(omniglot, "PARTS", WHOLE)
    data = load("omniglot", HERE)
    assert np.bincount(data.y_train).tolist() == [15] * 1623
    assert np.bincount(data.y_test).tolist() == [5] * 1623
    assert data.x_train.max((1, 2, 3)).min() > 100
    assert 0.05 < data.scale * data.x_train.mean() < 0.15
