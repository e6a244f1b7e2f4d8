"""The interface of a benchmark of streams."""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal, TypeVar

import numpy as np

from retrograde.augmentation import Augment, check_augmentation
from retrograde.data.channels import Channels
from retrograde.data.dataset import Dataset, bordered, warn_misread, warn_unscaled
from retrograde.data.sources import data_folder, load
from retrograde.errors import UserError, gigabytes, shown
from retrograde.learning_rate import Course, RateSchedule, Span
from retrograde.machine import physical_bytes
from retrograde.optim import Optimizer, OptimizerName, build_optimizer
from retrograde.parts.fields import (
    Bound,
    Count,
    Decay,
    Fraction,
    Limit,
    MaybeDecay,
    NonNegative,
    Numbers,
    Rates,
    Share,
)
from retrograde.parts.part import Part
from retrograde.randomness import generator, seeded, torch_seed
from retrograde.streams.labels import few_labels, noisy_labels
from retrograde.streams.selection import judged_by_validation, some_experiences
from retrograde.streams.stream import Examples, Experience, Scenario, Stream
from retrograde.streams.validation import given_validation, held_out

Some = TypeVar("Some", Examples, Experience)
"""Test examples of a task, or training examples of an experience."""

TASKS = 10_000
"""The largest number of tasks of a stream, since all of them are evaluated after each."""


@dataclass(frozen=True, kw_only=True)
class Benchmark(Part):
    """A stream, a model and a training budget; a benchmark's file defines `cut`."""

    kind: ClassVar[str] = "benchmarks"

    dataset: str = "digits"
    scenario: Scenario = "class"
    # Training examples per experience; 0: all.
    train_examples: Limit = 0
    # Test examples per task; 0: all.
    test_examples: Limit = 0
    epochs: Count = 1
    # Steps per experience, in as many epochs as they take; 0: as many as the epochs take.
    steps: Limit = 0
    batch_size: Count = 10
    # Updates on each mini-batch, one after the other.
    updates_per_batch: Count = 1
    # Weights of losses on incoming and replayed examples: per example, or 1 to t - 1 at task t.
    weighting: Literal["examples", "tasks"] = "examples"
    # Test examples per task for gradient probes; 0: none.
    probe_examples: Limit = 100
    # Steps of the benchmark's own pace between two probes; 0: only at the end of each task.
    probe_every: Limit = 0
    # Test examples on which hidden units are measured at the end of each experience; 0: none.
    plasticity_examples: Limit = 0
    # Steps between two evaluations during a task; 0: only at the end of each task.
    eval_every: Limit = 0
    # Test examples per task for these evaluations; 0: all.
    eval_examples: Limit = 0
    # Predict each mini-batch before the step that trains on it: the online accuracy.
    predict_first: bool = False
    # Steps between two means of the statistics that a strategy logs; 0: one for each experience.
    log_every: Limit = 0
    # Black pixels around every image.
    border: Limit = 0
    model: str = "mlp-100-100"
    # A network whose features take the place of the images, such as efficientnet_lite0.
    features: str = ""
    # The path of that network's weights; empty: those that it is built with.
    features_weights: str = ""
    # The path of the model's initial weights; empty: drawn from the seed.
    weights: str = ""
    optimizer: OptimizerName = "sgd"
    # The decay of the velocity of `momentum` and `nesterov`; None: 0.9.
    momentum: MaybeDecay = None
    # Added to the gradient, times the weights; with `adamw`, weights shrink apart from it.
    weight_decay: NonNegative = 0.0
    # Maximum of the gradient's norm, before weight decay; 0: no bound.
    clip: Bound = 0.0
    # The course of the factor on the strategy's learning rate.
    schedule: Course = "constant"
    # Of `schedule=step`: shares of the steps, below 1, or numbers of steps.
    milestones: Rates = ()
    # Of `schedule=step`: the factor at each milestone.
    decay: Decay = 0.1
    # Steps in which the learning rate rises linearly at first; 0: none.
    warm_up: Limit = 0
    # The steps over which the schedule runs: it begins anew with each experience, or does not.
    schedule_over: Span = "experience"
    # Random changes of training images, of incoming and replayed ones alike.
    augment: Augment = "none"
    # Images less the mean of each channel, over its standard deviation.
    normalise: Literal["none", "channels"] = "none"
    # The means and standard deviations of the channels; empty: of the whole training set.
    channel_means: Numbers = ()
    channel_stds: Rates = ()
    # The share of each class of a task's training examples that is held out for validation; 0:
    # none, unless the dataset has validation examples of its own.
    validation: Fraction = 0.0
    # What every score is of; validation: those held out, and the test examples are not used at all.
    evaluate_on: Literal["test", "validation"] = "test"
    # The stream ends after this experience; 0: it does not.
    first_experiences: Limit = 0
    # The stream begins after this experience.
    skip_experiences: Limit = 0
    # If unknown, strategies that need to know where experiences end are refused.
    boundaries: Literal["known", "unknown"] = "known"
    # The probability that the label of a training example is replaced by another one of its task.
    label_noise: Fraction = 0.0
    # The share of each class of an experience that has labels; the rest is left out.
    labelled: Share = 1.0

    def __post_init__(self) -> None:
        """Raise `UserError` if settings do not fit together."""
        super().__post_init__()
        self._check_ignored()
        self.rate_schedule.check()
        if self.momentum and self.optimizer not in ("momentum", "nesterov"):
            raise UserError(
                f"Momentum belongs to optimizer=momentum or nesterov; momentum={self.momentum:g} "
                f"was given with optimizer={self.optimizer}. Change the optimizer or leave it out."
            )
        if self.optimizer == "adamw" and not self.weight_decay:
            raise UserError(
                "AdamW is Adam with weight decay apart from the gradient; weight_decay=0 leaves "
                "Adam. Give such as weight_decay=0.01, or optimizer=adam."
            )
        by_experience = self.rate_schedule.changes and self.schedule_over == "experience"
        if self.boundaries == "unknown" and by_experience:
            course = f"schedule={self.schedule}"
            if self.schedule == "constant":
                course = f"warm_up={self.warm_up}"
            raise UserError(
                f"{course} over each experience shows where they end, and boundaries=unknown. "
                "Give schedule_over=stream."
            )
        if len(self.channel_means) != len(self.channel_stds):
            raise UserError(
                "Each channel has a mean and a standard deviation; channel_means and channel_stds "
                f"have {len(self.channel_means)} and {len(self.channel_stds)} numbers. "
                "Give as many of each."
            )

    def _check_ignored(self) -> None:
        """Raise `UserError` if a setting has no effect because of another one."""
        default = {field.name: field.default for field in fields(self)}
        without_steps = self.schedule != "step"
        without_channels = self.normalise == "none"
        ignored = [
            ("epochs", "steps", self.steps > 0),
            ("probe_every", "probe_examples", not self.probe_examples),
            ("eval_examples", "eval_every", not self.eval_every),
            ("milestones", "schedule", without_steps),
            ("decay", "schedule", without_steps),
            ("schedule_over", "schedule", not self.rate_schedule.changes),
            ("channel_means", "normalise", without_channels),
            ("channel_stds", "normalise", without_channels),
            ("features_weights", "features", not self.features),
        ]
        for name, decides, idle in ignored:
            value = getattr(self, name)
            if idle and value != default[name]:
                raise UserError(
                    f"Every setting must have an effect; with {decides}={getattr(self, decides)}, "
                    f"{name}={value} has none. Leave one of them out."
                )

    @property
    def rate_schedule(self) -> RateSchedule:
        """The schedule of the learning rate."""
        return RateSchedule(
            self.schedule,
            self.milestones,
            self.decay,
            self.warm_up,
            self.schedule_over,
        )

    def input_files(self) -> tuple[str, ...]:
        """The paths of files, beside the dataset and `weights`, that decide what is learned.

        Records have digests of them, so that a changed file is noticed.
        """
        return ()

    def build_optimizer(self) -> Optimizer:
        """The optimiser, with weight decay and clipping."""
        return build_optimizer(self.optimizer, self.momentum, self.weight_decay, self.clip)

    def generated(self) -> Dataset:
        """The dataset of a benchmark that generates its own, and has `dataset` empty."""
        raise UserError(
            f"The examples of {type(self).__name__} come from a dataset; dataset is empty. "
            "Give its name, such as dataset=digits, or define generated()."
        )

    @abstractmethod
    def cut(self, data: Dataset, seed: int) -> Stream:
        """Cut the dataset into a stream; every random choice comes from `generator(seed, axis)`."""

    def stream(
        self,
        data: Dataset | None = None,
        seed: int = 0,
    ) -> Stream:
        """The stream of one replicate, with no more examples per task than the settings allow.

        Args:
            data: The dataset to cut; None: the benchmark's `dataset`, from the data folder, or the
                one that it generates.
            seed: The seed of the replicate. Class order, examples and data order follow from it.

        Raises:
            UserError: The dataset is not available, or cannot be cut as the settings say.
        """
        check_given(data, seed, "stream")
        data = self._examples(data)
        self._check_tasks(data)
        self._check_validation(data)
        check_augmentation(self.augment, data.shape, data.name)
        channels = self._channels(data)
        stream = self._cut(data, seed)
        if stream.regression:
            self._check_values()
        else:
            _check_labels(stream)
        stream = given_validation(stream, data, lambda other: self._cut(other, seed))
        if self.first_experiences or self.skip_experiences:
            stream = some_experiences(stream, self.skip_experiences, self.first_experiences)
        if self.validation:
            turns = generator(seed, "validation").random(len(data.y_train))
            stream = held_out(stream, self.validation, turns, self.train_examples)
        if self.evaluate_on == "validation":
            stream = judged_by_validation(stream)
        stream = self._limited(stream, seed)
        if self.labelled < 1:
            stream = few_labels(stream, self.labelled, generator(seed, "labelled"))
        if self.label_noise:
            stream = noisy_labels(stream, self.label_noise, generator(seed, "label noise"))
        _check_learned(stream)
        return replace(stream, channels=channels)

    def _examples(self, data: Dataset | None) -> Dataset:
        """The dataset as the benchmark's settings change it."""
        if data is None:
            data = load(self.dataset, data_folder()) if self.dataset else self.generated()
        warn_misread(data)
        if self.normalise == "none" or self.features:
            warn_unscaled(data)
        if self.border:
            data = bordered(data, self.border)
        if self.features:
            from retrograde.networks.features import embedded  # it imports torch

            data = embedded(data, self.features, self.features_weights)
        return data

    def _cut(self, data: Dataset, seed: int) -> Stream:
        # Code that draws from a global generator gets other numbers for every seed, and the same
        # ones again.
        with seeded(torch_seed(seed, "cut")):
            return self.cut(data, seed)

    def _check_values(self) -> None:
        """Raise `UserError` if a setting needs classes, since values are to be predicted."""
        needed = {
            "label_noise": self.label_noise > 0,
            "labelled": self.labelled < 1,
            "validation": self.validation > 0,
            "predict_first": self.predict_first,
            "eval_every": self.eval_every > 0,
        }
        given = [name for name, is_given in needed.items() if is_given]
        if given:
            raise UserError(
                f"{', '.join(given)} of a stream are about classes and right answers; "
                f"{type(self).__name__} has values to predict. Leave the settings out."
            )
        if self.scenario != "domain":
            raise UserError(
                "Tasks of regression share their outputs, as in scenario=domain; "
                f"{type(self).__name__} has values to predict, and scenario={self.scenario}. "
                "Leave it out."
            )

    def _channels(self, data: Dataset) -> Channels | None:
        """The mean and standard deviation of each channel; None without normalisation."""
        if self.normalise == "none":
            return None
        if not self.channel_means:
            return data.channels
        if len(data.shape) != 3 or len(self.channel_means) != data.shape[0]:
            raise UserError(
                "Each channel of the images has a mean and a standard deviation; the examples of "
                f"{data.name} have shape {data.shape}, and channel_means has "
                f"{len(self.channel_means)}. Give as many as there are channels."
            )
        return Channels(np.array(self.channel_means), np.array(self.channel_stds))

    def _limited(self, stream: Stream, seed: int) -> Stream:
        """The stream with no more examples than the settings allow."""
        limit = self.train_examples
        if limit and self.validation:
            limit = max(1, round(limit * (1 - self.validation)))
            self._check_left(stream, limit)
        experiences = stream.experiences
        if limit:
            numbers = _first_alike(experiences)
            experiences = tuple(
                _sample(experience, limit, generator(seed, "train", number))
                for number, experience in zip(numbers, experiences, strict=True)
            )
        tasks = [
            task._replace(
                test=_sample(task.test, self.test_examples, generator(seed, "test", number))
            )
            for number, task in enumerate(stream.tasks)
        ]
        return replace(stream, experiences=experiences, tasks=tuple(tasks))

    def _check_left(self, stream: Stream, limit: int) -> None:
        """Raise `UserError` if validation surely leaves a class without training examples."""
        for number, experience in enumerate(stream.experiences, 1):
            classes = len(np.unique(experience.y))
            if limit < classes:
                raise UserError(
                    "A class needs an example to train on and one for validation; "
                    f"train_examples={self.train_examples} and validation={self.validation:g} "
                    f"leave {limit} for the {classes} classes of experience {number}. "
                    "Raise train_examples, or lower validation."
                )

    def _check_validation(self, data: Dataset) -> None:
        """Raise `UserError` if there are two sources of validation examples."""
        if self.validation and data.x_val is not None:
            raise UserError(
                "Validation examples are those of the dataset, or held out from its training "
                f"examples; {data.name} has {len(data.x_val)} x_val, and "
                f"validation={self.validation:g}. Leave out one of them."
            )

    def _check_tasks(self, data: Dataset) -> None:
        """Raise `UserError` if there are too many tasks, or their tables exceed physical memory."""
        tasks = int(getattr(self, "tasks", 1))
        # 8 bytes for each pixel of a task's table, with room for copies of it.
        table = 3 * 8 * math.prod(data.shape)
        if tasks > TASKS:
            raise UserError(f"A stream has at most {TASKS} tasks; tasks={tasks}. Lower it.")
        if tasks * table > physical_bytes():
            raise UserError(
                f"The pixel tables of all tasks are in memory, here {gigabytes(physical_bytes())}; "
                f"tasks={tasks} take about {gigabytes(tasks * table)}. "
                "Lower it, or take smaller examples."
            )


def check_given(data: object, seed: object, method: str) -> None:
    """Raise `UserError` unless `method` of a benchmark was given a dataset or None, and a seed."""
    if data is not None and not isinstance(data, Dataset):
        raise UserError(
            f"Examples come from an rg.Dataset; data was {shown(data)}. "
            f"Give a seed by its name: {method}(seed=0)."
        )
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise UserError(f"A seed is a whole number, at least 0; it was {shown(seed)}.")


def _check_labels(stream: Stream) -> None:
    """Raise `UserError` unless each label is an output unit and each task has test examples."""
    outputs = stream.units.shape[1]
    parts = {f"experience {number}": each.y for number, each in enumerate(stream.experiences, 1)}
    parts |= {
        f"the test of task {number}": each.test.y for number, each in enumerate(stream.tasks, 1)
    }
    for where, y in parts.items():
        if len(y) and y.max() >= outputs:
            raise UserError(
                f"Labels are output units, from 0 to {outputs - 1} in this stream of "
                f"{stream.data.name}; {where} has label {y.max()}. Give units a column for each."
            )
    untested = [number for number, task in enumerate(stream.tasks, 1) if not len(task.test.row)]
    if untested:
        raise UserError(
            f"Every task is tested; task {untested[0]} of {len(stream.tasks)} in this stream of "
            f"{stream.data.name} has no test examples. Add some, or leave the task out."
        )


def _check_learned(stream: Stream) -> None:
    """Raise `UserError` unless each task comes before it counts as learned."""
    outside = stream.learned >= len(stream)
    if len(stream.learned) != len(stream.tasks) or outside.any():
        raise UserError(
            f"learned_after has an experience, from 0 to {len(stream) - 1}, for each of the "
            f"{len(stream.tasks)} tasks; it is {stream.learned_after}."
        )
    first = np.where(stream.first < 0, len(stream), stream.first)
    late = np.flatnonzero((first > stream.learned) | (stream.learned < 0))
    if len(late):
        after = stream.learned[late[0]]
        when = "" if after < 0 else f" up to experience {after + 1}, after which it does"
        raise UserError(
            "A task counts as learned once training examples of it have come; task "
            f"{late[0] + 1} has none{when}. Give more training examples, or another stream."
        )


def _first_alike(experiences: Iterable[Experience]) -> list[int]:
    """For each experience, the number of the first one with the same examples.

    Experiences that repeat others thus repeat their samples.
    """
    first: dict[bytes, int] = {}
    numbers = []
    for number, experience in enumerate(experiences):
        content = hashlib.sha256(experience.row.tobytes() + experience.task.tobytes())
        numbers.append(first.setdefault(content.digest(), number))
    return numbers


def _sample(
    examples: Some,
    limit: int,
    random: np.random.Generator,
) -> Some:
    """At most `limit` of the examples, in their order; 0: all."""
    if not limit or limit >= len(examples.row):
        return examples
    return examples.at(np.sort(random.permutation(len(examples.row))[:limit]))
