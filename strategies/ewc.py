"""EWC: penalise moving parameters that the predictions on past tasks depend on."""

from dataclasses import dataclass

import torch

from retrograde import (
    ExperienceEnd,
    Fisher,
    Limit,
    Net,
    NonNegative,
    Params,
    Rate,
    State,
    StepData,
    Strategy,
    added,
    anchored_penalty_gradient,
    check_rows,
    fisher_information,
    no_penalty,
)


@dataclass(frozen=True)
class EWC(Strategy):
    """Elastic weight consolidation (Kirkpatrick et al. 2017, arXiv 1612.00796, equation 3).

    The penalty is strength / 2 times the sum, over past tasks and parameters, of F (parameter - its
    value after that task)², with the Fisher information F. A sum of parabolas is one parabola about
    the mean of their centres weighted by F, so only that mean and the sum of F are stored.
    """

    lr: Rate = 0.01  # at 0.1, the penalty of several tasks makes steps diverge
    strength: NonNegative = 100.0  # lambda; the penalty takes half of it
    fisher: Fisher = "exact"
    fisher_examples: Limit = 0  # examples of each task from which F is estimated; 0: all

    def needs_classes(self) -> bool:
        return super().needs_classes() or self.fisher in ("sampled", "weighted")

    def init(self, net: Net, params: Params) -> dict[str, Params]:
        check_rows(net)
        return no_penalty(params)

    def step(self, net: Net, state: State, data: StepData) -> State:
        gradient = net.grad(state.params, data.incoming)
        penalty = anchored_penalty_gradient(state, self.strength / 2)
        return net.update(state, added(gradient, penalty), self.lr)

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        fisher = fisher_information(
            net, state.params, end.examples, self.fisher, self.fisher_examples
        )
        importance = added(state.extra["importance"], fisher)
        anchor = dict(state.extra["anchor"])
        for name, value in state.params.items():
            # The bound avoids 0 / 0 if no prediction depends on a parameter.
            bounded = importance[name].clamp(min=torch.finfo(value.dtype).tiny)
            share = fisher[name] / bounded
            anchor[name] = anchor[name] + share * (value - anchor[name])
        return state.replace(extra={"anchor": anchor, "importance": importance})
