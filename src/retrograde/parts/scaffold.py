"""Templates of a working part to start from."""

import keyword
from pathlib import Path

from retrograde.errors import UserError
from retrograde.parts.kinds import KINDS
from retrograde.parts.registry import Registry

TEMPLATES = Path(__file__).parent / "templates"
TEMPLATE_KINDS = ("strategy", "metastrategy", "model", "dataset")
"""The kinds of part with a template."""


def write_part(kind: str, name: str) -> Path:
    """Write `name`.py into the current folder.

    Args:
        kind: "strategy", "metastrategy", "model" or "dataset".
        name: name of the part, in snake_case.

    Raises:
        UserError: the kind or the name is not valid, the name is taken, or the file exists.
    """
    if kind not in TEMPLATE_KINDS:
        raise UserError(
            f"`retrograde new` writes a {', '.join(TEMPLATE_KINDS[:-1])} or {TEMPLATE_KINDS[-1]}; "
            f"it was asked for {kind!r}."
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
    title = "".join(word.capitalize() for word in name.split("_"))
    template = (TEMPLATES / f"{kind}.py.in").read_text(encoding="utf-8")
    path.write_text(template.format(name=name, title=title), encoding="utf-8")
    return path
