"""Optimisers as pairs of pure functions, and arithmetic on gradients."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Params = dict[str, Tensor]
Slots = dict[str, Params]

NO_TENSORS: Params = {}
"""The default of fields that are seldom filled; nothing writes to it."""


class Optimizer(NamedTuple):
    """A pair of pure functions: `init` makes the slots, `update` takes one step.

    Their signatures are `init(params) -> slots` and
    `update(params, gradient, slots, lr) -> (params, slots)`. Slots are the optimiser's state, such
    as a velocity, as one dictionary of tensors per slot.
    """

    init: Callable[[Params], Slots]
    update: Callable[[Params, Params, Slots, float], tuple[Params, Slots]]


def sgd(
    params: Params,
    gradient: Params,
    lr: float | Tensor,
) -> Params:
    """One step of gradient descent, params - lr * gradient."""
    return {name: value - lr * gradient[name] for name, value in params.items()}


def added(gradient: Params, other: Params) -> Params:
    """The sum of two gradients."""
    return {name: value + other[name] for name, value in gradient.items()}


def clipped(gradient: Params, bound: float) -> Params:
    """The gradient, shortened to a norm of at most `bound`.

    Args:
        gradient: one tensor per parameter.
        bound: maximum of the Euclidean norm over all parameters together; 0 for no bound.
    """
    if not bound:
        return gradient
    squares = [(value**2).sum() for value in gradient.values()]
    length = torch.stack(squares).sum().sqrt()
    # The same formula as `torch.nn.utils.clip_grad_norm_`.
    factor = (bound / (length + 1e-6)).clamp(max=1)
    return {name: factor * value for name, value in gradient.items()}


def plain() -> Optimizer:
    """Stochastic gradient descent without slots."""

    def update(
        params: Params,
        gradient: Params,
        slots: Slots,
        lr: float,
    ) -> tuple[Params, Slots]:
        return sgd(params, gradient, lr), slots

    return Optimizer(lambda _: {}, update)


def momentum(decay: float = 0.9) -> Optimizer:
    """SGD with heavy-ball momentum, v = decay * v + gradient.

    The same as `torch.optim.SGD` without dampening.
    """

    def update(
        params: Params,
        gradient: Params,
        slots: Slots,
        lr: float,
    ) -> tuple[Params, Slots]:
        velocity = {name: decay * v + gradient[name] for name, v in slots["velocity"].items()}
        return sgd(params, velocity, lr), {"velocity": velocity}

    return Optimizer(lambda params: {"velocity": _zeros(params)}, update)


def adam(
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> Optimizer:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1)."""

    def init(params: Params) -> Slots:
        count = next(iter(params.values())).new_zeros(())
        return {"first": _zeros(params), "second": _zeros(params), "step": {"count": count}}

    def update(
        params: Params,
        gradient: Params,
        slots: Slots,
        lr: float,
    ) -> tuple[Params, Slots]:
        count = slots["step"]["count"] + 1
        first = {
            name: beta1 * m + (1 - beta1) * gradient[name] for name, m in slots["first"].items()
        }
        second = {
            name: beta2 * v + (1 - beta2) * gradient[name] ** 2
            for name, v in slots["second"].items()
        }
        first_scale = 1 / (1 - beta1**count)
        second_scale = 1 / (1 - beta2**count)
        # The root of 0 has no derivative, and the second moment is 0 where no gradient came yet.
        tiny = torch.finfo(count.dtype).tiny
        roots = {name: (second[name] * second_scale).clamp(min=tiny).sqrt() for name in params}
        direction = {name: first[name] * first_scale / (roots[name] + epsilon) for name in params}
        slots = {"first": first, "second": second, "step": {"count": count}}
        return sgd(params, direction, lr), slots

    return Optimizer(init, update)


def _zeros(params: Params) -> Params:
    return {name: torch.zeros_like(value) for name, value in params.items()}


OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {"sgd": plain, "momentum": momentum, "adam": adam}
INNER = {name: make() for name, make in OPTIMIZERS.items()}
"""Optimisers of inner steps, made in advance because a compiled step cannot make one."""
