"""Online EWC: a running Fisher information, and the parameters after the last task."""

from dataclasses import dataclass

from retrograde import (
    ExperienceEnd,
    Fisher,
    Limit,
    Net,
    NonNegative,
    Params,
    Rate,
    Share,
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
class OnlineEWC(Strategy):
    """Online elastic weight consolidation (Schwarz et al. 2018, arXiv 1805.06370).

    The penalty is strength / 2 times the sum of F (parameter - its value after the last task)², and
    F becomes gamma F plus the last task's information. Mammoth's e_lambda takes no half: it is half
    of `strength`. The paper has a further gamma in the penalty.
    """

    lr: Rate = 0.01  # at 0.1, the penalty of several tasks makes steps diverge
    strength: NonNegative = 100.0  # lambda; the penalty takes half of it
    gamma: Share = 1.0  # the share of F that remains after each task
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
        earlier = state.extra["importance"]
        decayed = {name: self.gamma * value for name, value in earlier.items()}
        importance = added(decayed, fisher)
        return state.replace(extra={"anchor": state.params, "importance": importance})
