"""The public names of this package."""

from .cells import (
    done_of as done_of,
)
from .cells import (
    entries as entries,
)
from .cells import (
    notes_on_knowledge as notes_on_knowledge,
)
from .cells import (
    number as number,
)
from .cells import (
    outcomes_of as outcomes_of,
)
from .cells import (
    percent as percent,
)
from .cells import (
    row_title as row_title,
)
from .plotting import (
    Look as Look,
)
from .plotting import (
    by_benchmark as by_benchmark,
)
from .plotting import (
    grouped as grouped,
)
from .plotting import (
    legend_lines as legend_lines,
)
from .plotting import (
    lines as lines,
)
from .plotting import (
    looks as looks,
)
from .plotting import (
    lowest as lowest,
)
from .plotting import (
    panels as panels,
)
from .plotting import (
    plain_ticks as plain_ticks,
)
from .plotting import (
    wrapped as wrapped,
)
from .published import (
    POINTS as POINTS,
)
from .published import (
    SHARE as SHARE,
)
from .published import (
    Published as Published,
)
from .published import (
    finder as finder,
)
from .published import (
    fits as fits,
)
from .published import (
    is_loss as is_loss,
)
from .published import (
    published_numbers as published_numbers,
)
from .table import (
    NOTHING as NOTHING,
)
from .table import (
    Entry as Entry,
)
from .table import (
    Section as Section,
)
from .table import (
    Table as Table,
)
from .table import (
    outcomes as outcomes,
)
