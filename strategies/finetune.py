"""Fine-tuning: naive training along the stream."""

from dataclasses import dataclass

from retrograde import Net, Rate, State, StepData, Strategy


@dataclass(frozen=True)
class Finetune(Strategy):
    """Naive training on each task in turn: the lower bound."""

    lr: Rate = 0.1

    def step(self, net: Net, state: State, data: StepData) -> State:
        return net.update(state, net.grad(state.params, data.incoming), self.lr)
