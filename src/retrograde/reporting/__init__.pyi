"""The public names of this package."""

from .cells import (
    ScoreForm as ScoreForm,
    done_of as done_of,
    format_percent as format_percent,
    format_score as format_score,
    notes_on_knowledge as notes_on_knowledge,
    outcomes_of as outcomes_of,
    row_title as row_title,
    score_cells as score_cells,
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
    fits as fits,
    is_loss as is_loss,
    matcher as matcher,
    published_numbers as published_numbers,
)
from .table import (
    NOTHING as NOTHING,
    Entry as Entry,
    Section as Section,
    Table as Table,
    outcomes as outcomes,
)
