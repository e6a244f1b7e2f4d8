"""The literature's numbers, as `results/published.toml` has them, and which of our cells each is comparable with."""

import importlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from retrograde.record import Cell, Named
from retrograde.settings import as_text, parse
from retrograde.toml import tomllib


class Published(BaseModel):
    """Numbers of one method from one source; accuracies are in percent, as printed."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    source: str
    where: str  # the table or section, and what of the protocol the cells beside may not share
    checked: Literal["paper", "repository", "transcription", "memory"]  # what the numbers were read from
    benchmark: str  # the cells that it stands beside: a benchmark, and of its settings those that matter
    strategy: str  # likewise
    values: Annotated[dict[str, float], Field(min_length=1)]  # by metric, such as "accuracy@3": after three inner steps
    spread: dict[str, float] = {}  # likewise, as the source gives it

    @property
    def title(self) -> str:
        """What its row in a table is called."""
        return f"– published: {self.source}, {self.where}" + (", unverified" if self.checked == "memory" else "")

    def text(self, metric: str) -> str:
        """The number of a metric as a table has it; nothing where there is none."""
        spread = f" ± {self.spread[metric]:g}" if metric in self.spread else ""
        return f"{self.values[metric]:g}{spread}" if metric in self.values else ""

    def beside(self, cell: Cell) -> bool:
        """Whether these numbers stand beside a cell's."""
        return _fits(self.benchmark, cell.benchmark) and _fits(self.strategy, cell.strategy)


def _fits(spec: str, part: Named) -> bool:
    name, wanted = parse(spec)
    has = {key: as_text(value) for key, value in part.settings.items()}
    return name == part.name and all(has.get(key) == value for key, value in wanted.items())


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    published: list[Published]


@cache
def published() -> Sequence[Published]:
    """Everything in the file, in its order."""
    folders = importlib.import_module("retrograde.results").__path__
    (path,) = [path for folder in folders for path in Path(folder).glob("published.toml")]
    return tuple(_File.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).published)
