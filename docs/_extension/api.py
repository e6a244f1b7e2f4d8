"""The reference of every public name."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sphinx.pycode import ModuleAnalyzer

import retrograde as rg

from .markdown import contents, page, table

STUB = Path(str(rg.__file__)).with_name("__init__.pyi")
FIELD = re.compile(r"\s*:[^:`]+:(?!`)")
CODE = re.compile(r"(``.+?``|`[^`]+`|:\w+:`[^`]+`)")


class Name(NamedTuple):
    """A public name, and the module that defines it."""

    name: str
    module: str

    @property
    def package(self) -> str:
        """The package, or the file of the engine's folder."""
        return self.module.split(".")[0]

    @property
    def value(self) -> Any:
        """The object."""
        return getattr(rg, self.name)

    @property
    def described(self) -> bool:
        """True if the object has a docstring of its own: a class or a function."""
        return inspect.isfunction(self.value) or (
            inspect.isclass(self.value) and self.value.__module__.startswith("retrograde")
        )

    @property
    def doc(self) -> str:
        """The docstring; that of a value stands below it in its module."""
        if self.described:
            return inspect.getdoc(self.value) or ""
        analyzer = ModuleAnalyzer.for_module(f"retrograde.{self.module}")
        lines = analyzer.find_attr_docs().get(("", self.name), [])
        return inspect.cleandoc("\n".join(lines))


def public_names() -> list[Name]:
    """Every public name, in the order of the stub."""
    tree = ast.parse(STUB.read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return [Name(str(each.asname), str(node.module)) for node in imports for each in node.names]


def pages() -> dict[str, str]:
    """The text of every page by its name: an index, and a page for each package."""
    grouped: dict[str, list[Name]] = {}
    for each in public_names():
        grouped.setdefault(each.package, []).append(each)
    texts = {f"api/{package}.rst": _page(package, names) for package, names in grouped.items()}
    return {"api/index.md": _index(grouped), **texts}


def _index(grouped: dict[str, list[Name]]) -> str:
    rows = [
        (
            f"{{py:obj}}`{each.name} <retrograde.{each.name}>`",
            _summary(each),
            f"[{package}](#api-{package})",
        )
        for package, names in grouped.items()
        for each in names
    ]
    return page(
        "all-api",
        "API reference",
        "`import retrograde as rg` gives these names, each as `rg.NAME`. It imports PyTorch and "
        "pandas only when a name needs them.",
        table(["name", "summary", "package"], rows),
        contents(grouped),
    )


def _summary(name: Name) -> str:
    first = name.doc.partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
    return first or "A value."


def _page(package: str, names: list[Name]) -> str:
    about = inspect.getdoc(importlib.import_module(f"retrograde.{package}")) or ""
    first = about.partition("\n\n")[0].replace("\n", " ")
    first = first.partition("; its public names")[0].rstrip(".")
    title = package.capitalize() if package != "api" else "Run, score and report"
    head = [f".. _api-{package}:", "", title, "=" * len(title), "", f"{first}.", ""]
    return "\n".join([*head, ".. py:currentmodule:: retrograde", "", *_entries(names)])


def _entries(names: list[Name]) -> Iterator[str]:
    for each in names:
        if inspect.isclass(each.value) and each.described:
            yield f".. autoclass:: retrograde.{each.name}\n   :members:\n   :show-inheritance:\n"
        elif each.described:
            yield f".. autofunction:: retrograde.{each.name}\n"
        else:
            doc = "\n".join(f"   {line}" for line in _restructured(each.doc.splitlines()))
            yield f".. py:data:: {each.name}\n\n{doc}\n"


def rename_returns(
    _app: object, _what: str, _name: str, _value: object, _options: object, lines: list[str]
) -> None:
    """Make returned values a section of text; napoleon reads words before a colon as a type."""
    lines[:] = ["Return value:" if line == "Returns:" else line for line in lines]


def as_restructured_text(
    _app: object, _what: str, _name: str, _value: object, _options: object, lines: list[str]
) -> None:
    """Make a docstring, whose only markup is code between backquotes, valid for Sphinx."""
    lines[:] = _restructured(lines)


def _restructured(lines: list[str]) -> list[str]:
    return [line if line.lstrip().startswith("..") else _escaped(line) for line in lines]


def _escaped(line: str) -> str:
    """A line whose stars, bars and trailing underscores are no markup, unless of a field's name."""
    field = FIELD.match(line)
    start = field.end() if field else 0
    pieces = CODE.split(line[start:])
    return line[:start] + "".join(
        piece if CODE.fullmatch(piece) else re.sub(r"(?<!\\)([*|]|(?<=\w)_(?!\w))", r"\\\1", piece)
        for piece in pieces
    )
