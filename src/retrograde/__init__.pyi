"""The public names of retrograde; `__init__.py` imports each when it is first asked for."""

from .data.dataset import (
    Dataset as Dataset,
)
from .data.sources import (
    load as load,
)
from .episodes.distribution import (
    Distribution as Distribution,
)
from .episodes.distribution import (
    Drawn as Drawn,
)
from .episodes.distribution import (
    Partition as Partition,
)
from .errors import (
    UserError as UserError,
)
from .errors import (
    nearest as nearest,
)
from .gradients import (
    dot as dot,
)
from .interface.batch import (
    Batch as Batch,
)
from .interface.benchmark import (
    Benchmark as Benchmark,
)
from .interface.episodic import (
    ClassEpisodes as ClassEpisodes,
)
from .interface.episodic import (
    Episodic as Episodic,
)
from .interface.learner import (
    Experience as Experience,
)
from .interface.learner import (
    Learner as Learner,
)
from .interface.learner import (
    Terms as Terms,
)
from .interface.metastrategy import (
    Episode as Episode,
)
from .interface.metastrategy import (
    MetaStrategy as MetaStrategy,
)
from .interface.net import (
    Net as Net,
)
from .interface.state import (
    State as State,
)
from .interface.strategy import (
    Ahead as Ahead,
)
from .interface.strategy import (
    Arrival as Arrival,
)
from .interface.strategy import (
    Finished as Finished,
)
from .interface.strategy import (
    Lesson as Lesson,
)
from .interface.strategy import (
    Strategy as Strategy,
)
from .interface.strategy import (
    Weighing as Weighing,
)
from .losses import (
    Losses as Losses,
)
from .losses import (
    cross_entropies as cross_entropies,
)
from .losses import (
    mean as mean,
)
from .losses import (
    squared_errors as squared_errors,
)
from .models.head import (
    HEAD as HEAD,
)
from .models.head import (
    of_head as of_head,
)
from .optim import (
    INNER as INNER,
)
from .optim import (
    Optimizer as Optimizer,
)
from .optim import (
    Params as Params,
)
from .optim import (
    Slots as Slots,
)
from .optim import (
    adam as adam,
)
from .optim import (
    added as added,
)
from .optim import (
    clipped as clipped,
)
from .optim import (
    sgd as sgd,
)
from .parts.fields import (
    Bound as Bound,
)
from .parts.fields import (
    Count as Count,
)
from .parts.fields import (
    Ints as Ints,
)
from .parts.fields import (
    Limit as Limit,
)
from .parts.fields import (
    NonNegative as NonNegative,
)
from .parts.fields import (
    Rate as Rate,
)
from .parts.fields import (
    Share as Share,
)
from .parts.fields import (
    Steps as Steps,
)
from .parts.part import (
    OpenPart as OpenPart,
)
from .parts.spec import (
    parse as parse,
)
from .randomness import (
    generator as generator,
)
from .records.cell import (
    Cell as Cell,
)
from .records.few_shot import (
    WATCHED as WATCHED,
)
from .records.few_shot import (
    Fit as Fit,
)
from .records.gradient_probe import (
    CEILING as CEILING,
)
from .records.online_accuracy import (
    Course as Course,
)
from .records.record import (
    Record as Record,
)
from .records.store import (
    Store as Store,
)
from .reporting.result import (
    Drawing as Drawing,
)
from .reporting.result import (
    Result as Result,
)
from .streams.cuts import (
    need_images as need_images,
)
from .streams.cuts import (
    of_classes as of_classes,
)
from .streams.cuts import (
    same_classes as same_classes,
)
from .streams.cuts import (
    split_classes as split_classes,
)
from .streams.memory import (
    POLICIES as POLICIES,
)
from .streams.memory import (
    ClassBalanced as ClassBalanced,
)
from .streams.memory import (
    Exemplars as Exemplars,
)
from .streams.memory import (
    Memory as Memory,
)
from .streams.memory import (
    Policy as Policy,
)
from .streams.memory import (
    Reservoir as Reservoir,
)
from .streams.memory import (
    Ring as Ring,
)
from .streams.memory import (
    TaskRing as TaskRing,
)
from .streams.schedule import (
    Schedule as Schedule,
)
from .streams.stream import (
    Examples as Examples,
)
from .streams.stream import (
    Preparation as Preparation,
)
from .streams.stream import (
    Scenario as Scenario,
)
from .streams.stream import (
    Stream as Stream,
)
from .streams.stream import (
    Task as Task,
)
