"""Avalanche's strategies from outside: found by name, built around a model of ours, watched while they train."""

import copy
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from avalanche.benchmarks.utils.data_loader import MultiDatasetDataLoader
from avalanche.models import MultiTaskModule, SCRModel
from avalanche.models.packnet import PackNetModel
from avalanche.training import plugins, supervised
from avalanche.training.plugins import EvaluationPlugin, SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from avalanche.training.templates.base import BaseTemplate
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.utils.data import DataLoader

from retrograde.errors import UserError, nearest
from retrograde.learner import Terms
from retrograde.net import HEAD

OURS = {
    "model", "optimizer", "criterion", "feature_extractor", "classifier", "slda_model", "num_classes", "n_classes",
    "train_mb_size", "train_epochs", "eval_mb_size", "device", "plugins", "evaluator", "eval_every", "peval_mode",
}  # fmt: skip
"""The arguments that the bridge gives, or leaves as they are; the others are settings."""
MASKED = -1e9
"""The output of another task's unit. Finite, since zero times infinity is no number in a distillation loss."""


def catalogue() -> dict[str, type]:
    """Every strategy of `avalanche.training`, and every plugin that makes one; two of one name are `module.Class`."""
    for package in (supervised, plugins):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    homes = (f"{supervised.__name__}.", f"{plugins.__name__}.")
    found = [c for base in (BaseTemplate, SupervisedPlugin) for c in _derived(base) if c.__module__.startswith(homes)]
    names = [c.__name__ for c in found]
    return {
        c.__name__ if names.count(c.__name__) == 1 else f"{c.__module__.rpartition('.')[2]}.{c.__name__}": c
        for c in dict.fromkeys(found)
        if not c.__name__.startswith("_")
    }


def _derived(base: type) -> Iterator[type]:
    for each in dict.fromkeys(base.__subclasses__()):
        yield each
        yield from _derived(each)


class Parted(nn.Module):
    """A model of ours under the names that Avalanche's strategies look for; the parameters are the model's own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        head = getattr(model, HEAD, None)
        self.feature_extractor, self.classifier = model, nn.Identity()
        if isinstance(head, nn.Module):
            body = copy.copy(model)
            body._modules = {**model._modules, HEAD: nn.Identity()}  # noqa: SLF001 - a module that shares all but its head
            self.feature_extractor, self.classifier = body, head

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """The outputs, whatever the task."""
        return torch.as_tensor(self.classifier(self.feature_extractor(x)))


class Told(MultiTaskModule):
    """A model that is told the task of each example and answers with that task's units."""

    def __init__(self, model: Parted, units: Tensor) -> None:
        super().__init__()
        self.feature_extractor, self.classifier = model.feature_extractor, model.classifier
        self.register_buffer("units", units)

    def forward(self, x: Tensor, task_labels: Tensor | int) -> Tensor:
        """The outputs, those of other tasks' units masked."""
        labels = torch.as_tensor(task_labels).expand(len(x))
        return self.classifier(self.feature_extractor(x)).masked_fill(~self.units[labels], MASKED)

    def forward_single_task(self, x: Tensor, task_label: int) -> Tensor:
        """The same for one task."""
        return self.forward(x, task_label)


WRAPPED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "PackNet": PackNetModel,
    "SCR": lambda model: SCRModel(model.feature_extractor, model.classifier),
}
"""What a strategy wants around a model."""


def build(name: str, arguments: Mapping[str, Any], lr: float, terms: Terms, model: nn.Module) -> Any:
    """The strategy of that name around a model; raises `UserError` where name, arguments or model do not suit."""
    found = catalogue()
    if name not in found:
        raise UserError(f"Avalanche has no strategy {name!r}. {nearest(name, found)}")
    parted = Parted(model)
    whole = Told(parted, torch.from_numpy(terms.units)) if terms.scenario == "task" else parted
    whole = WRAPPED.get(name, lambda same: same)(whole)
    ours = _ours(parted, whole, lr, terms)
    chosen = found[name]
    settled = _settled(name, chosen, arguments, ours)
    try:
        if issubclass(chosen, SupervisedPlugin):
            return SupervisedTemplate(plugins=[chosen(**settled)], **_taken(SupervisedTemplate, ours))
        return chosen(**settled)
    except Exception as error:
        raise UserError(f"Avalanche's {name} cannot be built with {dict(arguments)} around this model: {error!r}.") from error


def _ours(parted: Parted, model: nn.Module, lr: float, terms: Terms) -> dict[str, Any]:
    kind = torch.optim.Adam if terms.optimizer == "adam" else torch.optim.SGD
    outputs = terms.units.shape[1]
    return {
        "model": model,
        "optimizer": kind(model.parameters(), lr=lr, **({"momentum": 0.9} if terms.optimizer == "momentum" else {})),
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
    return {n: p for n, p in found.items() if n != "self" and p.kind is not inspect.Parameter.VAR_KEYWORD}


def _taken(chosen: Any, ours: Mapping[str, Any]) -> dict[str, Any]:
    """What of ours it takes; its own criterion, where it has one, is part of the method."""
    parameters = _parameters(chosen)
    own = "criterion" in parameters and parameters["criterion"].default is not inspect.Parameter.empty
    return {n: value for n, value in ours.items() if n in parameters and not (n == "criterion" and own)}


def _settled(name: str, chosen: Any, arguments: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of its constructor; raises `UserError` where one is unknown or lacks."""
    parameters = _parameters(chosen)
    known = [n for n in parameters if n not in OURS]
    for argument in arguments:
        if argument not in known:
            raise UserError(f"Avalanche's {name} takes no {argument!r}. {nearest(argument, known)}")
    lacking = [n for n in known if parameters[n].default is inspect.Parameter.empty and n not in arguments]
    if lacking:
        raise UserError(f"Avalanche's {name} needs {', '.join(lacking)}, which have no default. Give them.")
    return _taken(chosen, ours) | dict(arguments)


class Watch:
    """A plugin beside the strategy's own: it puts the arrivals into our order, counts steps and keeps test outputs."""

    def __init__(self) -> None:
        self.epochs: list[list[list[int]]] = []
        self.stepped: Callable[[int], None] | None = None
        self.outputs: list[Tensor] = []

    def before_training_epoch(self, strategy: Any, **_: Any) -> None:
        """Let the loader, where its first dataset is what arrives, take the batches of this epoch."""
        batches, loader = self.epochs[strategy.clock.train_exp_epochs], strategy.dataloader
        several = isinstance(loader, MultiDatasetDataLoader)
        first = loader.datasets[0] if several else loader.dataset
        if len(first) != len(strategy.experience.dataset):
            return  # it trains on more than the arrivals, or on other examples: in its own order
        if not several:
            strategy.dataloader = DataLoader(first, batch_sampler=batches, collate_fn=loader.collate_fn)
            return
        plain = type(loader)._create_samplers  # noqa: SLF001 - where each dataset's order is decided
        loader._create_samplers = lambda *given: [batches, *plain(*given)[1:]]  # noqa: SLF001

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
