"""Toy networks, examples and steps for tests of strategies, built-in ones and plugins.

A test of an update rule takes one step in double precision and compares it with a formula:

    net, params = toy_net()
    data = toy_step(toy_batch(), toy_batch(seed=1))
    after = strategy.step(net, start(strategy, net, params), data)

`Blobs` and `blobs` are a benchmark and a dataset of three small tasks, for whole runs.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from retrograde.contract.parts import verdicts
from retrograde.contract.strategies import trace
from retrograde.contract.toys import Blobs, blobs
from retrograde.interface.batch import Batch
from retrograde.interface.net import Net, Notes
from retrograde.interface.state import State
from retrograde.interface.strategy import StepData, Strategy
from retrograde.networks.build import build
from retrograde.networks.functional import Networks
from retrograde.optim import NO_TENSORS, Optimizer, Params, plain

__all__ = [
    "Blobs",
    "blobs",
    "flat",
    "followed",
    "start",
    "toy_batch",
    "toy_net",
    "toy_step",
    "trace",
    "verdicts",
]


def toy_net(
    model: str | nn.Module = "mlp-8",
    shape: tuple[int, ...] = (6,),
    outputs: int = 4,
    *,
    seed: int = 0,
    tasks: int = 1,
    units: Sequence[Sequence[int]] | None = None,
    optimizer: Callable[[], Optimizer] = plain,
    key: int = 0,
    modules: dict[str, nn.Module] | None = None,
) -> tuple[Net, Params]:
    """A small network in double precision, and its parameters.

    The net takes names of random draws twice, so that it serves for several steps. The running
    statistics after a step are in `net.notes.statistics`.

    Args:
        model: as in the setting `model`, or a module.
        shape: the shape of one example.
        outputs: the number of output units.
        seed: the seed of the initial weights.
        tasks: the number of tasks of the whole stream.
        units: 1 for the output units of each task, if the task is given at test; None: it is not.
        optimizer: makes the optimiser.
        key: the key of the random numbers of a step.
        modules: modules of the strategy's own, such as `part.modules(shape, outputs, features)`.
    """
    module = model if isinstance(model, nn.Module) else build(model, shape, outputs, seed)
    own = modules or {}
    # The model's tensors have their own names, those of other modules a prefix.
    named = {"": module.double()} | {f"{name}.": each.double() for name, each in own.items()}
    params: Params = {}
    buffers: Params = {}
    for prefix, each in named.items():
        trained = each.named_parameters()
        params |= {prefix + name: value.detach().clone() for name, value in trained}
        buffers |= {prefix + name: value.clone() for name, value in each.named_buffers()}
    net = Net(
        Networks(module, own, statistics=bool(buffers)),
        optimizer(),
        units=None if units is None else torch.tensor(units).bool(),
        buffers=buffers,
        shape=shape,
        outputs=outputs,
        tasks=tasks,
        key=torch.tensor(key),
        notes=Notes(statistics=buffers),
    )
    return net, params


def toy_batch(
    rows: int = 4,
    shape: tuple[int, ...] = (6,),
    *,
    outputs: int = 4,
    y: Sequence[int] | None = None,
    task: int | Sequence[int] = 0,
    padding: int = 0,
    seed: int | torch.Generator = 0,
    kept: Params = NO_TENSORS,
) -> Batch:
    """Random examples in double precision.

    Args:
        rows: the number of examples, padding included.
        shape: the shape of one example.
        outputs: the number of output units from which labels are drawn.
        y: the label of each example; None: drawn.
        task: the task of each example, or of all.
        padding: the number of rows at the end that are padding.
        seed: a seed, or a generator, which is advanced.
        kept: what the strategy kept with the examples, if they come from memory, by name.
    """
    random = torch.Generator().manual_seed(seed) if isinstance(seed, int) else seed
    x = torch.randn(rows, *shape, generator=random, dtype=torch.float64)
    drawn = torch.randint(outputs, (rows,), generator=random)
    tasks = torch.full((rows,), task) if isinstance(task, int) else torch.tensor(task)
    weight = (torch.arange(rows) < rows - padding).double()
    return Batch(x, drawn if y is None else torch.tensor(y), tasks, weight, kept)


def toy_step(
    incoming: Batch,
    replayed: Batch | None = None,
    *,
    share: float | None = None,
    rounds: int = 1,
) -> StepData:
    """The data of one training step.

    Args:
        incoming: the incoming examples.
        replayed: the replayed examples, with what was kept with them. None: no examples.
        share: the share of the incoming examples in the loss, for `weighting=tasks`; None: all
            examples have the same weight.
        rounds: the number of rounds that the memory draws.
    """
    if replayed is None:
        replayed = incoming.at(slice(0))
    one = torch.ones(())
    data = StepData(
        incoming=incoming,
        replayed=replayed,
        combined=incoming,
        incoming_weight=one if share is None else torch.tensor(share),
        replay_weight=one if share is None else torch.tensor(1 - share),
        incoming_share=None if share is None else torch.tensor(share).double(),
        rounds=rounds,
    )
    return data._replace(combined=data.combine(replayed))


def start(strategy: Strategy, net: Net, params: Params) -> State:
    """The initial state of a strategy at given parameters."""
    return strategy.start(net, params).replace(buffers=net.buffers)


def followed(strategy: Strategy, net: Net, params: Params, data: StepData, lr: float) -> Params:
    """The gradient that a first step followed: the change of the parameters over -`lr`."""
    after = strategy.step(net, start(strategy, net, params), data).params
    return {name: (value - after[name]) / lr for name, value in params.items()}


def flat(params: Params) -> Float[Tensor, " number"]:
    """All parameters, or a gradient, as one vector."""
    return torch.cat([value.flatten() for value in params.values()])
