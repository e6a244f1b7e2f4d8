"""Shrink and perturb: after every step, parameters get smaller and noisy."""

from dataclasses import dataclass

from retrograde import Net, NonNegative, Rate, Share, State, StepData, Strategy


@dataclass(frozen=True)
class ShrinkPerturb(Strategy):
    """Shrink and perturb (Ash and Adams 2020, arXiv 1910.08475), at every step.

    Every parameter is multiplied by `shrink`, and Gaussian noise of standard deviation `noise` is
    added, after every gradient step: the form in which Dohare et al. 2024 (arXiv 2306.13812) use it
    against the loss of plasticity. It needs no boundary.
    """

    lr: Rate = 0.1
    shrink: Share = 0.9999
    noise: NonNegative = 1e-4

    def step(self, net: Net, state: State, data: StepData) -> State:
        after = net.update(state, net.grad(state.params, data.incoming), self.lr)
        params = {
            name: self.shrink * value + self.noise * net.normal(*value.shape, name=name).to(value)
            for name, value in after.params.items()
        }
        return after.replace(params=params)
