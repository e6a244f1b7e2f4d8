"""Replicas: one computation for all of them, and the rows that a net is given."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.func import stack_module_state

from retrograde.interface.batch import Batch
from retrograde.interface.net import Net
from retrograde.networks.build import build
from retrograde.networks.checks import check_module, check_rows_apart
from retrograde.optim import Params
from retrograde.randomness import torch_seed

TRIED = 8
"""Number of examples on which a model is tried before training."""


@dataclass(frozen=True)
class CountedNet(Net):
    """A net that counts the examples that pass forward and backward.

    Backward passes are those of the gradients that it gives; an outer backward pass is not counted.
    """

    tally: Counter[str] = field(default_factory=Counter)

    def logits(
        self,
        params: Params,
        x: Tensor,
        task: Tensor | None = None,
    ) -> Tensor:
        self.tally["forward"] += len(x)
        return super().logits(params, x, task)

    def grad(
        self,
        params: Params,
        batch: Batch,
        *,
        only: Callable[[str], bool] | None = None,
        constant: bool = False,
    ) -> Params:
        self.tally["backward"] += len(batch.x)
        return super().grad(params, batch, only=only, constant=constant)

    def grad_and_aux(
        self,
        loss: Callable[[Params], tuple[Tensor, Any]],
        params: Params,
    ) -> tuple[Params, Any]:
        before = self.tally["forward"]
        found = super().grad_and_aux(loss, params)
        self.tally["backward"] += self.tally["forward"] - before
        return found

    def grad_each(self, params: Params, batches: Batch) -> Params:
        # Under `vmap` one batch is counted, whatever their number.
        of_one = replace(self, tally=Counter())
        found = super(CountedNet, of_one).grad_each(params, batches)
        batch_count = len(batches.x)
        self.tally.update({name: rows * batch_count for name, rows in of_one.tally.items()})
        return found


def counted(net: Net) -> CountedNet:
    """The same net with counts."""
    values = {entry.name: getattr(net, entry.name) for entry in fields(net)}
    return CountedNet(**values)


class StackedModel(NamedTuple):
    """One model for each seed.

    Attributes:
        module: The module that all of them share, in training mode, as it was built.
        params: The trainable parameters, stacked over replicates.
        buffers: The buffers and the frozen parameters, stacked over replicates.
        refresh: True if training changes the buffers.
    """

    module: nn.Module
    params: Params
    buffers: Params
    refresh: bool


def replicated(
    model: str,
    probe: Float[Tensor, "row *shape"],
    outputs: int,
    seeds: list[int],
    device: torch.device,
    rows_apart: bool = False,
) -> StackedModel:
    """Build a model for each seed.

    Args:
        model: The name of the model.
        probe: Examples on which the model is tried.
        outputs: Number of output units.
        seeds: The seeds of the replicates, from which the initial weights are drawn.
        device: The device of the parameters.
        rows_apart: True if batch normalisation keeps running statistics, and predictions have to be
            independent of the other examples of a batch.

    Raises:
        UserError: If the model cannot take the examples, or predictions depend on other examples.
    """
    shape = tuple(probe.shape[1:])
    modules = []
    for seed in seeds:
        weights = torch_seed(seed, "weights")
        modules.append(build(model, shape, outputs, weights, running=rows_apart))
    refresh = check_module(modules[0], probe, outputs)
    if rows_apart:
        check_rows_apart(modules[0], probe, model)
    modules = [module.train().to(device) for module in modules]
    params, buffers = stack_module_state(modules)
    # Frozen parameters have no optimiser slots, and no gradient is taken for them.
    buffers |= {name: params.pop(name).detach() for name in _frozen(modules[0])}
    trainable = {name: value.detach() for name, value in params.items()}
    return StackedModel(modules[0], trainable, buffers, refresh)


def _frozen(module: nn.Module) -> set[str]:
    """The names of the parameters that are not trained."""
    named = module.named_parameters()
    return {name for name, value in named if not value.requires_grad}


def finite(params: Params) -> Bool[Tensor, " replicate"]:
    """For each replicate, True if every number is finite.

    Args:
        params: Tensors with a leading axis for the replicates.
    """
    by_tensor = [value.isfinite().flatten(1).all(1) for value in params.values()]
    return torch.stack(by_tensor).all(0)


def spread(count: int) -> Int64[Tensor, " some"]:
    """Up to `TRIED` evenly spread numbers below `count`: examples on which a model is tried."""
    some = min(count, TRIED)
    return torch.linspace(0, count - 1, some).long()
