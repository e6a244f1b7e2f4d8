"""The files of a report: tables, figures, the page, and a row for each replicate."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from retrograde.errors import UserError
from retrograde.parts.registry import Registry
from retrograde.reporting.faults import Faults, guarded
from retrograde.reporting.formats import FORMATS, csv_of, latex
from retrograde.reporting.replicates import replicate_frame
from retrograde.reporting.report import Report
from retrograde.reporting.request import FIGURES, PAGE, REPLICATES, Request


def write(
    folder: Path,
    asked: Request,
    made: Report,
    registry: Registry,
    faults: Faults | None = None,
) -> list[Path]:
    """Write `<name>.<format>` for every table and figure, `replicates.csv` and `report.html`.

    The same records give the same bytes.

    Args:
        folder: the folder to write to; it is created if needed.
        asked: the request.
        made: the report.
        registry: the registry that knows the result parts.
        faults: takes the errors of tables and figures that cannot be written in a format, which
            are left out. Without it, an error is raised.

    Returns:
        The paths of the files.

    Raises:
        UserError: the folder cannot be written.
    """
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in _contents(asked, made, registry, faults):
            path = folder / name
            path.write_bytes(content)
            paths.append(path)
    except OSError as error:
        raise UserError(
            f"Tables and figures are written to a folder; {folder} cannot be written: {error}."
        ) from error
    return paths


def _contents(
    asked: Request,
    made: Report,
    registry: Registry,
    faults: Faults | None,
) -> Iterator[tuple[str, bytes]]:
    """The names and contents of all files."""
    of_scores = (asked.label or f"tab:{made.scores}", asked.caption)
    for name, table in made.tables.items():
        for form in asked.formats:
            # stays None if the part's table cannot be written
            text = None
            if form in FORMATS:
                with guarded(name, registry.find("results", name), faults):
                    words = of_scores if name == made.scores else (f"tab:{name}", "")
                    text = latex(table, *words) if form == "tex" else FORMATS[form](table)
            if text is not None:
                yield f"{name}.{form}", text.encode()
    if asked.wants(REPLICATES) and "csv" in asked.formats and made.records:
        yield f"{REPLICATES}.csv", csv_of(replicate_frame(made.records, asked.convention)).encode()
    pictures: dict[str, dict[str, bytes]] = {}
    for name, form, content in _pictures(made, asked, registry, faults):
        pictures.setdefault(name, {})[form] = content
        # the page needs pictures in a format that may not be asked for
        if form in asked.formats:
            yield f"{name}.{form}", content
    # the page comes last, since it lists the faults
    if PAGE in asked.formats:
        yield f"report.{PAGE}", _page(made, pictures, registry, faults)


def _pictures(
    made: Report, asked: Request, registry: Registry, faults: Faults | None
) -> "Iterator[tuple[str, str, bytes]]":
    """The name, format and content of every figure; the page needs an SVG of each."""
    from retrograde.reporting.plotting import FORMATS as PICTURES

    needed = {*asked.formats, *(["svg"] if PAGE in asked.formats else [])}
    forms = [form for form in FIGURES if form in needed]
    for name in {**made.figures, **made.printed}:
        for form in forms:
            drawn = made.printed if form == "pdf" else made.figures
            # stays None if there is no such figure, or if it cannot be drawn
            content = None
            with guarded(name, registry.find("results", name), faults):
                content = PICTURES[form](drawn[name]) if name in drawn else None
            if content is not None:
                yield name, form, content


def _page(
    made: Report,
    pictures: Mapping[str, Mapping[str, bytes]],
    registry: Registry,
    faults: Faults | None,
) -> bytes:
    from retrograde.reporting.html import Picture, page

    shown = []
    for name, files in pictures.items():
        # one that could not be drawn is among the faults
        if "svg" not in files:
            continue
        summary = registry.find("results", name).summary()
        shown.append(Picture(summary, files["svg"]))
    return page(made, shown, registry, faults or {}).encode()
