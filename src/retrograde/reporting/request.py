"""The request of a report: which tables and figures, of which records, in which form."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from retrograde.errors import UserError, nearest, shown
from retrograde.metrics.conventions import metrics as metrics_of
from retrograde.metrics.errors import ERRORS
from retrograde.metrics.pooled import POOLED
from retrograde.parts.spec import words
from retrograde.reporting.formats import FORMATS

Spread = Literal["ci", "sd"]
FIGURES = ("svg", "png", "pdf")
"""The formats of figures; figures are drawn only if one of them, or the page, is requested."""
PAGE = "html"
"""The format of the single page that holds everything."""
REPLICATES = "replicates"
"""The name of the CSV file with a row for each replicate."""
COLUMN = 5.5
"""Width of a PDF in inches: the text of a page of one column, as in most conferences' styles."""
WIDTHS = (2.0, 20.0)
"""The least and the greatest width of a PDF."""
MAX_DECIMALS = 10
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._/+-]*")


@dataclass(frozen=True)
class Request:
    """Wishes for a report; the default is everything.

    Attributes:
        formats: the formats of its files, as `formats` gives them.
        convention: the definitions of forgetting and transfer (see `conventions.py`).
        only: names of the tables and figures to make; empty: all.
        metrics: the metrics of the table of scores, in order; empty: all.
        across: `benchmarks` for one table of scores with a group of columns for each benchmark.
        benchmarks: the benchmarks to keep, by pattern or by name; empty: all.
        strategies: the strategies to keep, in the order of rows; empty: all.
        decimals: decimal places of the table of scores.
        spread: the number after ±: half of the 95 % interval, or the standard deviation.
        label: the LaTeX label of the table of scores; empty: `tab:scores`.
        caption: the LaTeX caption of the table of scores, as plain text; empty: its title, its
            benchmark and the settings that all share.
        width: the width of PDF figures in inches.

    Raises:
        UserError: a wish cannot be met.
    """

    formats: Sequence[str] = ("csv",)
    convention: str = "own"
    only: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    across: str = ""
    benchmarks: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    decimals: int = 2
    spread: str = "ci"
    label: str = ""
    width: float = COLUMN
    caption: str = ""

    def __post_init__(self) -> None:
        known = metrics_of(self.convention) + POOLED + ERRORS
        _check_known("metric", self.metrics, [metric.name for metric in known])
        if self.across not in ("", "benchmarks"):
            raise UserError(f"across is benchmarks, or left out; it was {shown(self.across)}.")
        if self.spread not in get_args(Spread):
            raise UserError(
                "spread is ci (half of the 95 % interval) or sd (the standard deviation); "
                f"it was {shown(self.spread)}."
            )
        _check_number("decimals", self.decimals, 0, MAX_DECIMALS, whole=True)
        _check_number("width", self.width, *WIDTHS)
        self._check_label()
        if not isinstance(self.caption, str):
            raise UserError(f"caption is text; it was {shown(self.caption)}.")
        self._check_tex("caption", self.caption)

    def _check_label(self) -> None:
        if not self.label:
            return
        if not isinstance(self.label, str) or not _LABEL.fullmatch(self.label):
            raise UserError(
                "A label for LaTeX has letters, digits and :._/+- alone, such as tab:main; "
                f"it was {shown(self.label)}."
            )
        self._check_tex("label", self.label)

    def _check_tex(self, what: str, text: str) -> None:
        """Raise `UserError` for a text that is for LaTeX, if no LaTeX is made."""
        if text and "tex" not in self.formats:
            raise UserError(
                f"A {what} is for LaTeX; it was {shown(text)}, and tex is not among the "
                "formats. Add tex."
            )

    def check_names(self, results: Sequence[str]) -> None:
        """Raise `UserError` if `only` names neither a result nor the file of replicates."""
        _check_known("table or figure", self.only, [*results, REPLICATES])

    def wants(self, name: str) -> bool:
        """True if a table, a figure or the file of replicates is to be made."""
        return not self.only or name in self.only

    @property
    def on_screen(self) -> bool:
        """True if a format needs figures as wide as a page on a screen."""
        return not {"svg", "png", PAGE}.isdisjoint(self.formats)

    @property
    def in_print(self) -> bool:
        """True if a format needs figures as wide as a column of print."""
        return "pdf" in self.formats


def _check_known(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise UserError(f"There is no {what} {shown(name)}. {nearest(str(name), known)}")


def _check_number(
    name: str, value: object, least: float, most: float, *, whole: bool = False
) -> None:
    kinds = int if whole else (int, float)
    fits = isinstance(value, kinds) and not isinstance(value, bool)
    if not fits or not least <= value <= most:  # type: ignore[operator]
        kind = "a whole number" if whole else "a number of inches"
        raise UserError(f"{name} is {kind} from {least:g} to {most:g}; it was {shown(value)}.")


def formats(names: str) -> list[str]:
    """The formats in a text such as `md,csv,tex,svg,pdf,html`; CSV is always among them.

    Raises:
        UserError: there is no such format.
    """
    known = [*FORMATS, *FIGURES, PAGE]
    asked = words(names)
    for name in asked:
        if name not in known:
            raise UserError(f"There is no format {name!r}. {nearest(name, known)}")
    return [name for name in known if name in asked or name == "csv"]


def patterns(text: str) -> tuple[str, ...]:
    """The patterns of a list that is separated by commas, as in `er:lr=0.1,buffer_size=50,mine`."""
    # a comma before `key=` separates settings
    stripped = [word.strip() for word in re.split(r",(?!\s*[A-Za-z_]\w*\s*=)", text)]
    return tuple(word for word in stripped if word)
