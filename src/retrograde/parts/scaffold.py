"""Templates of a working part to start from, and copies of parts that ship."""

import keyword
import re
import tokenize
from importlib.resources import files
from pathlib import Path
from token import NAME

from retrograde.errors import UserError, nearest, shown
from retrograde.parts.kinds import KINDS
from retrograde.parts.registry import Registry

TEMPLATES = Path(__file__).parent / "templates"
TEMPLATE_KINDS = {
    "strategy": "strategies",
    "learner": "strategies",
    "metastrategy": "strategies",
    "benchmark": "benchmarks",
    "model": "models",
    "dataset": "datasets",
    "result": "results",
}
"""The templates, each with the kind of part that it is."""


def write_part(kind: str, name: str) -> Path:
    """Write `name`.py into the current folder.

    Args:
        kind: the template, a key of `TEMPLATE_KINDS`.
        name: name of the part, in snake_case.

    Raises:
        UserError: the kind or the name is not valid, the name is taken, or the file exists.
    """
    path = _new_file(kind, name)
    template = (TEMPLATES / f"{kind}.py.in").read_text(encoding="utf-8")
    path.write_text(template.format(name=name, title=_title(name)), encoding="utf-8")
    return path


def copy_part(kind: str, name: str, original: str) -> Path:
    """Write a copy of a part that ships, with its class renamed, as `name`.py.

    Relative imports of its private siblings become imports from the suite.

    Args:
        kind: a key of `TEMPLATE_KINDS`.
        name: name of the copy, in snake_case.
        original: name of the part, such as er_ace.

    Raises:
        UserError: as `write_part` does, or no such part ships.
    """
    path = _new_file(kind, name)
    registry = Registry()
    folder = TEMPLATE_KINDS[kind]
    source = files(f"retrograde.{folder}") / f"{original}.py"
    if not source.is_file() or original not in registry.names(folder):
        raise UserError(
            f"--from copies one of the {folder} that ship; it was given {original!r}. "
            f"{nearest(original, registry.names(folder))}"
        )
    text = source.read_text(encoding="utf-8")
    cls = registry.find(folder, original).__name__
    path.write_text(_renamed(_absolute(text, folder), cls, _title(name)), encoding="utf-8")
    return path


def _new_file(kind: str, name: str) -> Path:
    """The file of a new part, if its kind and its name are possible."""
    if kind not in TEMPLATE_KINDS:
        raise UserError(
            f"`retrograde new` writes no {shown(kind)}. {nearest(kind, TEMPLATE_KINDS)}"
        )
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise UserError(
            f"A part's name is a Python name in lower case, such as my_replay; it was {name!r}."
        )
    # Names of any kind are refused, since a plugin file may not bear the name of a built-in part.
    registry = Registry()
    taken = [kind for kind in KINDS if name in registry.names(kind)]
    if taken:
        raise UserError(
            f"{name} is the name of one of the {taken[0]} already. Choose another name."
        )
    path = Path(f"{name}.py")
    if path.exists():
        raise UserError(f"{path} is there already. Choose another name or move it away.")
    return path


def _title(name: str) -> str:
    """The name of a class: `MyReplay` of `my_replay`."""
    return "".join(word.capitalize() for word in name.split("_"))


def _absolute(text: str, folder: str) -> str:
    """The text of a part with its relative imports written in full."""
    package = f"retrograde.{folder}"
    named = re.sub(r"^from \.(?=\w)", f"from {package}.", text, flags=re.MULTILINE)
    whole = re.sub(r"^from \. import", f"from {package} import", named, flags=re.MULTILINE)
    # Imports of the suite are one group now.
    return re.sub(rf"(\n(?:from retrograde.*|\)))\n\n(?=from {package})", r"\1\n", whole)


def _renamed(text: str, cls: str, title: str) -> str:
    """The text with another name of a class, but not in its strings and comments."""
    lines = text.splitlines(keepends=True)
    tokens = tokenize.generate_tokens(iter(lines).__next__)
    places = [token.start for token in tokens if token.type == NAME and token.string == cls]
    for line, column in reversed(places):
        before = lines[line - 1]
        lines[line - 1] = before[:column] + title + before[column + len(cls) :]
    return "".join(lines)
