"""The settings of a part with their meaning, read from its source."""

import ast
import dataclasses
import inspect
import io
import tokenize
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from textwrap import dedent
from typing import Literal, NamedTuple, get_args, get_origin, get_type_hints

from retrograde.parts import fields
from retrograde.parts.part import OpenPart, Part
from retrograde.parts.spec import as_text

TERMS = {
    "batch_size": "incoming examples per step",
    "boundaries": "whether strategies know where experiences end",
    "channel_stds": "standard deviations of the channels, as many as channel_means",
    "dataset": "a name (retrograde list datasets) or a file",
    "epochs": "passes over the examples of each experience",
    "first_order": "leave out second derivatives",
    "fisher": "labels whose gradients give the Fisher information",
    "inner_lr": "learning rate of the inner steps",
    "inner_optimizer": "optimiser of the inner steps",
    "inner_steps": "inner steps of each task",
    "iterations": "outer steps of meta-training",
    "lr": "learning rate",
    "meta_batch_size": "tasks of each outer step",
    "meta_lr": "learning rate of the outer steps",
    "model": "a name with sizes (retrograde list models)",
    "optimizer": "optimiser of the training steps",
    "policy": "choice of the examples that memory keeps",
    "queries": "examples of each class in the query of a task",
    "scenario": "what is known at test: the task, or nothing (domain, class)",
    "shots": "examples of each class in the support of a task",
    "strength": "weight of the penalty",
    "tasks": "tasks of the stream",
    "temperature": "temperature of the softmax",
    "test_queries": "examples of each class in the query of a test task",
    "test_steps": "inner steps at test",
    "test_tasks": "tasks of each evaluation",
    "ways": "classes of each task",
}
"""The meanings of settings that many parts have, where the part says no more."""


class Setting(NamedTuple):
    """A setting of a part.

    Args:
        name: Its name.
        default: Its default, as the command line writes it; None if it must be given.
        values: The values that it may have, in words; empty if its type says no more.
        meaning: What it means; empty if its name says all.
    """

    name: str
    default: str | None
    values: str
    meaning: str


def settings_of(part: type[Part]) -> list[Setting]:
    """The settings of a part, its own ones first.

    Meanings are the comments at the fields of its class and of the classes that it derives from,
    or else those of `TERMS`.
    """
    written: dict[str, tuple[str, str]] = {}
    for cls in reversed(part.__mro__):
        if issubclass(cls, Part) and cls is not Part:
            written |= {name: (kind, comment) for name, kind, comment in _fields(cls)}
    own = [name for name, *_ in _fields(part)]
    hints = get_type_hints(part)
    given = [each for each in _dataclass_fields(part) if each.init]
    found = []
    for each in sorted(given, key=lambda each: each.name not in own):
        annotation, comment = written.get(each.name, ("", ""))
        values = _values(hints.get(each.name), annotation)
        meaning = comment or TERMS.get(each.name, "")
        found.append(Setting(each.name, _default(each), values, meaning))
    if issubclass(part, OpenPart):
        # Its arguments are settings as they are given, and `name` is written `class`.
        found = [each for each in found if each.name != "arguments"]
        found = [each._replace(name="class") if each.name == "name" else each for each in found]
    return found


def _dataclass_fields(part: type[Part]) -> tuple["dataclasses.Field[object]", ...]:
    # A learner need not be a dataclass, if it has no settings.
    return dataclasses.fields(part) if dataclasses.is_dataclass(part) else ()


def _default(field: "dataclasses.Field[object]") -> str | None:
    if field.default is not dataclasses.MISSING:
        return as_text(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return as_text(field.default_factory())
    return None


@cache
def _fields(cls: type) -> tuple[tuple[str, str, str], ...]:
    """The annotated names of a class: each with its annotation and the comments about it."""
    try:
        source = dedent(inspect.getsource(cls))
        (definition,) = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):  # there is no source to read
        return ()
    if not isinstance(definition, ast.ClassDef):
        return ()
    comments = _comments(source)
    lines = source.splitlines()
    return tuple(_described(definition, comments, lines))


def _described(
    definition: ast.ClassDef, comments: dict[int, str], lines: list[str]
) -> Iterator[tuple[str, str, str]]:
    for node in definition.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        before: list[str] = []
        line = node.lineno - 1
        while line in comments and lines[line - 1].lstrip().startswith("#"):
            before.insert(0, comments[line])
            line -= 1
        within = [
            comments[number]
            for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
            if number in comments
        ]
        annotation = ast.unparse(node.annotation)
        yield node.target.id, annotation, " ".join([*before, *within]).rstrip(".")


def _comments(source: str) -> dict[int, str]:
    """The comments of a source by line, without notes to linters."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("# ").rstrip()
        for token in tokens
        if token.type == tokenize.COMMENT and "noqa" not in token.string
    }


def _values(hint: object, annotation: str) -> str:
    """The values that a type allows, in words."""
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    return _aliases().get(annotation, "true | false" if hint is bool else "")


@cache
def _aliases() -> dict[str, str]:
    """The types of settings with the first sentence of their docstrings."""
    body = ast.parse(inspect.getsource(fields)).body
    found = {}
    for assigned, described in pairwise(body):
        if not isinstance(assigned, ast.Assign) or not isinstance(assigned.targets[0], ast.Name):
            continue
        if isinstance(described, ast.Expr) and isinstance(described.value, ast.Constant):
            text = str(described.value.value).partition("\n")[0].partition(":")[0].rstrip(".")
            found[assigned.targets[0].id] = text[:1].lower() + text[1:]
    return found
