"""The contract of models."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from retrograde.contract.claims import (
    Broken,
    Declared,
    claim_of,
    global_state,
    is_frozen,
    pickles,
)
from retrograde.contract.toys import IMAGES, VECTOR
from retrograde.errors import UserError
from retrograde.networks.checks import check_module, check_rows_apart, untracked
from retrograde.networks.dropout import keyed
from retrograde.networks.head import HEAD
from retrograde.networks.model import Model
from retrograde.randomness import seeded

OUTPUTS = 5
"""The number of output units on which a model is tried."""
ROWS = 4
"""The number of examples on which a model is tried."""
SHAPES = (VECTOR, *IMAGES)
"""The shapes of examples on which a model is tried; one is enough."""


def built(part: Model, shape: tuple[int, ...], seed: int = 0, running: bool = True) -> nn.Module:
    """The module, with initial weights drawn from a seed."""
    with seeded(seed):
        return part.build(shape, OUTPUTS, running)


def shape_of(part: Model) -> tuple[int, ...]:
    """The first of the shapes that a model can take.

    Raises:
        UserError: It takes none of them; the error is that of the last one.
    """
    refusals = [(shape, _refusal(part, shape)) for shape in SHAPES]
    fitting = [shape for shape, refusal in refusals if refusal is None]
    if fitting:
        return fitting[0]
    shapes = ", ".join(map(str, SHAPES))
    raise UserError(f"It takes examples of none of the shapes {shapes}.") from refusals[-1][1]


def _refusal(part: Model, shape: tuple[int, ...]) -> Exception | None:
    """The error of a model that cannot take examples of a shape."""
    try:
        built(part, shape).eval()(torch.zeros(2, *shape))
    except Exception as error:
        return error
    return None


def examples(shape: tuple[int, ...]) -> Tensor:
    """A few random examples."""
    random = torch.Generator().manual_seed(0)
    return torch.randn(ROWS, *shape, generator=random)


def gives_outputs(part: Model, shape: tuple[int, ...]) -> None:
    """It gives a row of outputs for each example, the same when it is called again."""
    check_module(built(part, shape), examples(shape), OUTPUTS)


def keeps_rows_apart(part: Model, shape: tuple[int, ...]) -> None:
    """In evaluation mode, the outputs for an example do not depend on the others."""
    check_rows_apart(built(part, shape), examples(shape), type(part).__name__)


def follows_from_its_seed(part: Model, shape: tuple[int, ...]) -> None:
    """The same seed gives the same initial weights, and another one others."""
    one, again, other = (built(part, shape, seed).state_dict() for seed in (1, 1, 2))
    if any(not torch.equal(one[name], again[name]) for name in one):
        raise Broken("two modules of one seed differ; draw from torch's global generator")
    if all(torch.equal(one[name], other[name]) for name in one):
        raise Broken("modules of two seeds have equal weights; draw them at random")


def leaves_generators_alone(part: Model, shape: tuple[int, ...]) -> None:
    """A forward pass uses no global random generator."""
    module = built(part, shape).eval()
    before = global_state()
    module(examples(shape))
    if global_state() != before:
        raise Broken("a global generator moved in evaluation mode")


def has_one_gradient(part: Model, shape: tuple[int, ...]) -> None:
    """The gradients of several replicates at once are those of each alone."""
    modules = [untracked(keyed(built(part, shape, seed))) for seed in (0, 1)]
    stacked, buffers = stack_module_state(modules)
    params = {name: value.detach() for name, value in stacked.items()}
    x = examples(shape)

    def loss(params: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        outputs: Tensor = functional_call(modules[0], (params, buffers), (x,))
        return (outputs**2).mean()

    together = vmap(grad(loss))(params, buffers)
    for number in (0, 1):
        own = {name: value[number] for name, value in params.items()}
        alone = grad(loss)(own, {name: value[number] for name, value in buffers.items()})
        for name, value in alone.items():
            gap = float((together[name][number] - value).abs().max())
            if not gap <= 1e-4 * (1 + float(value.abs().max())):
                raise Broken(f"the gradient of {name} differs by {gap:.2g}")


def has_a_head(part: Model, shape: tuple[int, ...]) -> None:
    """Its last layer is called head, for strategies that treat it differently."""
    if not isinstance(getattr(built(part, shape), HEAD, None), nn.Module):
        raise Declared(f"it has no module named {HEAD}; strategies that need one refuse it")


CHECKS: tuple[Callable[..., None], ...] = (
    gives_outputs,
    keeps_rows_apart,
    follows_from_its_seed,
    leaves_generators_alone,
    has_one_gradient,
    has_a_head,
)


def checks() -> list[tuple[str, Callable[[Any], None]]]:
    """The claims that a model must satisfy, each with a check of the model."""
    own = [(claim_of(check), partial(_on_its_shape, check)) for check in CHECKS]
    return [*own, *((claim_of(check), check) for check in (is_frozen, pickles))]


def _on_its_shape(check: Callable[..., None], part: Model) -> None:
    check(part, shape_of(part))
