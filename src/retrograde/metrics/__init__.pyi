"""The public names of this package."""

from .alignment import (
    AHEAD as AHEAD,
)
from .alignment import (
    COSTS as COSTS,
)
from .alignment import (
    MATCHED as MATCHED,
)
from .alignment import (
    account_frame as account_frame,
)
from .alignment import (
    alignment_frame as alignment_frame,
)
from .alignment import (
    between_methods as between_methods,
)
from .alignment import (
    complete as complete,
)
from .alignment import (
    examples as examples,
)
from .alignment import (
    layer_frame as layer_frame,
)
from .alignment import (
    matched_frame as matched_frame,
)
from .alignment import (
    matched_level as matched_level,
)
from .alignment import (
    of_benchmarks as of_benchmarks,
)
from .alignment import (
    of_strategies as of_strategies,
)
from .alignment import (
    replicate_accounts as replicate_accounts,
)
from .alignment import (
    replicate_alignment as replicate_alignment,
)
from .alignment import (
    title_of as title_of,
)
from .alignment import (
    windows as windows,
)
from .alignment import (
    within_runs as within_runs,
)
from .conventions import (
    VERSIONS as VERSIONS,
)
from .conventions import (
    metrics as metrics,
)
from .factors import (
    PARTS as PARTS,
)
from .factors import (
    Factors as Factors,
)
from .factors import (
    comparisons as comparisons,
)
from .factors import (
    of_column as of_column,
)
from .frames import (
    ENDS as ENDS,
)
from .frames import (
    INNER as INNER,
)
from .frames import (
    REPLICATE as REPLICATE,
)
from .frames import (
    Key as Key,
)
from .frames import (
    Label as Label,
)
from .frames import (
    adaptation_frame as adaptation_frame,
)
from .frames import (
    by_strategy as by_strategy,
)
from .frames import (
    checks_frame as checks_frame,
)
from .frames import (
    competing as competing,
)
from .frames import (
    end_frame as end_frame,
)
from .frames import (
    inner_account_frame as inner_account_frame,
)
from .frames import (
    interval_frame as interval_frame,
)
from .frames import (
    labels as labels,
)
from .frames import (
    ordered as ordered,
)
from .frames import (
    score_frame as score_frame,
)
from .frames import (
    streams as streams,
)
from .intervals import (
    LEVEL as LEVEL,
)
from .intervals import (
    BySeed as BySeed,
)
from .intervals import (
    Interval as Interval,
)
from .intervals import (
    bootstrap_interval as bootstrap_interval,
)
from .intervals import (
    difference as difference,
)
from .intervals import (
    over_seeds as over_seeds,
)
from .intervals import (
    t_interval as t_interval,
)
from .intervals import (
    t_intervals as t_intervals,
)
from .matrix import (
    acc as acc,
)
from .metric import (
    Metric as Metric,
)
from .online import (
    METRICS as METRICS,
)
from .paired import (
    ALPHA as ALPHA,
)
from .paired import (
    BOLD as BOLD,
)
from .paired import (
    FEWEST as FEWEST,
)
from .paired import (
    Pairs as Pairs,
)
from .paired import (
    all_pairs as all_pairs,
)
from .paired import (
    by_seed as by_seed,
)
from .paired import (
    leaders as leaders,
)
from .paired import (
    least_p as least_p,
)
from .paired import (
    p_text as p_text,
)
from .paired import (
    sign_flip_p as sign_flip_p,
)
from .paired import (
    whole as whole,
)
from .ranking import (
    Contests as Contests,
)
from .ranking import (
    Ranking as Ranking,
)
from .ranking import (
    Tally as Tally,
)
from .ranking import (
    contests as contests,
)
from .ranking import (
    names as names,
)
from .ranking import (
    rank_strategies as rank_strategies,
)
from .ranking import (
    tallies as tallies,
)
from .ranking import (
    tied_groups as tied_groups,
)
from .repeated_measures import (
    Within as Within,
)
