"""The public names of retrograde; `__init__.py` imports each when it is first asked for."""

from .api import (
    Records as Records,
    benchmark as benchmark,
    check as check,
    compare as compare,
    load as load,
    report as report,
    run as run,
    scores as scores,
    strategy as strategy,
    suite as suite,
    tune as tune,
)
from .data.dataset import (
    Dataset as Dataset,
)
from .data.sources import (
    DataSource as DataSource,
)
from .episodes.distribution import (
    Partition as Partition,
    TaskBatch as TaskBatch,
    TaskDistribution as TaskDistribution,
)
from .errors import (
    UserError as UserError,
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
    EpisodicBenchmark as EpisodicBenchmark,
)
from .interface.learner import (
    Learner as Learner,
    LearnerExperience as LearnerExperience,
    StreamInfo as StreamInfo,
)
from .interface.metastrategy import (
    Episode as Episode,
    MetaStrategy as MetaStrategy,
)
from .interface.net import (
    Net as Net,
)
from .interface.state import (
    State as State,
)
from .interface.strategy import (
    Boundaries as Boundaries,
    ExperienceEnd as ExperienceEnd,
    FutureFact as FutureFact,
    StepData as StepData,
    Strategy as Strategy,
    TaskWeighting as TaskWeighting,
)
from .losses import (
    Losses as Losses,
    cross_entropies as cross_entropies,
    mean as mean,
    squared_errors as squared_errors,
)
from .methods.class_statistics import (
    class_indicators as class_indicators,
    class_members as class_members,
    class_sums as class_sums,
    ridge_head as ridge_head,
)
from .methods.contrastive import (
    contrastive_loss as contrastive_loss,
)
from .methods.distillation import (
    class_weighted_loss as class_weighted_loss,
    distillation_loss as distillation_loss,
    logit_distance as logit_distance,
    seen_classes as seen_classes,
)
from .methods.fisher import (
    Fisher as Fisher,
    fisher_information as fisher_information,
)
from .methods.head import (
    head_after_steps as head_after_steps,
    head_layer as head_layer,
    reset_head as reset_head,
)
from .methods.herding import (
    class_means as class_means,
    herding_rounds as herding_rounds,
)
from .methods.importance import (
    anchored_penalty_gradient as anchored_penalty_gradient,
    no_penalty as no_penalty,
    penalty_gradient as penalty_gradient,
    zeros_like as zeros_like,
)
from .methods.layer_inputs import (
    layer_inputs as layer_inputs,
    layer_matrix as layer_matrix,
    layers_of_hidden_units as layers_of_hidden_units,
    of_layer_matrix as of_layer_matrix,
    perceptron_layers as perceptron_layers,
    weighted_layers as weighted_layers,
)
from .methods.per_example import (
    Directions as Directions,
    check_rows as check_rows,
    gradient_cosines as gradient_cosines,
    mean_powers as mean_powers,
)
from .methods.replay import (
    ExemplarReplay as ExemplarReplay,
    Replay as Replay,
)
from .methods.sampling import (
    shuffled_rows as shuffled_rows,
)
from .networks.build import (
    model as model,
)
from .networks.head import (
    HEAD as HEAD,
    headless as headless,
    of_head as of_head,
)
from .networks.model import (
    Model as Model,
    ModelName as ModelName,
)
from .networks.weights import (
    load_weights as load_weights,
)
from .optim import (
    INNER as INNER,
    Optimizer as Optimizer,
    Params as Params,
    Slots as Slots,
    adam as adam,
    added as added,
    clipped as clipped,
    sgd as sgd,
)
from .parts.fields import (
    Bound as Bound,
    Classes as Classes,
    Count as Count,
    Decay as Decay,
    Fraction as Fraction,
    Ints as Ints,
    Limit as Limit,
    NonNegative as NonNegative,
    Rate as Rate,
    Rates as Rates,
    Share as Share,
    Size as Size,
    Sizes as Sizes,
    Steps as Steps,
    Texts as Texts,
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
    CellSpec as CellSpec,
)
from .records.class_counts import (
    ClassCounts as ClassCounts,
)
from .records.experiences import (
    Experiences as Experiences,
)
from .records.few_shot import (
    PROBE_TASKS as PROBE_TASKS,
    Fit as Fit,
)
from .records.online_accuracy import (
    OnlineAccuracy as OnlineAccuracy,
)
from .records.plasticity import (
    Plasticity as Plasticity,
)
from .records.prequential import (
    Prequential as Prequential,
)
from .records.record import (
    Record as Record,
)
from .records.statistics import (
    Statistics as Statistics,
)
from .reporting.result import (
    FigureResult as FigureResult,
    TableResult as TableResult,
)
from .running.suite import (
    Suite as Suite,
)
from .streams.cuts import (
    need_images as need_images,
    of_classes as of_classes,
    regression_tasks as regression_tasks,
    same_classes as same_classes,
    split_classes as split_classes,
)
from .streams.memory import (
    POLICIES as POLICIES,
    ClassBalanced as ClassBalanced,
    Column as Column,
    ExemplarMemory as ExemplarMemory,
    Memory as Memory,
    Policy as Policy,
    Reservoir as Reservoir,
    Ring as Ring,
    TaskRing as TaskRing,
)
from .streams.schedule import (
    Schedule as Schedule,
)
from .streams.stream import (
    Examples as Examples,
    Experience as Experience,
    Pretraining as Pretraining,
    Scenario as Scenario,
    Stream as Stream,
    Task as Task,
)
from .streams.stream_file import (
    save_stream as save_stream,
    stream_from_file as stream_from_file,
)
