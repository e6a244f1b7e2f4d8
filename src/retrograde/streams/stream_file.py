"""Streams as files: the rows of each experience, in JSON."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Int64
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import NotRequired, TypedDict

from retrograde.data.dataset import Dataset
from retrograde.errors import UserError, shown
from retrograde.streams.cuts import units_of
from retrograde.streams.stream import Examples, Experience, Scenario, Stream, Task

Row = Annotated[int, Field(ge=0, le=2**63 - 1)]


@with_config(ConfigDict(extra="forbid"))  # a misspelled name is an error
class StreamFile(TypedDict):
    """The content of a file.

    Attributes:
        experiences: For each experience, the rows of its training examples.
        classes: For each task, its classes; without them, the classes that are new in an experience
            make a task.
        test: For each task, the rows of its test examples; without them, all of its classes.
        learned_after: For each task, the experience after which it counts as learned; without it,
            the last one with training examples of it.
        ordered: True if the examples of an experience come in the order of the file; otherwise,
            and without it, they are shuffled.
    """

    experiences: list[list[Row]]
    classes: NotRequired[list[list[Row]]]
    test: NotRequired[list[list[Row]]]
    learned_after: NotRequired[list[Row]]
    ordered: NotRequired[bool]


_ADAPTER = TypeAdapter(StreamFile)


def save_stream(stream: Stream, path: str | Path) -> None:
    """Write a stream of classes to a file, which `stream:file=PATH` reads.

    Examples are written as rows of the dataset, with which the file must be used again. Those held
    out for validation are left out.

    Raises:
        UserError: The stream changes labels or pixels, which a list of rows does not tell; or the
            file cannot be written.
    """
    classes = _classes_of_tasks(stream)
    content: StreamFile = {
        "experiences": [experience.row.tolist() for experience in stream.experiences],
        "classes": classes,
        "test": [task.test.row.tolist() for task in stream.tasks],
    }
    if stream.learned_after is not None:
        content["learned_after"] = list(stream.learned_after)
    if stream.ordered:
        content["ordered"] = True
    try:
        Path(path).write_text(json.dumps(content))
    except OSError as error:
        raise UserError(
            f"A stream file must be writable; {shown(str(path))} is not: {error.strerror}. "
            "Give another path."
        ) from error


def _classes_of_tasks(stream: Stream) -> list[list[int]]:
    """The classes of each task, whose labels must be these classes or their places among them."""
    data = stream.data
    told = all(
        np.array_equal(data.y_train[each.row], each.y) for each in stream.experiences
    ) and all(np.array_equal(data.y_test[task.test.row], task.test.y) for task in stream.tasks)
    if not told or stream.pixels is not None:
        raise UserError(
            "A stream file lists rows of the dataset, whose labels are its classes; this stream "
            "has other labels or rearranges pixels. Save streams of classes, such as split in "
            "class-incremental form."
        )
    return [np.flatnonzero(units).tolist() for units in stream.units]


def stream_from_file(path: str | Path, data: Dataset, scenario: Scenario) -> Stream:
    """Read the stream of a file.

    Args:
        path: The file: a JSON object with `experiences`, and the rest of `StreamFile` if need be.
        data: The dataset whose rows it lists.
        scenario: In domain-incremental streams, every task numbers its classes from 0.

    Raises:
        UserError: The file is missing or is none of a stream, or does not fit the dataset.
    """
    content = _content(Path(path))
    if "test" in content and data.x_val is not None:
        raise UserError(
            "A stream file with the rows of test examples says nothing of validation examples, and "
            f"{data.name} has x_val. Leave out test in {Path(path).name}, or x_val and y_val."
        )
    rows = [np.array(each, np.int64) for each in content["experiences"]]
    _check_rows(rows, data.y_train, "experience", "training")
    groups = _groups(content, rows, data)
    task_of = np.full(data.classes, -1)
    for number, group in enumerate(groups):
        task_of[group] = number
    unit, units = units_of(groups, data.classes, scenario)
    experiences = tuple(
        Experience(each, unit[data.y_train[each]], task_of[data.y_train[each]]) for each in rows
    )
    tests = _tests(content, groups, data)
    tasks = tuple(Task(Examples(each, unit[data.y_test[each]])) for each in tests)
    ordered = content.get("ordered", False)
    stream = Stream(data, experiences, tasks, units, ordered=ordered)
    if "learned_after" not in content:
        return stream
    _check_learned_after(content["learned_after"], stream)
    return replace(stream, learned_after=tuple(content["learned_after"]))


def _check_learned_after(learned: Sequence[int], stream: Stream) -> None:
    """Raise `UserError` unless each task counts as learned after an experience of the file."""
    if len(learned) != len(stream.tasks) or max(learned) >= len(stream):
        raise UserError(
            f"learned_after has an experience for each of the {len(stream.tasks)} tasks, from 0 to "
            f"{len(stream) - 1}; it is {list(learned)}."
        )


def _content(path: Path) -> StreamFile:
    if not path.is_file():
        raise UserError(f"A stream file is a file; there is none at {shown(str(path))}.")
    try:
        return _ADAPTER.validate_json(path.read_bytes(), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise UserError(
            f"{path.name} is no stream file: {where}: {first['msg']}. A stream file is a JSON "
            'object such as {"experiences": [[0, 1, 2], [3, 4]]}, with rows of training examples.'
        ) from None


def _check_rows(
    parts: Sequence[Int64[np.ndarray, " _"]], y: Int64[np.ndarray, " row"], what: str, of: str
) -> None:
    """Raise `UserError` if a part is empty, or has rows out of range or twice."""
    if not parts:
        raise UserError("A stream has at least one experience; the file has none.")
    for number, rows in enumerate(parts, 1):
        if not len(rows):
            raise UserError(f"Every {what} has {of} examples; {what} {number} has none.")
        if rows.max() >= len(y):
            raise UserError(
                f"Rows of {of} examples are from 0 to {len(y) - 1}; {what} {number} has "
                f"{rows.max()}. Is the file one of another dataset?"
            )
        values, counts = np.unique(rows, return_counts=True)
        if counts.max() > 1:
            twice = values[counts.argmax()]
            raise UserError(
                f"A {of} example comes once in each {what}; {what} {number} has row {twice} "
                f"{counts.max()} times."
            )


def _groups(
    content: StreamFile, rows: Sequence[Int64[np.ndarray, " _"]], data: Dataset
) -> list[Int64[np.ndarray, " _"]]:
    """The classes of each task."""
    seen = [np.unique(data.y_train[each]) for each in rows]
    if "classes" not in content:
        groups = []
        known = np.zeros(0, np.int64)
        for classes in seen:
            groups.append(np.setdiff1d(classes, known))
            known = np.union1d(known, classes)
        return [group for group in groups if len(group)]
    groups = [np.array(each, np.int64) for each in content["classes"]]
    named = np.concatenate([*groups, np.zeros(0, np.int64)])
    if len(named) != len(np.unique(named)) or not all(map(len, groups)):
        raise UserError(
            f"Every task has classes, and a class has one task; classes is {content['classes']}."
        )
    trained = np.unique(np.concatenate(seen))
    if not np.array_equal(np.sort(named), trained):
        differing = np.setxor1d(named, trained).tolist()
        raise UserError(
            "classes names the classes of the training examples, each once; "
            f"{differing} are in one of them alone."
        )
    return groups


def _tests(
    content: StreamFile, groups: list[Int64[np.ndarray, " _"]], data: Dataset
) -> list[Int64[np.ndarray, " _"]]:
    """The rows of the test examples of each task."""
    if "test" not in content:
        return [np.flatnonzero(np.isin(data.y_test, group)) for group in groups]
    tests = [np.array(each, np.int64) for each in content["test"]]
    if len(tests) != len(groups):
        raise UserError(
            f"test has the rows of each of the {len(groups)} tasks; it has {len(tests)} lists."
        )
    _check_rows(tests, data.y_test, "task", "test")
    for number, (rows, group) in enumerate(zip(tests, groups, strict=True), 1):
        foreign = np.setdiff1d(data.y_test[rows], group)
        if len(foreign):
            raise UserError(
                f"The test examples of a task are of its classes; those of task {number} have "
                f"class {foreign[0]} too."
            )
        untested = np.setdiff1d(group, data.y_test[rows])
        if len(untested):
            raise UserError(
                f"Every class is tested; class {untested[0]} of task {number} has no test example."
            )
    return tests
