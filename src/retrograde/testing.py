"""Toy networks, examples and steps, for tests of strategies: ours and those of plugin authors.

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

from retrograde.contract.strategies import trace, verdicts
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
        shape: of one example.
        outputs: output units.
        seed: of the initial weights.
        tasks: of the whole stream.
        units: which output units belong to each task, if the task is given at test.
        optimizer: makes the optimiser; plain SGD by default.
        key: of random draws in a step.
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
        rows: number of examples, padding included.
        shape: of one example.
        outputs: number of output units from which the right ones are drawn.
        y: the right output unit of each example, if they are not drawn.
        task: the task of each example, or of all.
        padding: rows at the end that are padding.
        seed: a number, or a generator that goes on.
    """
    random = torch.Generator().manual_seed(seed) if isinstance(seed, int) else seed
    x = torch.randn(rows, *shape, generator=random, dtype=torch.float64)
    drawn = torch.randint(outputs, (rows,), generator=random)
    of_task = torch.full((rows,), task) if isinstance(task, int) else torch.tensor(task)
    weight = (torch.arange(rows) < rows - padding).double()
    return Batch(x, drawn if y is None else torch.tensor(y), of_task, weight)


def toy_step(
    incoming: Batch, replayed: Batch | None = None, *, share: float | None = None
) -> StepData:
    """The data of one training step.

    Args:
        incoming: examples of the stream. Row i goes to slot i of the memory.
        replayed: examples from memory, from the slots that follow. Default: none.
        share: the incoming examples' part of the loss, for `weighting=tasks`.
    """
    old = incoming.at(slice(0)) if replayed is None else replayed
    slots: Int64[Tensor, " row"] = torch.arange(len(incoming.x) + len(old.x))
    one = torch.ones(())
    data = StepData(
        incoming=incoming,
        replayed=old,
        combined=incoming.concat(old),
        incoming_slots=slots[: len(incoming.x)],
        replayed_slots=slots[len(incoming.x) :],
        incoming_weight=one if share is None else torch.tensor(share),
        replay_weight=one if share is None else torch.tensor(1 - share),
    )
    return data if share is None else data._replace(incoming_share=torch.tensor(share).double())


def start(strategy: Strategy, net: Net, params: Params) -> State:
    """The state in which a strategy begins at these parameters."""
    return State(params, net.optimizer.init(params), strategy.init(net, params))


def followed(strategy: Strategy, net: Net, params: Params, data: StepData, lr: float) -> Params:
    """The gradient that a step of plain SGD at rate `lr` followed, from the state at the start."""
    after = strategy.step(net, start(strategy, net, params), data).params
    return {name: (value - after[name]) / lr for name, value in params.items()}


def flat(params: Params) -> Float[Tensor, " number"]:
    """All parameters, or their gradients, as one vector."""
    return torch.cat([value.flatten() for value in params.values()])
