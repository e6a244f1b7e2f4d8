"""Odd suites, cells, data files and words on the command line: refused in one line or taken as they stand, never misread.

Whatever is raised beside `UserError` fails a test, and so does a value that is accepted as another one than was written. What
became of the inputs shows with `--hypothesis-show-statistics`.
"""

import io
import json
import math
import os
import sys
import tempfile
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from decimal import Decimal
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings, strategies as st
from PIL import Image

from retrograde.cli import main
from retrograde.data.sources import load
from retrograde.errors import UserError
from retrograde.parts.fields import MOST, SEEDS
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.records.store import Store
from retrograde.running.plan import Context, plan
from retrograde.running.suite import read_suite


def bounded(examples):
    """So many inputs, the same at every run; `RETROGRADE_FUZZ` multiplies them."""
    return settings(
        max_examples=examples * int(os.environ.get("RETROGRADE_FUZZ", "1")),
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


HUGE = ["1" + "0" * digits for digits in (6, 9, 18, 30, 400, 5000)]
NUMBERS = st.sampled_from(
    [
        "0",
        "1",
        "2",
        "-1",
        "1.5",
        "1e3",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "1_0",
        "0x10",
        "true",
        "",
        *HUGE,
    ]
)
WORDS = (
    NUMBERS
    | st.sampled_from(
        ["~nobody", "/", "/dev/zero", "a" * 300, "\0", "\udcff", "[" * 200, "class", "mlp-0"]
    )
    | st.text()
)


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    """People run without the shape checks of the tests, which would see a misfit first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def outcome(do):
    """What a function gives, or None where it refuses its input; counted for the statistics."""
    try:
        found = do()
    except UserError:
        event("refused")
        return None
    event("accepted")
    return found


def odd_values():
    quoted = st.text(max_size=20).map(json.dumps)
    return (
        NUMBERS
        | quoted
        | st.lists(quoted, max_size=3).map(lambda found: f"[{', '.join(found)}]")
        | st.just("[" * 2000)
    )


@st.composite
def damaged(draw, content, cuts=False):
    """A file's bytes as they are, with one of them changed, or cut off somewhere."""
    how = draw(st.sampled_from(["whole", "whole", "changed", *(["cut"] if cuts else [])]))
    if how == "cut":
        return content[: draw(st.integers(0, len(content)))]
    changed = bytearray(content)
    if how == "changed":
        changed[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(changed)


@st.composite
def suites(draw):
    """A suite with some values replaced, keys added, or bytes changed."""
    values = {
        "title": '"t"',
        "seeds": "2",
        "benchmarks": '["split"]',
        "strategies": '["er"]',
        "part": '""',
    }
    values |= draw(st.dictionaries(st.sampled_from([*values, "more"]), odd_values(), max_size=1))
    top = ("title", "seeds", "more") if "more" in values else ("title", "seeds")
    own = [f"{name} = {values[name]}" for name in ("benchmarks", "strategies", "part")]
    text = "\n".join([*(f"{name} = {values[name]}" for name in top), "[[cells]]", *own])
    return draw(damaged(text.encode("utf-8", "surrogatepass")))


@bounded(200)
@given(content=suites())
def test_an_odd_suite_is_refused_or_has_what_its_schema_says(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "odd.toml"
    path.write_bytes(content)
    suite = outcome(lambda: read_suite(str(path)))
    if suite is None:
        return
    assert (type(suite.title), type(suite.seeds)) == (str, int)
    assert 1 <= suite.seeds <= SEEDS
    for cells in suite.cells:
        assert all(type(text) is str for text in [*cells.benchmarks, *cells.strategies, cells.part])
        assert cells.benchmarks
        assert cells.strategies


TINY = {
    "train_examples": "12",
    "test_examples": "6",
    "probe_examples": "0",
    "model": "mlp-4",
    "tasks": "2",
}
FEW = {
    "meta_batch_size": "2",
    "iterations": "2",
    "test_tasks": "2",
    "evaluations": "1",
    "model": "mlp-4",
}
BENCHMARKS = {
    "split": TINY,
    "permuted": TINY,
    "rotated": TINY,
    "sinusoid": FEW,
    "fewshot": FEW | {"ways": "2"},
}
STRATEGIES = {
    True: ("finetune", "er", "joint", "lwf", "gdumb"),
    False: ("maml", "reptile", "scratch"),
}


NAMES = {
    "benchmarks": [*BENCHMARKS],
    "strategies": [name for names in STRATEGIES.values() for name in names],
}
KNOWN = {
    name: [
        pair.partition("=")[0]
        for pair in Registry().find(kind, name).defaults().split(",")
        if "=" in pair
    ]
    for kind, names in NAMES.items()
    for name in names
}


@st.composite
def cells(draw):
    """A small cell with some settings replaced; the name and the settings of its benchmark and its strategy."""
    found = []
    benchmark = draw(st.sampled_from(list(BENCHMARKS)))
    strategy = draw(st.sampled_from(STRATEGIES["train_examples" in BENCHMARKS[benchmark]]))
    for name in (benchmark, strategy):
        odd = draw(
            st.dictionaries(st.sampled_from(KNOWN[name]) | st.text(max_size=3), WORDS, max_size=1)
        )
        found.append(
            ",".join(f"{key}={value}" for key, value in (BENCHMARKS.get(name, {}) | odd).items())
        )
    return f"{benchmark}:{found[0]}", f"{strategy}:{found[1]}"


@bounded(50)
@given(texts=cells())
def test_an_odd_cell_is_refused_or_planned_with_the_values_that_were_written(
    tmp_path_factory, texts
):
    store = Store(tmp_path_factory.getbasetemp() / "none")
    jobs = outcome(lambda: plan([tuple(texts)], 1, Registry(), Context(), store))
    for text, of in zip(texts, ("benchmark", "strategy"), strict=True):
        for key, written in parse(text)[1].items() if jobs else ():
            value = getattr(jobs[0].spec, of).settings.get(key)
            json.dumps(value, allow_nan=False)
            if isinstance(value, int | float) and not isinstance(value, bool):
                assert math.isclose(value, Decimal(written))
                assert isinstance(value, float) or abs(value) <= MOST


def array_members(x, y, sizes):
    """The arrays of a .npz, of these types and, by name, sizes."""
    shapes = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    return {
        name: np.zeros(sizes.get(name, (6, 4) if "x" in name else (6,)), dtype)
        for name, dtype in shapes.items()
    }


@st.composite
def arrays(draw):
    """The bytes of a .npz of odd types and sizes, perhaps without some arrays, perhaps cut or changed."""
    x = draw(st.sampled_from(["u1", "f4", ">f8", "i8", "c8", "U3", "?"]))
    y = draw(st.sampled_from(["i8", "u1", "u8", "f4", "U1"]))
    names = ("x_train", "y_train", "x_test", "y_test")
    sizes = draw(
        st.dictionaries(
            st.sampled_from(names), st.lists(st.integers(0, 6), max_size=5).map(tuple), max_size=2
        )
    )
    members, file = array_members(x, y, sizes), io.BytesIO()
    np.savez(
        file,
        **{
            name: members[name]
            for name in draw(st.just(names) | st.permutations(names).map(lambda each: each[1:]))
        },
    )
    return draw(damaged(file.getvalue(), cuts=True))


@bounded(100)
@given(content=arrays())
def test_an_odd_npz_is_refused_or_is_examples_with_their_labels(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "odd.npz"
    path.write_bytes(content)
    data = outcome(lambda: load(str(path), path))
    if data is not None:
        assert not any(
            np.any(getattr(data, name)) for name in ("x_train", "y_train", "x_test", "y_test")
        )
        assert (data.x_train.dtype.name in ("uint8", "float32"), len(data.x_train)) == (
            True,
            len(data.y_train),
        )
        assert len(data.shape) in (1, 3)


@st.composite
def pictures(draw):
    """A picture's pixels, and its file, perhaps cut or changed."""
    pixels, file = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5, io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return pixels, draw(damaged(file.getvalue(), cuts=True))


@bounded(100)
@given(pictures())
def test_an_odd_picture_is_refused_or_has_all_its_pixels(drawn):
    pixels, content = drawn
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "odd.zip")
        with zipfile.ZipFile(path, "w") as archive:
            for part in ("train", "test"):
                archive.writestr(f"{part}/a/0.png", content)
        data = outcome(lambda: load(str(path), path))
    if data is not None:
        assert np.array_equal(data.x_train[0], pixels.transpose(2, 0, 1))


OPTIONS = [
    "--seeds",
    "--timeout",
    "--jobs",
    "--out",
    "--data",
    "--device",
    "--part",
    "--only",
    "--compile",
    "--plugin",
    "--cluster",
]


@bounded(50)
@given(
    words=st.lists(st.tuples(st.sampled_from([*OPTIONS, "--odd"]), WORDS), max_size=2),
    suite=st.none() | WORDS,
)
def test_odd_words_on_the_command_line_are_refused_without_a_traceback(words, suite):
    given = [word for pair in words for word in pair] + [
        suite or "quick",
        "--only",
        "strategy=none",
    ]
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="cp932") for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["retrograde", "run", *given])
        with pytest.raises(SystemExit) as stop:
            main()
    event("refused")
    err.seek(0)
    assert stop.value.code == 2
    assert "rror" in err.read() or "Usage" in out.buffer.getvalue().decode("cp932")
