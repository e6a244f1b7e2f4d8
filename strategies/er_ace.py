"""ER-ACE: replay in which new classes do not push old ones away."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad

from retrograde.memory import POLICIES, Memory, Policy
from retrograde.net import Net, State
from retrograde.optim import Params
from retrograde.settings import Count, Rate
from retrograde.strategy import Arrival, Strategy


@dataclass(frozen=True)
class ERACE(Strategy):
    """Replay with asymmetric cross-entropy (Caccia et al. 2022, arXiv 2104.05025, section 4).

    Arrivals are told apart from the classes of their own batch alone, replayed examples from all classes.
    """

    lr: Rate = 0.1
    memory: Count = 200  # examples kept
    draw: Count = 10  # examples replayed per step
    policy: Policy = "reservoir"

    def remember(self) -> Memory:
        return POLICIES[self.policy](self.memory, self.draw)

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        return net.descend(state, grad(lambda params: self.loss(net, params, arrival))(state.params), self.lr)

    def loss(self, net: Net, params: Params, arrival: Arrival) -> Float[Tensor, ""]:
        """The mean loss of the arrivals among their classes plus that of the replayed examples."""
        logits = net.logits(params, arrival.with_memory.x, arrival.with_memory.task)
        of_new, of_old = logits[: len(arrival.new.x)], logits[len(arrival.new.x) :]
        own = arrival.new.y[:, None] == torch.arange(logits.shape[1], device=logits.device)
        absent = ~(own & (arrival.new.weight > 0)[:, None]).any(0)
        return net.loss_of(of_new.masked_fill(absent, -torch.inf), arrival.new) + net.loss_of(of_old, arrival.old)
