"""Replicas: the replicates of one cell, whose states are stacked and learn side by side."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.func import stack_module_state, vmap
from torch.utils import _pytree as pytree

from retrograde.errors import UserError
from retrograde.interface.net import Net, Notes
from retrograde.interface.state import State
from retrograde.interface.strategy import Strategy
from retrograde.networks.build import build, is_users_own
from retrograde.networks.checks import check_module, check_rows_apart
from retrograde.networks.functional import BODY, MODEL, Networks
from retrograde.networks.head import has_features, headless
from retrograde.networks.hidden_state import check_drawn_from_seed, check_nothing_hidden
from retrograde.optim import Params
from retrograde.parts.author_code import hook
from retrograde.randomness import seeded, torch_seed
from retrograde.records.sidecars import APART
from retrograde.training.clocks import Clocks
from retrograde.training.compiled_step import (
    Compile,
    compile_or_reason,
    compile_step,
    step_constants,
)
from retrograde.training.traced_step import WORTHWHILE, NotTraced, trace
from retrograde.training.trees import each

TRIED = 8
"""Number of examples on which a model is tried before training."""

Tree = dict[str, Any]
"""Tensors by name, of any nesting."""


class StackedModels(NamedTuple):
    """The networks of every replicate.

    Attributes:
        networks: The modules that all of them share.
        params: The trainable parameters, stacked over replicates.
        buffers: The buffers that training changes, stacked over replicates.
        own: The other tensors that differ between replicates, stacked.
        shared: The other tensors that all replicates have in common, not stacked.
    """

    networks: Networks
    params: Params
    buffers: Params
    own: Params
    shared: Params


class Replicas(ABC):
    """Replicates of one cell with stacked states; `vmap` runs a hook for all of them at once.

    A function for one replicate takes what steps change (`carried`), other tensors of the replicate
    (`own`), and tensors that all replicates share (`shared`).

    Args:
        benchmark: The benchmark of the cell.
        strategy: The strategy of the cell.
        seeds: The seed of each replicate.
        device: The device to train on.
    """

    net: Net
    own: Tree
    shared: Tree
    carried: Any
    step_all: Callable[..., Any]
    """One step of all replicates, as a pure function of what it changes and other tensors."""

    def __init__(
        self, benchmark: Any, strategy: Any, seeds: list[int], device: torch.device
    ) -> None:
        self.benchmark = benchmark
        self.strategy = strategy
        self.seeds = seeds
        self.device = device
        self._graph: Callable[..., Any] | None = None
        self._trace: Callable[..., Any] | None = None
        # True in the copy whose step is traced for a compiler.
        self.to_compile = False
        # Rows that pass through the model in a step.
        self.tally: dict[str, int] = {}
        # Steps of the optimiser in a step of the strategy.
        self.updates = 0

    @property
    def compiled(self) -> bool:
        """True if the step is compiled."""
        return self._graph is not None

    @property
    def _step(self) -> Callable[..., Any]:
        return self._graph or self._trace or self.step_all

    @property
    def unmapped(self) -> bool:
        """True if a single replicate learns and predicts without `vmap`, which takes longer."""
        return len(self.seeds) == 1 and self.device.type == "cpu"

    def mapped(
        self, function: Callable[..., Any], in_dims: tuple[int | None, ...]
    ) -> Callable[..., Any]:
        """A function of one replicate as a function of all of them, which are stacked.

        Args:
            function: The function. It has run under `vmap` before, so that what `vmap` refuses is
                refused for any model and any number of replicates.
            in_dims: 0 for each input that is stacked, None for one that all replicates share.
        """
        # A compiled step loses nothing by `vmap`, and may index by numbers that depend on data.
        if self.unmapped and (self.net.networks.convolves or not self.to_compile):
            return partial(_alone, function, in_dims)
        return vmap(function, in_dims=in_dims)

    @abstractmethod
    def trial_inputs(self) -> tuple[Any, ...]:
        """Inputs of `step_all` besides `carried`, for a step that is not kept."""

    @abstractmethod
    def _try_step(self, inputs: tuple[Any, ...]) -> Notes:
        """Take one step without keeping it, and return what one replicate's net noted."""

    @abstractmethod
    def constants(self) -> tuple[object, ...]:
        """Constants of a compiled step other than settings and the form of the state."""

    @abstractmethod
    def expected_steps(self) -> int:
        """About the number of steps that the state will keep its form."""

    def try_step(self) -> tuple[Any, ...]:
        """Take one step without keeping it, count its passes, and return its inputs."""
        inputs = self.trial_inputs()
        notes = self._try_step(inputs)
        self.tally = {
            name: count
            for name, count in (("backward", notes.backward), ("forward", notes.forward))
            if count
        }
        self.updates = notes.updates
        return inputs

    def warm_up(self, mode: Compile) -> str | None:
        """Take one step without keeping it, count its passes, and compile unless that is off.

        A step that is not compiled is traced if that is worth its time.

        Returns:
            Why compiling failed; None if it did not.
        """
        inputs = self.try_step()
        self._graph = self._trace = None

        def compile_() -> None:
            self._graph = compile_step(self, inputs)

        reason = compile_or_reason(mode, compile_)
        if not self.compiled and self.expected_steps() >= WORTHWHILE:
            with suppress(NotTraced):
                whole = (self.carried, *inputs)
                key = step_constants(self)
                self._trace = trace(type(self).step_all, self.step_all, whole, key).listed
        return reason

    def net_of(self, state: State, own: Tree, shared: Tree) -> Net:
        """The net of one replicate, for one call of a hook."""
        return replace(
            self.net,
            buffers=state.buffers,
            fixed=own["fixed"] | shared["fixed"],
            notes=Notes(statistics=state.buffers),
        )

    @abstractmethod
    def _trial_steps(self) -> Iterator[Callable[[], object]]:
        """Steps that change no state, one after the other."""

    def seconds_a_step(self, clocks: Clocks) -> float:
        """Median seconds of a step; the timed steps change no state."""
        return clocks.each(self._trial_steps())

    @property
    @abstractmethod
    def state(self) -> State:
        """The state of every replicate, stacked."""

    def tensors(self, replicate: int) -> Params:
        """See `Backend.tensors`."""
        of_replicate = self.own["fixed"] | self.state.model
        modules = self.shared["fixed"] | {
            name: value[replicate] for name, value in of_replicate.items()
        }
        of_model = set(self.net.networks.names[MODEL].values())
        named = {
            name if name in of_model else f"strategy{APART}{name}": value
            for name, value in modules.items()
        }
        slots = {
            f"optimizer{APART}{slot}{APART}{name}": value[replicate]
            for slot, values in self.state.slots.items()
            for name, value in values.items()
        }
        return named | slots

    def bytes_per_replicate(self, tree: Any) -> int:
        """Bytes of all tensors in a structure with a leading axis for the replicates."""
        tensors = [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]
        return sum(leaf.numel() * leaf.element_size() for leaf in tensors) // len(self.seeds)


def _alone(function: Callable[..., Any], in_dims: tuple[int | None, ...], *inputs: Any) -> Any:
    """Call a function of one replicate with the only entry of each stacked input."""
    entries = [
        tree if axis is None else each(_only, tree)
        for tree, axis in zip(inputs, in_dims, strict=True)
    ]
    return each(_stacked_alone, function(*entries))


def _only(value: Tensor) -> Tensor:
    return value[0]


def _stacked_alone(value: Tensor) -> Tensor:
    return value[None]


def stacked(
    model: str,
    probe: Float[Tensor, "row *shape"],
    outputs: int,
    seeds: list[int],
    device: torch.device,
    strategy: Strategy | None = None,
    weights: str = "",
    rows_apart: bool = False,
) -> StackedModels:
    """Build the networks of every replicate.

    Args:
        model: The name of the model.
        probe: Examples on which the model is tried.
        outputs: Number of output units.
        seeds: The seeds of the replicates, from which the initial weights are drawn.
        device: The device of the parameters.
        strategy: The strategy, if it may have modules of its own.
        weights: The path of the model's initial weights; empty: they are drawn from the seed.
        rows_apart: True if batch normalisation keeps running statistics, and predictions have to be
            independent of the other examples of a batch.

    Raises:
        UserError: If the model cannot take the examples, or predictions depend on other examples.
    """
    shape = tuple(probe.shape[1:])

    def built(seed: int) -> nn.Module:
        drawn = torch_seed(seed, "weights")
        return build(model, shape, outputs, drawn, rows_apart, weights or None)

    models = [built(seed) for seed in seeds]
    changes = check_module(models[0], probe, outputs)
    if is_users_own(model):
        check_drawn_from_seed(model, models[0], built(seeds[0]), probe)
        check_nothing_hidden(model, models[0], lambda: built(seeds[0] + 1), probe)
    if rows_apart:
        check_rows_apart(models[0], probe, model)
    features = _feature_count(models[0], probe)
    others = [_own_modules(strategy, (shape, outputs, features), seed) for seed in seeds]
    params: Params = {}
    buffers: Params = {}
    fixed: Params = {}
    # The model's tensors have their own names, those of other modules a prefix.
    taken = {name.partition(".")[0] for name, _ in models[0].named_modules()}
    clash = taken & set(others[0])
    if clash:
        raise UserError(
            "Modules of the strategy's own have names that the model does not use; both have "
            f"{min(clash)!r}. Rename the strategy's."
        )
    groups = {"": [module.train().to(device) for module in models]}
    for name in others[0]:
        groups[f"{name}."] = [modules[name].train().to(device) for modules in others]
    for prefix, modules in groups.items():
        trained, kept = stack_module_state(modules)
        statistics = changes if not prefix else bool(kept)
        frozen = {name: trained.pop(name).detach() for name in _frozen(modules[0])}
        params |= {prefix + name: value.detach() for name, value in trained.items()}
        written, constant = (kept, {}) if statistics else ({}, kept)
        buffers |= {prefix + name: value for name, value in written.items()}
        fixed |= {prefix + name: value for name, value in (constant | frozen).items()}
    networks = Networks(models[0], others[0], bool(buffers), features is not None)
    alike = {name for name, value in fixed.items() if bool((value == value[:1]).all())}
    return StackedModels(
        networks,
        params,
        buffers,
        {name: value for name, value in fixed.items() if name not in alike},
        {name: fixed[name][0].clone() for name in alike},
    )


def _feature_count(model: nn.Module, probe: Float[Tensor, "row *shape"]) -> int | None:
    """The number of inputs of the model's head; None if no head gives its outputs."""
    body = headless(model) if has_features(model, probe) else None
    if body is None:
        return None
    with torch.no_grad():
        features: Tensor = body.eval()(probe)
    return features.shape[-1]


def _own_modules(
    strategy: Strategy | None,
    sizes: tuple[tuple[int, ...], int, int | None],
    seed: int,
) -> dict[str, nn.Module]:
    """The modules of the strategy's own for one replicate.

    Raises:
        UserError: If it gives anything else than modules by name.
    """
    if strategy is None:
        return {}
    # Modules draw their initial weights from the global generators, which are put back afterwards.
    with seeded(torch_seed(seed, "modules")):
        modules: object = strategy.modules(*sizes)
    rule = f"{hook(strategy, 'modules')} gives a dictionary of nn.Modules by name"
    if not isinstance(modules, dict):
        raise UserError(f"{rule}; it gave a {type(modules).__name__}.")
    for name, module in modules.items():
        if not isinstance(module, nn.Module):
            raise UserError(f"{rule}; it gave a {type(module).__name__} for {name!r}.")
        if not str(name).isidentifier() or name in (MODEL, BODY):
            raise UserError(
                f"{rule}; a name is an identifier other than {MODEL} and {BODY}, not {name!r}."
            )
    return modules


def _frozen(module: nn.Module) -> set[str]:
    """The names of the parameters that are not trained."""
    named = module.named_parameters()
    return {name for name, value in named if not value.requires_grad}


def finite(params: Params) -> Bool[Tensor, " replicate"]:
    """For each replicate, True if every number is finite.

    Args:
        params: Tensors with a leading axis for the replicates.
    """
    # A parameter may be a single number.
    by_tensor = [value.isfinite().reshape(len(value), -1).all(1) for value in params.values()]
    return torch.stack(by_tensor).all(0)


def spread(count: int) -> Int64[Tensor, " some"]:
    """Up to `TRIED` evenly spread numbers below `count`: examples on which a model is tried."""
    some = min(count, TRIED)
    return torch.linspace(0, count - 1, some).long()
