"""Avalanche's strategies: find one by name, build it around a model, observe its training."""

import importlib
import inspect
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from avalanche.benchmarks.utils.data_loader import MultiDatasetDataLoader
from avalanche.training import plugins, supervised
from avalanche.training.plugins import EvaluationPlugin, SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from avalanche.training.templates.base import BaseTemplate
from torch import Tensor, nn
from torch.utils.data import DataLoader

from retrograde import StreamInfo, UserError, nearest

from ._avalanche_models import WRAPPED, SplitModel, TaskAware

BRIDGED = {
    "model", "feature_extractor", "classifier", "slda_model", "num_classes", "n_classes",
    "optimizer", "criterion", "train_mb_size", "train_epochs", "eval_mb_size", "device",
    "plugins", "evaluator", "eval_every", "peval_mode",
}  # fmt: skip
"""Arguments that the bridge gives or leaves at their default; all others are settings."""
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "adam": torch.optim.Adam,
}
MODELS = {"model", "feature_extractor", "slda_model"}
"""Arguments through which a strategy takes the benchmark's model."""
REQUIRED = inspect.Parameter.empty
"""The default of a parameter that has none."""


def catalogue() -> dict[str, type]:
    """List the strategies of `avalanche.training`, and the plugins that make one.

    Returns:
        The classes by name; two classes of the same name are listed as `module.Class`.
    """
    for package in (supervised, plugins):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    homes = (f"{supervised.__name__}.", f"{plugins.__name__}.")
    derived = [*_derived(BaseTemplate), *_derived(SupervisedPlugin)]
    found = [strategy for strategy in derived if strategy.__module__.startswith(homes)]
    counts = Counter(strategy.__name__ for strategy in found)
    return {
        _listed_name(strategy, counts): strategy
        for strategy in dict.fromkeys(found)
        if not strategy.__name__.startswith("_")
    }


def _derived(base: Any) -> Iterator[Any]:
    for subclass in base.__subclasses__():
        yield subclass
        yield from _derived(subclass)


def _listed_name(strategy: type, counts: Mapping[str, int]) -> str:
    """The name of a class, with that of its module in front if several classes share the name."""
    name = strategy.__name__
    if counts[name] == 1:
        return name
    module = strategy.__module__.rpartition(".")[2]
    return f"{module}.{name}"


def build(
    name: str, arguments: Mapping[str, Any], lr: float, info: StreamInfo, model: nn.Module
) -> Any:
    """Build the strategy of a given name around a model.

    Args:
        name: a name of the catalogue.
        arguments: the settings, passed to the constructor.
        lr: the learning rate of the optimiser.
        info: the description of the stream.
        model: the model to train.

    Raises:
        UserError: the name is unknown, or the arguments or the model do not fit.
    """
    strategies = catalogue()
    if name not in strategies:
        raise UserError(f"Avalanche has no strategy {name!r}. {nearest(name, strategies)}")
    split = SplitModel(model)
    wrapped = _adapt_model(name, split, info)
    bridged = _bridge_arguments(split, wrapped, lr, info)
    strategy = strategies[name]
    given = _all_arguments(name, strategy, arguments, bridged)
    try:
        return _construct(strategy, given, bridged)
    except Exception as error:
        raise UserError(
            f"Avalanche's {name} cannot be built with {dict(arguments)} around this model: "
            f"{error!r}."
        ) from error


def _construct(strategy: Any, given: Mapping[str, Any], bridged: Mapping[str, Any]) -> Any:
    # A plugin does not train by itself: Avalanche's plain template runs it.
    if issubclass(strategy, SupervisedPlugin):
        plugin = strategy(**given)
        return SupervisedTemplate(plugins=[plugin], **_accepted(SupervisedTemplate, bridged))
    return strategy(**given)


def _adapt_model(name: str, split: SplitModel, info: StreamInfo) -> nn.Module:
    """The model in the form that a strategy needs; task-aware in the task-incremental scenario."""
    if name in WRAPPED:
        wrapped: nn.Module = WRAPPED[name](split)
        return wrapped
    if info.scenario == "task":
        return TaskAware(split, torch.from_numpy(info.units))
    return split


def _bridge_arguments(
    split: SplitModel, model: nn.Module, lr: float, info: StreamInfo
) -> dict[str, Any]:
    """The arguments that the bridge gives, under each name that Avalanche has for them."""
    outputs = info.units.shape[1]
    optimizer = OPTIMIZERS[info.optimizer]
    return {
        "model": model,
        "optimizer": optimizer(model.parameters(), lr=lr),
        "criterion": nn.CrossEntropyLoss(),
        "feature_extractor": split.feature_extractor,
        "classifier": split.classifier,
        "slda_model": split.feature_extractor,
        "num_classes": outputs,
        "n_classes": outputs,
        "train_mb_size": info.batch_size,
        "train_epochs": info.epochs,
        "eval_mb_size": 1000,
        "device": next(model.parameters()).device,
        "evaluator": EvaluationPlugin(),
    }


def _parameters(strategy: Any) -> dict[str, inspect.Parameter]:
    """The named parameters of a constructor."""
    signature = inspect.signature(strategy.__init__)
    return {
        name: parameter
        for name, parameter in signature.parameters.items()
        if name != "self" and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }


def _accepted(strategy: Any, bridged: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the bridge that a constructor takes."""
    parameters = _parameters(strategy)
    accepted = {name: value for name, value in bridged.items() if name in parameters}
    # A criterion that the constructor has a default for is part of the method.
    if "criterion" in parameters and parameters["criterion"].default is not REQUIRED:
        accepted.pop("criterion", None)
    return accepted


def _all_arguments(
    name: str, strategy: Any, arguments: Mapping[str, Any], bridged: Mapping[str, Any]
) -> dict[str, Any]:
    """All arguments of a constructor.

    Raises:
        UserError: the strategy takes no model, or an argument is unknown or missing.
    """
    parameters = _parameters(strategy)
    if not (issubclass(strategy, SupervisedPlugin) or MODELS & parameters.keys()):
        raise UserError(
            f"A strategy trains the benchmark's model; Avalanche's {name} makes one of its own. "
            "Choose another."
        )
    settings = [parameter for parameter in parameters if parameter not in BRIDGED]
    for argument in arguments:
        if argument not in settings:
            known = nearest(argument, settings)
            raise UserError(f"Avalanche's {name} takes no {argument!r}. {known}")
    required = [setting for setting in settings if parameters[setting].default is REQUIRED]
    missing = [setting for setting in required if setting not in arguments]
    if missing:
        raise UserError(
            f"Avalanche's {name} has no default for {', '.join(missing)}. Give a value for each."
        )
    return _accepted(strategy, bridged) | dict(arguments)


class TrainingObserver:
    """A plugin that sets the order of batches, counts steps and keeps test outputs.

    Attributes:
        epochs: for each epoch of the task, the rows of each mini-batch.
        train_examples: the number of training examples of the task.
        on_step: called after each training step with the number of examples; None: not called.
        outputs: the outputs of the current evaluation, batch by batch.
    """

    def __init__(self) -> None:
        self.epochs: list[list[list[int]]] = []
        self.train_examples = 0
        self.on_step: Callable[[int], None] | None = None
        self.outputs: list[Tensor] = []

    def before_training_epoch(self, strategy: Any, **_: Any) -> None:
        """Make the loader take this epoch's batches, if its first dataset is the incoming one."""
        batches = self.epochs[strategy.clock.train_exp_epochs]
        loader = strategy.dataloader
        several = isinstance(loader, MultiDatasetDataLoader)
        first: Any = loader.datasets[0] if several else loader.dataset
        # A strategy that trains on more or on other examples keeps its own order.
        if len(first) != self.train_examples:
            return
        if not several:
            strategy.dataloader = DataLoader(
                first, batch_sampler=batches, collate_fn=loader.collate_fn
            )
            return
        # Avalanche decides the order of each dataset in this private method, and nowhere else.
        plain = type(loader)._create_samplers  # noqa: SLF001
        vars(loader)["_create_samplers"] = lambda *given: [batches, *plain(*given)[1:]]

    def after_training_iteration(self, strategy: Any, **_: Any) -> None:
        """Report a step."""
        if self.on_step:
            self.on_step(len(strategy.mbatch[0]))

    def after_eval_iteration(self, strategy: Any, **_: Any) -> None:
        """Keep the outputs of the strategy."""
        self.outputs.append(strategy.mb_output.detach())


def observed(strategy: Any) -> TrainingObserver:
    """Add a `TrainingObserver` to the strategy's plugins and return it."""
    observer = TrainingObserver()
    # Avalanche's clock must stay the last plugin.
    strategy.plugins.insert(-1, observer)
    return observer
