"""Optimisers as pairs of pure functions, and arithmetic on gradients."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Params = dict[str, Tensor]
Slots = dict[str, Params]
LearningRate = float | Tensor
"""A step size: a number, or a tensor without axes, as a schedule gives it."""
OptimizerName = Literal["sgd", "momentum", "nesterov", "adam", "adamw", "adagrad"]
"""The optimisers of a benchmark."""

NO_TENSORS: Params = {}
"""The default of fields that are seldom filled; nothing writes to it."""


class Optimizer(NamedTuple):
    """A pair of pure functions: `init` makes the slots, `update` takes one step.

    Their signatures are `init(params) -> slots` and
    `update(params, gradient, slots, lr) -> (params, slots)`. Slots are the optimiser's state, such
    as a velocity, as one dictionary of tensors per slot.
    """

    init: Callable[[Params], Slots]
    update: Callable[[Params, Params, Slots, LearningRate], tuple[Params, Slots]]


def sgd(
    params: Params,
    gradient: Params,
    lr: LearningRate,
) -> Params:
    """One step of gradient descent, params - lr * gradient."""
    return {name: value - lr * gradient[name] for name, value in params.items()}


def added(gradient: Params, other: Params) -> Params:
    """The sum of two gradients.

    Example:
        >>> rg.added({"w": torch.tensor([1.0])}, {"w": torch.tensor([2.0])})
        {'w': tensor([3.])}
    """
    return {name: value + other[name] for name, value in gradient.items()}


def clipped(gradient: Params, bound: float | Tensor) -> Params:
    """The gradient, shortened to a norm of at most `bound`.

    Args:
        gradient: one tensor per parameter.
        bound: maximum of the Euclidean norm over all parameters together; 0 for no bound.

    Example:
        >>> rg.clipped({"w": torch.tensor([3.0, 4.0])}, 1.0)["w"].norm() <= 1
        tensor(True)
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
        lr: LearningRate,
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
        lr: LearningRate,
    ) -> tuple[Params, Slots]:
        velocity = {name: decay * v + gradient[name] for name, v in slots["velocity"].items()}
        return sgd(params, velocity, lr), {"velocity": velocity}

    return Optimizer(lambda params: {"velocity": _zeros(params)}, update)


def nesterov(decay: float = 0.9) -> Optimizer:
    """SGD with Nesterov momentum: the step is gradient + decay * v, with v as in `momentum`.

    The same as `torch.optim.SGD` with `nesterov=True` (Sutskever et al. 2013, section 3).
    """

    def update(
        params: Params,
        gradient: Params,
        slots: Slots,
        lr: LearningRate,
    ) -> tuple[Params, Slots]:
        velocity = {name: decay * v + gradient[name] for name, v in slots["velocity"].items()}
        ahead = {name: gradient[name] + decay * v for name, v in velocity.items()}
        return sgd(params, ahead, lr), {"velocity": velocity}

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
        lr: LearningRate,
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


def adagrad(epsilon: float = 1e-10) -> Optimizer:
    """Adagrad (Duchi et al. 2011, JMLR 12): the step is gradient / root of its sum of squares.

    The same as `torch.optim.Adagrad` without decay.
    """

    def update(
        params: Params,
        gradient: Params,
        slots: Slots,
        lr: LearningRate,
    ) -> tuple[Params, Slots]:
        squares = {name: s + gradient[name] ** 2 for name, s in slots["squares"].items()}
        # The root of 0 has no derivative.
        roots = {name: s.clamp(min=torch.finfo(s.dtype).tiny).sqrt() for name, s in squares.items()}
        direction = {name: gradient[name] / (root + epsilon) for name, root in roots.items()}
        return sgd(params, direction, lr), {"squares": squares}

    return Optimizer(lambda params: {"squares": _zeros(params)}, update)


def build_optimizer(
    name: OptimizerName,
    decay: float | None = None,
    weight_decay: float = 0.0,
    clip: float = 0.0,
) -> Optimizer:
    """The optimiser of a training protocol: it clips the gradient, then decays the weights.

    Without weight decay and clipping, it is the named optimiser itself, to the last bit.

    Args:
        name: The optimiser. AdamW is Adam whose weight decay bypasses the moments.
        decay: The decay of the velocity of `momentum` and `nesterov`; None: 0.9.
        weight_decay: The coefficient of the weights, of all parameters alike. With `adamw`, weights
            shrink by lr * weight_decay before the step (Loshchilov and Hutter 2019, arXiv
            1711.05101); with others, weight_decay * weights is added to the gradient, as in
            `torch.optim`.
        clip: Maximum of the gradient's norm over all parameters together; 0: no bound.
    """
    rate = 0.9 if decay is None else decay
    makers: dict[OptimizerName, Callable[[], Optimizer]] = {
        "sgd": plain,
        "momentum": lambda: momentum(rate),
        "nesterov": lambda: nesterov(rate),
        "adam": adam,
        "adamw": adam,
        "adagrad": adagrad,
    }

    def pulled(params: Params, gradient: Params, _: LearningRate) -> tuple[Params, Params]:
        return params, {name: g + weight_decay * params[name] for name, g in gradient.items()}

    def shrunk(params: Params, gradient: Params, lr: LearningRate) -> tuple[Params, Params]:
        return {name: p * (1 - lr * weight_decay) for name, p in params.items()}, gradient

    def bounded(params: Params, gradient: Params, _: LearningRate) -> tuple[Params, Params]:
        return params, clipped(gradient, clip)

    optimizer = makers[name]()
    if weight_decay:
        optimizer = _after(shrunk if name == "adamw" else pulled, optimizer)
    return _after(bounded, optimizer) if clip else optimizer


_Change = Callable[[Params, Params, LearningRate], tuple[Params, Params]]
"""Changes parameters and gradient before a step at a rate."""


def _after(change: _Change, optimizer: Optimizer) -> Optimizer:
    """The optimiser whose steps are taken from changed parameters and gradients."""

    def update(
        params: Params,
        gradient: Params,
        slots: Slots,
        lr: LearningRate,
    ) -> tuple[Params, Slots]:
        params, gradient = change(params, gradient, lr)
        return optimizer.update(params, gradient, slots, lr)

    return Optimizer(optimizer.init, update)


def _zeros(params: Params) -> Params:
    return {name: torch.zeros_like(value) for name, value in params.items()}


OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {"sgd": plain, "momentum": momentum, "adam": adam}
INNER = {name: make() for name, make in OPTIMIZERS.items()}
"""Optimisers of inner steps, by name."""
