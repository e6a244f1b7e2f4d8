"""GDumb: keep a balanced memory, and train on that alone."""

from dataclasses import dataclass

from retrograde import Arrival, ClassBalanced, Count, Memory, Net, Rate, Schedule, State, Strategy


@dataclass(frozen=True)
class GDumb(Strategy):
    """Greedy sampler and dumb learner (Prabhu et al. 2020): fresh weights at every task, trained on a balanced memory alone.

    The rate is constant and the optimiser is the benchmark's; the authors train by SGD whose rate falls along a cosine, again
    and again, with cutmix, and clip the gradient. A full memory stays random within a class; theirs keeps the first to come.
    """

    lr: Rate = 0.1
    memory: Count = 200  # examples kept
    epochs: Count = 30  # over the memory, at every task
    batch: Count = 16

    def schedule(self) -> Schedule:
        return Schedule("memory alone", fresh=True, batch=self.batch, epochs=self.epochs)

    def remember(self) -> Memory:
        return ClassBalanced(self.memory, 0)

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        return net.descend(state, net.grad(state.params, arrival.new), self.lr)
