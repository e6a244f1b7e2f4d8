"""Looking ahead: where steps on the arrivals alone would lead, and what that would do to arrivals and memory together."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad
from torch.nn.functional import relu

from retrograde import (
    POLICIES,
    Arrival,
    Batch,
    Bound,
    Count,
    Memory,
    Net,
    Params,
    Policy,
    Rate,
    Strategy,
    Weighing,
    clipped,
)


@dataclass(frozen=True, kw_only=True)
class LookAhead(Strategy):
    """Continual MAML (Gupta et al. 2020, arXiv 2007.13904, section 4.1): inner steps on the arrivals, a meta-loss on all.

    Rates are one number for each parameter; an inner step takes `chunk` arrivals.

    The paper prints the meta-loss after the last inner step alone (`trajectory=false`). Parameters
    can lower that loss and be good after the inner steps only: of two separate clusters, all were
    then classified wrong without them. So the default is the mean over all inner steps, as in the
    released code of La-MAML.
    """

    weighing: ClassVar[Weighing | None] = "heeds"

    memory: Count = 200  # examples kept
    draw: Count = 10  # examples replayed per step
    policy: Policy = "reservoir"
    rate: Rate = 0.1  # of the inner steps; where rates are learned, what they start from
    chunk: Count = 1  # arrivals per inner step
    first_order: bool = (
        True  # the inner gradients count as constants, as in the paper's experiments on MNIST
    )
    trajectory: bool = True  # the meta-loss is the mean of those after each inner step; if not, that after the last one
    floor: bool = False  # inner steps too take a rate below 0 as 0: released code for MNIST
    clip: Bound = 2.0  # the longest that a meta-gradient may be, of parameters and of rates

    def remember(self) -> Memory:
        return POLICIES[self.policy](self.memory, self.draw)

    def rates(self, params: Params) -> Params:
        """The rates as they start."""
        return {name: torch.full_like(value, self.rate) for name, value in params.items()}

    def meta_loss(
        self, net: Net, params: Params, rates: Params, arrival: Arrival
    ) -> Float[Tensor, ""]:
        """The loss on arrivals and memory after the inner steps; with `trajectory`, the mean of those after each step."""
        rates = {name: relu(rate) for name, rate in rates.items()} if self.floor else rates
        losses, real = [], []
        for support in _chunks(arrival.new, self.chunk):
            gradient = self.inner_gradient(net, params, support)
            params = {name: value - rates[name] * gradient[name] for name, value in params.items()}
            if self.trajectory:
                losses.append(net.loss(params, arrival.with_memory))
                real.append(support.weight.amax())  # 0 where the inner step took padding alone
        if not self.trajectory:
            return net.loss(params, arrival.with_memory)
        return (torch.stack(losses) * torch.stack(real)).sum() / torch.stack(real).sum().clamp(
            min=1
        )

    def inner_gradient(self, net: Net, params: Params, support: Batch) -> Params:
        """The gradient that an inner step follows."""
        return net.grad(params, support, constant=self.first_order)

    def meta_gradient(
        self, net: Net, params: Params, rates: Params, arrival: Arrival
    ) -> tuple[Params, Params]:
        """The gradient of the meta-loss with respect to parameters and rates, each clipped by its length."""

        def loss(params: Params, rates: Params) -> Tensor:
            return self.meta_loss(net, params, rates, arrival)

        of_params, of_rates = grad(loss, argnums=(0, 1))(params, rates)
        return clipped(of_params, self.clip), clipped(of_rates, self.clip)


def followed(params: Params, rates: Params, gradient: Params) -> Params:
    """A step at learned rates, of which one below 0 leaves its parameter alone."""
    return {name: value - relu(rates[name]) * gradient[name] for name, value in params.items()}


def _chunks(batch: Batch, size: int) -> list[Batch]:
    return [
        Batch(*(part[start : start + size] for part in batch))
        for start in range(0, len(batch.x), size)
    ]
