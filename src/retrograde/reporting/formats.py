"""Tables as Markdown, LaTeX and CSV."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from retrograde.errors import on_one_line
from retrograde.reporting.table import Entry, Section, Table

if TYPE_CHECKING:
    import pandas as pd


def markdown(table: Table) -> str:
    """GitHub's Markdown, with columns aligned so that it reads as plain text too."""
    sections = [_markdown_section(section) for section in table.sections]
    notes = filter(None, [table.caption, *table.notes])
    parts = [
        f"# {_markdown_text(table.title)}",
        *map(_markdown_text, notes),
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
    head = [cell(Entry(name)) for name in section.whole_columns]
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


def latex(table: Table, label: str = "", caption: str = "") -> str:
    """One `table` environment for each section, as wide as the text at most.

    Args:
        table: the table.
        label: the label of the first section; the others have a number after it. Empty: none.
        caption: the caption, to which the heading of each of several sections is added; empty: the
            title, the heading and the caption of the table.
    """
    several = range(1, len(table.sections) + 1)
    labels = [f"{label}-{n}" if label and n > 1 else label for n in several]
    pairs = zip(table.sections, labels, strict=True)
    tables = []
    for section, named in pairs:
        said = f"{table.title}: {section.heading}. {table.caption}"
        if caption:
            said = f"{caption} {section.heading}." if len(table.sections) > 1 else caption
        tables.append(_latex_section(table, section, named, said.strip()))
    if not tables:
        return f"% {_latex_text(table.title)}: no records\n"
    needs = "% Needs \\usepackage{booktabs} and \\usepackage{graphicx}.\n"
    return needs + "\n".join(tables)


_AS_WIDE_AS_THE_TEXT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Makes a table smaller if it is wider than the text, and only then."""


def _latex_section(table: Table, section: Section, label: str, caption: str) -> str:
    head = [_latex_cell(Entry(name)) for name in section.columns]
    body = [[_latex_cell(entry) for entry in row] for row in section.rows]
    alignment = "l" + "r" * (len(section.columns) - 1)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex_text(caption)}}}",
        *([rf"\label{{{label}}}"] if label else []),
        _AS_WIDE_AS_THE_TEXT,
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        *_latex_groups(section.groups),
        _latex_row(head),
        r"\midrule",
        *map(_latex_row, body),
        r"\bottomrule",
        r"\end{tabular}}",
        *_latex_footnote(table.notes[:1]),
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _latex_groups(groups: Sequence[tuple[str, int]]) -> list[str]:
    """The row of headings over groups of columns, and the rules below it."""
    if not groups:
        return []
    headings = [rf"\multicolumn{{{span}}}{{c}}{{{_latex_text(name)}}}" for name, span in groups]
    rules = []
    first = 2
    for _, span in groups:
        rules.append(rf"\cmidrule(lr){{{first}-{first + span - 1}}}")
        first += span
    return [" & ".join(["", *headings]) + r" \\", " ".join(rules)]


def _latex_footnote(notes: Sequence[str]) -> list[str]:
    """The note on reading the numbers, in small type under a table."""
    text = _latex_text(" ".join(notes))
    # a line too short for its words is stretched, and never too long
    start = r"\par\smallskip\parbox{\linewidth}{\footnotesize\raggedright"
    return [f"{start} {text}}}"] if text else []


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


_MINUS = re.compile(r"(?<![\w.)\]])-(?=[\d.])")
"""A hyphen that is the sign of a number; not one between two, nor one inside a word."""


def _latex_text(text: str) -> str:
    """Escape markup, and give characters that LaTeX's fonts lack by their code points."""
    return "".join(map(_latex_character, _MINUS.sub("−", text)))


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
    """The tidy numbers with all digits."""
    return csv_of(table.tidy)


def csv_of(frame: "pd.DataFrame") -> str:
    """A frame with all digits; no text is a formula to a spreadsheet."""
    # texts repeat from row to row
    inert = cache(_inert)
    tidy = frame.rename(columns=inert)
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
