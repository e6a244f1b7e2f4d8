"""Pieces of Markdown."""

import re
from collections.abc import Iterable, Sequence

CODE = re.compile(r"(`+[^`]*`+)")


def code(text: object) -> str:
    """A text as code; nothing stays nothing."""
    return f"`{text}`" if str(text) else ""


def escaped(text: str) -> str:
    """A text without markup other than code between backquotes."""
    pieces = CODE.split(text)
    return "".join(
        piece if CODE.fullmatch(piece) else re.sub(r"([*_<>\[\]|])", r"\\\1", piece)
        for piece in pieces
    )


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; empty without rows. A heading that ends in `:` is of numbers, on the right."""
    lines = [[str(cell).replace("\n", " ") for cell in row] for row in rows]
    if not lines:
        return ""
    names = [heading.removesuffix(":") for heading in headings]
    rules = ["--:" if heading.endswith(":") else "---" for heading in headings]
    written = ["| " + " | ".join(line) + " |" for line in (names, rules, *lines)]
    return "\n".join(written) + "\n"


def section(title: str, *content: str) -> str:
    """A section; empty without content."""
    text = "\n\n".join(part.strip() for part in content if part.strip())
    return f"## {title}\n\n{text}\n" if text else ""


def page(label: str, title: str, *content: str) -> str:
    """A page with a label that other pages link to."""
    text = "\n\n".join(part.strip("\n") for part in content if part.strip())
    return f"({label})=\n\n# {title}\n\n{text}\n"


def contents(names: Iterable[str], *, hidden: bool = True) -> str:
    """The list of the pages below a page."""
    option = ":hidden:\n" if hidden else ""
    return f":::{{toctree}}\n{option}\n" + "\n".join(names) + "\n:::\n"


def folded(title: str, text: str) -> str:
    """Python code that is shown on a click."""
    return f"::::{{dropdown}} {title}\n```python\n{text.strip()}\n```\n::::\n"


def docstring(text: str) -> str:
    """A docstring as Markdown: its indented lists of arguments become lists."""
    lines = []
    for line in text.splitlines():
        entry = re.match(r"    ([\w*]+): (.*)", line)
        heading = re.fullmatch(r"(Args|Returns|Raises|Attributes):", line)
        if heading:
            lines += [f"**{heading[1]}**", ""]
        elif entry:
            lines.append(f"- `{entry[1]}`: {escaped(entry[2])}")
        else:
            lines.append(("  " if line.startswith("    ") else "") + escaped(line.strip()))
    return "\n".join(lines)
