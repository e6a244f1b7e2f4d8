"""Avalanche's strategies from outside: found by name, built around a model of ours, watched while they train."""

import importlib
import inspect
import pkgutil
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

from retrograde import Terms, UserError, nearest

from ._avalanche_models import WRAPPED, Parted, Told

OURS = {
    "model", "optimizer", "criterion", "feature_extractor", "classifier", "slda_model", "num_classes", "n_classes",
    "train_mb_size", "train_epochs", "eval_mb_size", "device", "plugins", "evaluator", "eval_every", "peval_mode",
}  # fmt: skip
"""The arguments that the bridge gives, or leaves as they are; the others are settings."""
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD, "momentum": partial(torch.optim.SGD, momentum=0.9), "adam": torch.optim.Adam
}  # fmt: skip
MODELS = {"model", "feature_extractor", "slda_model"}


def catalogue() -> dict[str, type]:
    """Every strategy of `avalanche.training`, and every plugin that makes one; two of one name are `module.Class`."""
    for package in (supervised, plugins):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    homes = (f"{supervised.__name__}.", f"{plugins.__name__}.")
    found = [
        c
        for base in (BaseTemplate, SupervisedPlugin)
        for c in _derived(base)
        if c.__module__.startswith(homes)
    ]
    names = [c.__name__ for c in found]
    return {
        c.__name__
        if names.count(c.__name__) == 1
        else f"{c.__module__.rpartition('.')[2]}.{c.__name__}": c
        for c in dict.fromkeys(found)
        if not c.__name__.startswith("_")
    }


def _derived(base: Any) -> Iterator[Any]:
    for each in base.__subclasses__():
        yield each
        yield from _derived(each)


def build(
    name: str, arguments: Mapping[str, Any], lr: float, terms: Terms, model: nn.Module
) -> Any:
    """The strategy of that name around a model; raises `UserError` where name, arguments or model do not suit."""
    found = catalogue()
    if name not in found:
        raise UserError(f"Avalanche has no strategy {name!r}. {nearest(name, found)}")
    parted = Parted(model)
    whole = _whole(name, parted, terms)
    ours = _ours(parted, whole, lr, terms)
    chosen = found[name]
    settled = _settled(name, chosen, arguments, ours)
    try:
        if issubclass(chosen, SupervisedPlugin):
            return SupervisedTemplate(
                plugins=[chosen(**settled)], **_taken(SupervisedTemplate, ours)
            )
        return chosen(**settled)
    except Exception as error:
        raise UserError(
            f"Avalanche's {name} cannot be built with {dict(arguments)} around this model: {error!r}."
        ) from error


def _whole(name: str, parted: Parted, terms: Terms) -> nn.Module:
    if name in WRAPPED:
        wrapped: nn.Module = WRAPPED[name](parted)
        return wrapped
    return Told(parted, torch.from_numpy(terms.units)) if terms.scenario == "task" else parted


def _ours(parted: Parted, model: nn.Module, lr: float, terms: Terms) -> dict[str, Any]:
    outputs = terms.units.shape[1]
    return {
        "model": model,
        "optimizer": OPTIMIZERS[terms.optimizer](model.parameters(), lr=lr),
        "criterion": nn.CrossEntropyLoss(),
        "feature_extractor": parted.feature_extractor,
        "classifier": parted.classifier,
        "slda_model": parted.feature_extractor,
        "num_classes": outputs,
        "n_classes": outputs,
        "train_mb_size": terms.batch,
        "train_epochs": terms.epochs,
        "eval_mb_size": 1000,
        "device": next(model.parameters()).device,
        "evaluator": EvaluationPlugin(),
    }


def _parameters(chosen: Any) -> dict[str, inspect.Parameter]:
    found = inspect.signature(chosen.__init__).parameters
    return {
        n: p
        for n, p in found.items()
        if n != "self" and p.kind is not inspect.Parameter.VAR_KEYWORD
    }


def _taken(chosen: Any, ours: Mapping[str, Any]) -> dict[str, Any]:
    """What of ours it takes; its own criterion, where it has one, is part of the method."""
    parameters = _parameters(chosen)
    own = (
        "criterion" in parameters and parameters["criterion"].default is not inspect.Parameter.empty
    )
    return {
        n: value for n, value in ours.items() if n in parameters and not (n == "criterion" and own)
    }


def _settled(
    name: str, chosen: Any, arguments: Mapping[str, Any], ours: Mapping[str, Any]
) -> dict[str, Any]:
    """All arguments of its constructor; raises `UserError` where one is unknown or lacks."""
    parameters = _parameters(chosen)
    if not (issubclass(chosen, SupervisedPlugin) or MODELS & parameters.keys()):
        raise UserError(
            f"Avalanche's {name} makes a model of its own, where a strategy trains the benchmark's. Choose another."
        )
    known = [n for n in parameters if n not in OURS]
    for argument in arguments:
        if argument not in known:
            raise UserError(f"Avalanche's {name} takes no {argument!r}. {nearest(argument, known)}")
    lacking = [
        n for n in known if parameters[n].default is inspect.Parameter.empty and n not in arguments
    ]
    if lacking:
        raise UserError(
            f"Avalanche's {name} needs {', '.join(lacking)}, which have no default. Give them."
        )
    return _taken(chosen, ours) | dict(arguments)


class Watch:
    """A plugin beside the strategy's own: it puts the arrivals into our order, counts steps and keeps test outputs."""

    def __init__(self) -> None:
        self.epochs: list[list[list[int]]] = []
        self.arrivals = 0
        self.stepped: Callable[[int], None] | None = None
        self.outputs: list[Tensor] = []

    def before_training_epoch(self, strategy: Any, **_: Any) -> None:
        """Let the loader, where its first dataset is what arrives, take the batches of this epoch."""
        batches, loader = self.epochs[strategy.clock.train_exp_epochs], strategy.dataloader
        several = isinstance(loader, MultiDatasetDataLoader)
        first: Any = loader.datasets[0] if several else loader.dataset
        if len(first) != self.arrivals:
            return  # it trains on more than the arrivals, or on other examples: in its own order
        if not several:
            strategy.dataloader = DataLoader(
                first, batch_sampler=batches, collate_fn=loader.collate_fn
            )
            return
        plain = type(loader)._create_samplers  # noqa: SLF001 - where each dataset's order is decided
        vars(loader)["_create_samplers"] = lambda *given: [batches, *plain(*given)[1:]]

    def after_training_iteration(self, strategy: Any, **_: Any) -> None:
        """Tell of a step."""
        if self.stepped:
            self.stepped(len(strategy.mbatch[0]))

    def after_eval_iteration(self, strategy: Any, **_: Any) -> None:
        """Keep what the strategy answers."""
        self.outputs.append(strategy.mb_output.detach())


def watched(strategy: Any) -> Watch:
    """A watch among the strategy's plugins, after its own and before the clock, which must be the last."""
    watch = Watch()
    strategy.plugins.insert(-1, watch)
    return watch
