"""Toy networks, examples and steps for tests of strategies, built-in ones and plugins.

A test of an update rule takes one step in double precision and compares it with a formula:

    net, params = toy_net()
    data = toy_step(toy_batch(), toy_batch(seed=1))
    after = strategy.step(net, start(strategy, net, params), data)

`Blobs` and `blobs` are a benchmark and a dataset of three small tasks, for whole runs.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from retrograde.contract.parts import verdicts
from retrograde.contract.strategies import trace
from retrograde.contract.toys import Blobs, blobs
from retrograde.interface.batch import Batch
from retrograde.interface.net import Net
from retrograde.interface.state import State
from retrograde.interface.strategy import StepData, Strategy
from retrograde.networks.build import build
from retrograde.networks.head import headless
from retrograde.optim import Optimizer, Params, plain

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
) -> tuple[Net, Params]:
    """A small network in double precision, and its parameters.

    Args:
        model: as in the setting `model`, or a module.
        shape: the shape of one example.
        outputs: the number of output units.
        seed: the seed of the initial weights.
        tasks: the number of tasks of the whole stream.
        units: 1 for the output units of each task, if the task is given at test; None: it is not.
        optimizer: makes the optimiser.
        key: the key of the random numbers of a step.
    """
    module = model if isinstance(model, nn.Module) else build(model, shape, outputs, seed)
    module = module.double()
    net = Net(
        module,
        optimizer(),
        units=None if units is None else torch.tensor(units).bool(),
        buffers=dict(module.named_buffers()),
        body=headless(module),
        shape=shape,
        outputs=outputs,
        tasks=tasks,
        key=torch.tensor(key),
    )
    return net, {name: value.detach().clone() for name, value in module.named_parameters()}


def toy_batch(
    rows: int = 4,
    shape: tuple[int, ...] = (6,),
    *,
    outputs: int = 4,
    y: Sequence[int] | None = None,
    task: int | Sequence[int] = 0,
    padding: int = 0,
    seed: int | torch.Generator = 0,
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
    """
    random = torch.Generator().manual_seed(seed) if isinstance(seed, int) else seed
    x = torch.randn(rows, *shape, generator=random, dtype=torch.float64)
    drawn = torch.randint(outputs, (rows,), generator=random)
    tasks = torch.full((rows,), task) if isinstance(task, int) else torch.tensor(task)
    weight = (torch.arange(rows) < rows - padding).double()
    return Batch(x, drawn if y is None else torch.tensor(y), tasks, weight)


def toy_step(
    incoming: Batch,
    replayed: Batch | None = None,
    *,
    share: float | None = None,
) -> StepData:
    """The data of one training step.

    Args:
        incoming: the incoming examples. Row i is stored in slot i of the memory.
        replayed: the replayed examples, from the slots that follow. None: no examples.
        share: the share of the incoming examples in the loss, for `weighting=tasks`; None: all
            examples have the same weight.
    """
    if replayed is None:
        replayed = incoming.at(slice(0))
    slots: Int64[Tensor, " row"] = torch.arange(len(incoming.x) + len(replayed.x))
    one = torch.ones(())
    data = StepData(
        incoming=incoming,
        replayed=replayed,
        combined=incoming.concat(replayed),
        incoming_slots=slots[: len(incoming.x)],
        replayed_slots=slots[len(incoming.x) :],
        incoming_weight=one if share is None else torch.tensor(share),
        replay_weight=one if share is None else torch.tensor(1 - share),
    )
    return data if share is None else data._replace(incoming_share=torch.tensor(share).double())


def start(strategy: Strategy, net: Net, params: Params) -> State:
    """The initial state of a strategy at given parameters."""
    return State(params, net.optimizer.init(params), strategy.init(net, params))


def followed(strategy: Strategy, net: Net, params: Params, data: StepData, lr: float) -> Params:
    """The gradient that a first step followed: the change of the parameters over -`lr`."""
    after = strategy.step(net, start(strategy, net, params), data).params
    return {name: (value - after[name]) / lr for name, value in params.items()}


def flat(params: Params) -> Float[Tensor, " number"]:
    """All parameters, or a gradient, as one vector."""
    return torch.cat([value.flatten() for value in params.values()])
