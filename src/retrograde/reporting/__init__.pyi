"""The public names of this package."""

from .cells import (
    done_of as done_of,
    score_cells as score_cells,
    notes_on_knowledge as notes_on_knowledge,
    format_score as format_score,
    outcomes_of as outcomes_of,
    format_percent as format_percent,
    row_title as row_title,
)
from .plotting import (
    Look as Look,
    by_benchmark as by_benchmark,
    grouped as grouped,
    legend_lines as legend_lines,
    lines as lines,
    looks as looks,
    lowest as lowest,
    panels as panels,
    plain_ticks as plain_ticks,
    wrapped as wrapped,
)
from .published import (
    POINTS as POINTS,
    SHARE as SHARE,
    Published as Published,
    matcher as matcher,
    fits as fits,
    is_loss as is_loss,
    published_numbers as published_numbers,
)
from .table import (
    NOTHING as NOTHING,
    Entry as Entry,
    Section as Section,
    Table as Table,
    outcomes as outcomes,
)
