"""SI: penalise moving parameters that lowered past losses."""

from dataclasses import dataclass

from torch.nn.functional import relu

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
    zeros_like,
)


@dataclass(frozen=True)
class SI(Strategy):
    """Synaptic intelligence (Zenke et al. 2017, arXiv 1703.04200).

    Penalises moving parameters that contributed to past decreases of the loss. Along a task, minus
    the gradient of its loss times the actual step is summed (equation 3). At the end of the task,
    that sum over the squared distance plus `damping` is added to the importance (equation 5), and
    the parameters there become the centre of the penalty.
    """

    lr: Rate = 0.1
    strength: NonNegative = 1.0  # c, of the penalty (equation 4)
    damping: Rate = 0.1  # xi, a squared distance
    # True: an importance below 0 becomes 0: in the authors' code, not in the paper.
    nonnegative: bool = True
    # True: the gradient summed includes the penalty's: in van de Ven's code, not in the paper.
    penalised: bool = False

    def init(self, net: Net, params: Params) -> dict[str, Params]:
        zeros = zeros_like(params)
        return {"anchor": params, "importance": zeros, "path": zeros}

    def step(self, net: Net, state: State, data: StepData) -> State:
        gradient = net.grad(state.params, data.incoming)
        penalty = anchored_penalty_gradient(state, self.strength)
        total = added(gradient, penalty)
        after = net.update(state, total, self.lr)
        path_gradient = total if self.penalised else gradient
        path = {
            name: value - path_gradient[name] * (after.params[name] - state.params[name])
            for name, value in state.extra["path"].items()
        }
        return after.replace(extra=state.extra | {"path": path})

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        extra = state.extra
        importance = {}
        for name, value in state.params.items():
            distance = (value - extra["anchor"][name]) ** 2
            grown = extra["importance"][name] + extra["path"][name] / (distance + self.damping)
            importance[name] = relu(grown) if self.nonnegative else grown
        path = zeros_like(state.params)
        return state.replace(extra={"anchor": state.params, "importance": importance, "path": path})
