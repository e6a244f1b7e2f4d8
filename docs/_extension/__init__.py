"""The Sphinx extension of this site: it writes the pages that follow from code and records."""

import re
from pathlib import Path

from sphinx.application import Sphinx

from . import accessible, api, index_for_models, metrics, parts, suites

FOLDER = "generated"
TABLE = re.compile(r"\]\(\.\./results/tables/(?:(\w+)/)?(\w+)\.md(?:#[\w-]*)?\)")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the steps of the build."""
    app.connect("builder-inited", write_pages)
    app.connect("source-read", link_tables)
    # Before and after napoleon, which reads the sections of docstrings.
    app.connect("autodoc-process-docstring", api.rename_returns, priority=400)
    app.connect("autodoc-process-docstring", api.as_restructured_text, priority=600)
    # After the theme, which makes the tree of the pages.
    app.connect("html-page-context", accessible.mend, priority=900)
    app.connect("build-finished", index_for_models.write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_pages(app: Sphinx) -> None:
    """Write every generated page, and remove those of parts that are gone."""
    folder = Path(app.srcdir) / FOLDER
    pages = {**parts.pages(), **metrics.pages(), **suites.pages(), **api.pages()}
    for old in folder.rglob("*.*"):
        if str(old.relative_to(folder)) not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # An untouched file is not built again.
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def link_tables(_app: Sphinx, _docname: str, source: list[str]) -> None:
    """Lead links to committed tables to the page that shows them."""

    def target(found: re.Match[str]) -> str:
        suite, table = found.groups()
        return f"](#suite-{suite}-{table})" if suite else f"](#table-{table})"

    source[0] = TABLE.sub(target, source[0])
