"""Tables as Markdown, LaTeX and CSV."""

import re
from collections.abc import Callable

from retrograde.result import Entry, Section, Table


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

    rows = [[cell(Entry(name)) for name in section.columns], *([cell(e) for e in row] for row in section.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(_padded(row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths)) + "|")
    return f"## {_markdown_text(section.heading)}\n\n" + "\n".join(lines)


_MARKUP = re.compile(r"[&\\|*`<\[\]_~]")


def _markdown_text(text: str) -> str:
    """Escape what Markdown would read as markup; an underscore inside a word is none."""
    if not _MARKUP.search(text):
        return text
    entities = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    return re.sub(r"([\\|*`<\[\]]|(?<!\w)_|_(?!\w)|~(?=~)|(?<=~)~)", r"\\\1", entities)


def _padded(row: list[str], widths: list[int]) -> list[str]:
    return [text.rjust(width) if i else text.ljust(width) for i, (text, width) in enumerate(zip(row, widths, strict=True))]


def latex(table: Table) -> str:
    """One `table` environment for each section; needs the package booktabs."""
    return "\n".join(_latex_section(table, section) for section in table.sections) or f"% {table.title}: no records\n"


def _latex_section(table: Table, section: Section) -> str:
    def cell(entry: Entry) -> str:
        text = _latex_text(entry.text)
        return rf"\textbf{{{text}}}" if entry.bold else text

    lines = [[cell(Entry(name)) for name in section.columns], *([cell(e) for e in row] for row in section.rows)]
    head, *body = (" & ".join(line) + r" \\" for line in lines)
    caption = _latex_text(" ".join([f"{table.title}: {section.heading}.", *table.notes[:1]]))
    return "\n".join([
        r"\begin{table}", r"\centering", rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(section.columns) - 1)}}}", r"\toprule", head, r"\midrule", *body,
        r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
    ])  # fmt: skip


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
    """The tidy numbers, with all digits."""
    return table.tidy.to_csv(index=False, lineterminator="\n")


FORMATS: dict[str, Callable[[Table], str]] = {"md": markdown, "csv": csv, "tex": latex}
