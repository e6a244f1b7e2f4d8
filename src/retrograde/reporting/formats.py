"""Tables as Markdown, LaTeX and CSV."""

import re
from collections.abc import Callable
from functools import cache

import numpy as np

from retrograde.errors import on_one_line
from retrograde.reporting.table import Entry, Section, Table


def markdown(table: Table) -> str:
    """GitHub's Markdown, with columns aligned so that it reads as plain text too."""
    parts = [
        f"# {_markdown_text(table.title)}",
        *map(_markdown_text, table.notes),
        *(_markdown_section(section) for section in table.sections),
    ]
    return "\n\n".join(parts if table.sections else [*parts, "No records."]) + "\n"


def _markdown_section(section: Section) -> str:
    def cell(entry: Entry) -> str:
        text = _markdown_text(entry.text)
        return f"**{text}**" if entry.bold else text

    rows = [
        [cell(Entry(name)) for name in section.columns],
        *([cell(e) for e in row] for row in section.rows),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(_padded(row, widths)) + " |" for row in rows]
    lines.insert(
        1, "|" + "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths)) + "|"
    )
    return f"## {_markdown_text(section.heading)}\n\n" + "\n".join(lines)


_MARKUP = re.compile(r"[&\\|*`<\[\]_~]")


def _markdown_text(text: str) -> str:
    """Escape what Markdown would read as markup; an underscore inside a word is none."""
    text = on_one_line(text)
    if not _MARKUP.search(text):
        return text
    entities = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    return re.sub(r"([\\|*`<\[\]]|(?<!\w)_|_(?!\w)|~(?=~)|(?<=~)~)", r"\\\1", entities)


def _padded(row: list[str], widths: list[int]) -> list[str]:
    return [
        text.rjust(width) if i else text.ljust(width)
        for i, (text, width) in enumerate(zip(row, widths, strict=True))
    ]


def latex(table: Table) -> str:
    """One `table` environment for each section; needs the package booktabs."""
    tables = [_latex_section(table, section) for section in table.sections]
    return "\n".join(tables) or f"% {_latex_text(table.title)}: no records\n"


def _latex_section(table: Table, section: Section) -> str:
    def cell(entry: Entry) -> str:
        text = _latex_text(entry.text)
        return rf"\textbf{{{text}}}" if entry.bold else text

    lines = [
        [cell(Entry(name)) for name in section.columns],
        *([cell(e) for e in row] for row in section.rows),
    ]
    head, *body = (_latex_row(line) for line in lines)
    caption = _latex_text(" ".join([f"{table.title}: {section.heading}.", *table.notes[:1]]))
    return "\n".join([
        r"\begin{table}", r"\centering", rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(section.columns) - 1)}}}", r"\toprule", head, r"\midrule", *body,
        r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
    ])  # fmt: skip


def _latex_row(cells: list[str]) -> str:
    """One row; the command that ends the row before would take a bracket or a star at its start for an argument."""
    row = " & ".join(cells) + r" \\"
    return "{}" + row if row.startswith(("[", "*")) else row


_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--",
    "|": r"\textbar{}", "<": r"$<$", ">": r"$>$", "µ": r"$\mu$", "†": r"\textdagger{}", "×": r"$\times$", "−": "$-$",
    "→": r"$\to$", "…": r"\dots{}",
}  # fmt: skip


def _latex_text(text: str) -> str:
    """Escape what LaTeX would read as markup; what its fonts do not have is named by its number."""

    def one(c: str) -> str:
        known = _LATEX.get(c, rf"\{c}" if c in "&%$#_{}" else c)
        return known if known != c or " " <= c <= "~" or "¡" <= c <= "ſ" else f"[U+{ord(c):04X}]"

    return "".join(map(one, text))


def csv(table: Table) -> str:
    """The tidy numbers, with all digits; a spreadsheet takes no text of it for a formula."""
    inert = cache(_inert)  # texts repeat from row to row
    tidy = table.tidy.rename(columns=inert)
    texts = [place for place, kind in enumerate(tidy.dtypes) if kind.kind in "OUS"]
    for place in texts:
        values = tidy.iloc[:, place].tolist()
        tidy.isetitem(
            place,
            np.array([inert(each) if isinstance(each, str) else each for each in values], object),
        )
    return tidy.to_csv(index=False, lineterminator="\n")


_FORMULA = re.compile(r"[=+\-@＝＋－＠]")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def _inert(value: str) -> str:
    """A text without line breaks, and with an apostrophe before it where a spreadsheet would compute it."""
    text = on_one_line(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


FORMATS: dict[str, Callable[[Table], str]] = {"md": markdown, "csv": csv, "tex": latex}
