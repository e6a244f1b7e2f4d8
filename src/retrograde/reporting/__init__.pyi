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
from .curves import (
    DIFFERENCE as DIFFERENCE,
    PERCENT as PERCENT,
    ErrorBar as ErrorBar,
    curves as curves,
    error_bar as error_bar,
    lines as lines,
)
from .looks import (
    Look as Look,
    by_benchmark as by_benchmark,
    legend_lines as legend_lines,
    looks as looks,
    set_legend as set_legend,
)
from .plotting import (
    grouped as grouped,
    lowest as lowest,
    panels as panels,
    panels_per_row as panels_per_row,
    plain_ticks as plain_ticks,
    sheet as sheet,
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
