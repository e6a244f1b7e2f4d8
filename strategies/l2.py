"""L2: penalise moving any parameter away from its value after the last task."""

from dataclasses import dataclass

import torch

from retrograde import (
    ExperienceEnd,
    Net,
    NonNegative,
    Params,
    Rate,
    State,
    StepData,
    Strategy,
    added,
    anchored_penalty_gradient,
    no_penalty,
)


@dataclass(frozen=True)
class L2(Strategy):
    """EWC with the same importance for every parameter: the baseline of its authors.

    Kirkpatrick et al. 2017, arXiv 1612.00796, figure 2A, as in the code of Hsu et al. 2018, arXiv
    1810.12488: the penalty is strength times the squared distance from the parameters after the
    last task, without a half. Earlier tasks have no penalty of their own.
    """

    lr: Rate = 0.1
    strength: NonNegative = 0.1  # lambda, without a half

    def init(self, net: Net, params: Params) -> dict[str, Params]:
        return no_penalty(params)

    def step(self, net: Net, state: State, data: StepData) -> State:
        gradient = net.grad(state.params, data.incoming)
        penalty = anchored_penalty_gradient(state, self.strength)
        return net.update(state, added(gradient, penalty), self.lr)

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        ones = {name: torch.ones_like(value) for name, value in state.params.items()}
        return state.replace(extra={"anchor": state.params, "importance": ones})
