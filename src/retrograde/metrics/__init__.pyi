"""The public names of this package."""

from .alignment import (
    CEILING as CEILING,
    COSTS as COSTS,
    MATCHED as MATCHED,
    NEXT_TASK_MEASURES as NEXT_TASK_MEASURES,
    account_frame as account_frame,
    alignment_frame as alignment_frame,
    between_methods as between_methods,
    complete as complete,
    conflict_rate as conflict_rate,
    cosines as cosines,
    examples as examples,
    layer_frame as layer_frame,
    matched_frame as matched_frame,
    matched_level as matched_level,
    mean_pairwise_cosine as mean_pairwise_cosine,
    next_task_cosine as next_task_cosine,
    of_benchmarks as of_benchmarks,
    of_strategies as of_strategies,
    replicate_accounts as replicate_accounts,
    replicate_alignment as replicate_alignment,
    title_of as title_of,
    windows as windows,
    within_runs as within_runs,
)
from .conventions import (
    VERSIONS as VERSIONS,
    all_metrics as all_metrics,
    applicable as applicable,
    metrics as metrics,
)
from .errors import (
    ERRORS as ERRORS,
)
from .factors import (
    PARTS as PARTS,
    Factors as Factors,
    comparisons as comparisons,
    of_column as of_column,
)
from .frames import (
    END_METRICS as END_METRICS,
    INNER as INNER,
    REPLICATE as REPLICATE,
    Key as Key,
    Label as Label,
    adaptation_frame as adaptation_frame,
    by_strategy as by_strategy,
    cell_labels as cell_labels,
    competing as competing,
    end_frame as end_frame,
    evaluations_frame as evaluations_frame,
    inner_account_frame as inner_account_frame,
    interval_frame as interval_frame,
    ordered as ordered,
    score_frame as score_frame,
    streams as streams,
)
from .intervals import (
    LEVEL as LEVEL,
    BySeed as BySeed,
    Interval as Interval,
    bootstrap_interval as bootstrap_interval,
    difference as difference,
    over_seeds as over_seeds,
    t_interval as t_interval,
    t_intervals as t_intervals,
)
from .matrix import (
    acc as acc,
    before_last as before_last,
    forgetting_by_task as forgetting_by_task,
)
from .metric import (
    Metric as Metric,
)
from .online import (
    METRICS as METRICS,
)
from .paired import (
    ALPHA as ALPHA,
    BOLD as BOLD,
    MIN_SEEDS as MIN_SEEDS,
    Pairs as Pairs,
    all_pairs as all_pairs,
    by_seed as by_seed,
    complete_runs as complete_runs,
    leading_group as leading_group,
    least_p as least_p,
    p_text as p_text,
    sign_flip_p as sign_flip_p,
)
from .pooled import (
    POOLED as POOLED,
    seen_accuracy as seen_accuracy,
)
from .ranking import (
    Competitions as Competitions,
    Ranking as Ranking,
    Tally as Tally,
    competitions as competitions,
    display_names as display_names,
    rank_strategies as rank_strategies,
    tallies as tallies,
    tied_groups as tied_groups,
)
from .repeated_measures import (
    Within as Within,
)
