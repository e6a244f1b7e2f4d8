"""Tables as Markdown, LaTeX and CSV."""

import re
from collections.abc import Callable
from functools import cache

import numpy as np

from retrograde.errors import on_one_line
from retrograde.reporting.table import Entry, Section, Table


def markdown(table: Table) -> str:
    """GitHub's Markdown, with columns aligned so that it reads as plain text too."""
    sections = [_markdown_section(section) for section in table.sections]
    parts = [
        f"# {_markdown_text(table.title)}",
        *map(_markdown_text, table.notes),
        *(sections or ["No records."]),
    ]
    return "\n\n".join(parts) + "\n"


def _markdown_section(section: Section) -> str:
    rows = _rows(section, _markdown_cell)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *body = ["| " + " | ".join(_padded(row, widths)) + " |" for row in rows]
    first, *others = widths
    # a colon aligns a column to the right: all but the first, which has names
    dashes = ["-" * (first + 2), *("-" * (width + 1) + ":" for width in others)]
    rule = "|" + "|".join(dashes) + "|"
    lines = "\n".join([head, rule, *body])
    return f"## {_markdown_text(section.heading)}\n\n{lines}"


def _rows(section: Section, cell: Callable[[Entry], str]) -> list[list[str]]:
    """The texts of a section, its columns' names first."""
    head = [cell(Entry(name)) for name in section.columns]
    body = [[cell(entry) for entry in row] for row in section.rows]
    return [head, *body]


def _markdown_cell(entry: Entry) -> str:
    text = _markdown_text(entry.text)
    return f"**{text}**" if entry.bold else text


_MARKUP = re.compile(r"[&\\|*`<\[\]_~]")


def _markdown_text(text: str) -> str:
    """Escape markup; an underscore inside a word is none."""
    text = on_one_line(text)
    if not _MARKUP.search(text):
        return text
    entities = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    return re.sub(r"([\\|*`<\[\]]|(?<!\w)_|_(?!\w)|~(?=~)|(?<=~)~)", r"\\\1", entities)


def _padded(row: list[str], widths: list[int]) -> list[str]:
    """The texts of a row as wide as their columns: the first to the left, others to the right."""
    columns = list(zip(row, widths, strict=True))
    padded = [text.rjust(width) for text, width in columns]
    name, width = columns[0]
    padded[0] = name.ljust(width)
    return padded


def latex(table: Table) -> str:
    """One `table` environment for each section; needs the package booktabs."""
    tables = [_latex_section(table, section) for section in table.sections]
    return "\n".join(tables) or f"% {_latex_text(table.title)}: no records\n"


def _latex_section(table: Table, section: Section) -> str:
    head, *body = [_latex_row(row) for row in _rows(section, _latex_cell)]
    # the first note says how to read the numbers
    caption = " ".join([f"{table.title}: {section.heading}.", *table.notes[:1]])
    alignment = "l" + "r" * (len(section.columns) - 1)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex_text(caption)}}}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _latex_cell(entry: Entry) -> str:
    text = _latex_text(entry.text)
    return rf"\textbf{{{text}}}" if entry.bold else text


def _latex_row(cells: list[str]) -> str:
    """One row of a table."""
    row = " & ".join(cells) + r" \\"
    # the \\ that ends the row before would take a bracket or a star for its argument
    return "{}" + row if row.startswith(("[", "*")) else row


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "|": r"\textbar{}",
    "<": r"$<$",
    ">": r"$>$",
    "µ": r"$\mu$",
    "†": r"\textdagger{}",
    "×": r"$\times$",
    "−": "$-$",
    "→": r"$\to$",
    "…": r"\dots{}",
}


def _latex_text(text: str) -> str:
    """Escape markup, and give characters that LaTeX's fonts lack by their code points."""
    return "".join(map(_latex_character, text))


def _latex_character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if character in "&%$#_{}":
        return rf"\{character}"
    # ASCII, and the letters of Latin-1 and Latin Extended-A
    if " " <= character <= "~" or "¡" <= character <= "ſ":
        return character
    return f"[U+{ord(character):04X}]"


def csv(table: Table) -> str:
    """The tidy numbers with all digits; no text is a formula to a spreadsheet."""
    # texts repeat from row to row
    inert = cache(_inert)
    tidy = table.tidy.rename(columns=inert)
    # object, unicode and byte columns may hold text
    texts = [place for place, kind in enumerate(tidy.dtypes) if kind.kind in "OUS"]
    for place in texts:
        values = tidy.iloc[:, place].tolist()
        safe = [inert(value) if isinstance(value, str) else value for value in values]
        tidy.isetitem(place, np.array(safe, object))
    return tidy.to_csv(index=False, lineterminator="\n")


_FORMULA = re.compile(r"[=+\-@＝＋－＠]")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def _inert(value: str) -> str:
    """A text on one line, with an apostrophe before it where a spreadsheet would compute it."""
    text = on_one_line(value)
    computed = _FORMULA.match(text) and not _NUMBER.fullmatch(text)
    return f"'{text}" if computed else text


FORMATS: dict[str, Callable[[Table], str]] = {"md": markdown, "csv": csv, "tex": latex}
