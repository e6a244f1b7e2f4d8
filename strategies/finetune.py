"""Fine-tuning: naive SGD along the stream."""

from dataclasses import dataclass

from retrograde.interface.net import Net
from retrograde.interface.state import State
from retrograde.interface.strategy import Arrival, Strategy
from retrograde.parts.fields import Rate


@dataclass(frozen=True)
class Finetune(Strategy):
    """Naive training on each task as it comes: the lower bound."""

    lr: Rate = 0.1

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        return net.descend(state, net.grad(state.params, arrival.new), self.lr)
