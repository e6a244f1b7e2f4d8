"""`llms.txt`: the pages of the site as a list for language models."""

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

SECTIONS = {
    "": "Guides",
    "tutorials": "Tutorials",
    "generated/api": "API reference",
    "generated/strategies": "Strategies",
    "generated/benchmarks": "Benchmarks",
    "generated/datasets": "Datasets",
    "generated/models": "Models",
    "generated/metrics": "Metrics",
    "generated/suites": "Suites and their results",
}
"""The headings, by the folder of the pages below."""
LONGEST = 200
"""Most characters of a summary."""


def write(app: Sphinx, exception: Exception | None) -> None:
    """Write the file next to the start page, with links to the sources of the pages."""
    if exception or app.builder.name != "html":
        return
    lines = [f"# {app.config.project}", "", f"> {_summary(app, 'index')}"]
    for folder, heading in SECTIONS.items():
        lines += ["", f"## {heading}", ""]
        lines += [_line(app, name) for name in _names(app, folder)]
    text = "\n".join(lines) + "\n"
    (Path(app.outdir) / "llms.txt").write_text(text, encoding="utf-8")


def _names(app: Sphinx, folder: str) -> list[str]:
    return [name for name in sorted(app.env.found_docs) if name.rpartition("/")[0] == folder]


def _line(app: Sphinx, name: str) -> str:
    title = app.env.titles[name].astext()
    # The source of an API page holds no text: it stands in the docstrings.
    written = Path(app.env.doc2path(name)).suffix == ".md"
    file = f"_sources/{name}.md.txt" if written else f"{name}.html"
    return f"- [{title}]({file}): {_summary(app, name)}"


def _summary(app: Sphinx, name: str) -> str:
    """The first paragraph of a page."""
    first = next(app.env.get_doctree(name).findall(nodes.paragraph), None)
    text = " ".join(first.astext().split()) if first else ""
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rsplit(' ', 1)[0]} ..."
