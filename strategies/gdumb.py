"""GDumb: keep a balanced memory, and train on that alone."""

from dataclasses import dataclass

from retrograde import ClassBalanced, Count, Memory, Net, Rate, Schedule, State, StepData, Strategy


@dataclass(frozen=True)
class GDumb(Strategy):
    """Greedy sampler and dumb learner (Prabhu et al. 2020): train on a balanced memory alone.

    Every task starts from the initial weights. The learning rate is constant and the optimiser is
    the benchmark's; the authors use SGD with cosine annealing and restarts, cutmix and gradient
    clipping. A full memory stays a random sample of each class; the authors' keeps the first
    examples of a class.
    """

    lr: Rate = 0.1
    buffer_size: Count = 200  # examples kept
    epochs: Count = 30  # passes over the memory, for every task
    batch_size: Count = 16

    def schedule(self) -> Schedule:
        return Schedule("memory", reinitialise=True, batch_size=self.batch_size, epochs=self.epochs)

    def memory(self) -> Memory:
        # Nothing is drawn at a step: the schedule trains on the memory itself.
        return ClassBalanced(self.buffer_size, 0)

    def step(self, net: Net, state: State, data: StepData) -> State:
        return net.update(state, net.grad(state.params, data.incoming), self.lr)
