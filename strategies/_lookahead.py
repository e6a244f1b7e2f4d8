"""Look-ahead meta-gradients: inner steps on the incoming batch, meta-loss on the combined one."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import relu

from retrograde import (
    POLICIES,
    Batch,
    Bound,
    Count,
    Memory,
    Net,
    Params,
    Policy,
    Rate,
    StepData,
    Strategy,
    TaskWeighting,
    clipped,
)


@dataclass(frozen=True, kw_only=True)
class LookAhead(Strategy):
    """Continual MAML (Gupta et al. 2020, arXiv 2007.13904, section 4.1), common to its variants.

    An inner step takes `inner_batch` incoming examples; the meta-loss is that on incoming and
    replayed examples. Every parameter has an inner learning rate of its own.

    The paper prints the meta-loss after the last inner step alone (`trajectory=false`). Parameters
    can lower that loss and be good only after the inner steps: two separate clusters were then
    classified all wrong without them. So the default is the mean over all inner steps, as in the
    released code of La-MAML.
    """

    task_weighting: ClassVar[TaskWeighting | None] = "applied"

    buffer_size: Count = 200  # examples kept
    replay_batch: Count = 10  # examples replayed per step
    policy: Policy = "reservoir"
    inner_lr: Rate = 0.1  # of the inner steps; the initial value if rates are learned
    inner_batch: Count = 1  # incoming examples per inner step
    # True: the inner gradients are constants, as in the paper's experiments on MNIST.
    first_order: bool = True
    # True: the meta-loss is the mean of the losses after each inner step; else the last of them.
    trajectory: bool = True
    # True: an inner rate below 0 counts as 0, as in the released code for MNIST.
    nonnegative_lr: bool = False
    clip: Bound = 2.0  # the largest norm of a meta-gradient, of parameters and of rates

    def memory(self) -> Memory:
        return POLICIES[self.policy](self.buffer_size, self.replay_batch)

    def rates(self, params: Params) -> Params:
        """The initial rates."""
        return {name: torch.full_like(value, self.inner_lr) for name, value in params.items()}

    def meta_loss(
        self, net: Net, params: Params, rates: Params, data: StepData
    ) -> Float[Tensor, ""]:
        """The loss on incoming and replayed examples after the inner steps.

        With `trajectory`, it is the mean of the losses after each inner step.
        """
        if self.nonnegative_lr:
            rates = {name: relu(rate) for name, rate in rates.items()}
        losses: list[Tensor] = []
        weights: list[Tensor] = []
        for support in _inner_batches(data.incoming, self.inner_batch):
            gradient = self.inner_gradient(net, params, support)
            params = {name: value - rates[name] * gradient[name] for name, value in params.items()}
            if self.trajectory:
                losses.append(net.loss(params, data.combined))
                # 0 if the inner batch is padding alone.
                weights.append(support.weight.amax())
        if not self.trajectory:
            return net.loss(params, data.combined)
        counts = torch.stack(weights)
        total = (torch.stack(losses) * counts).sum()
        return total / counts.sum().clamp(min=1)

    def inner_gradient(self, net: Net, params: Params, support: Batch) -> Params:
        """The gradient of an inner step."""
        return net.grad(params, support, constant=self.first_order)

    def meta_gradient(
        self, net: Net, params: Params, rates: Params, data: StepData
    ) -> tuple[Params, Params]:
        """The gradients of the meta-loss with respect to parameters and rates, clipped by norm."""

        # The compiler reads annotations, and knows no dictionaries of dictionaries.
        def loss(learned: Any) -> Tensor:
            return self.meta_loss(net, learned["params"], learned["rates"], data)

        gradients = net.grad_of_loss(loss, {"params": params, "rates": rates})
        return clipped(gradients["params"], self.clip), clipped(gradients["rates"], self.clip)


def step_at_rates(params: Params, rates: Params, gradient: Params) -> Params:
    """The parameters after a step at learned rates; a rate below 0 counts as 0."""
    return {name: value - relu(rates[name]) * gradient[name] for name, value in params.items()}


def _inner_batches(batch: Batch, size: int) -> list[Batch]:
    starts = range(0, len(batch.x), size)
    return [batch.at(slice(start, start + size)) for start in starts]
