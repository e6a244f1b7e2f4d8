"""L2 towards the start: penalise moving any parameter away from its initial value."""

from dataclasses import dataclass

from retrograde import Net, NonNegative, Params, Rate, State, StepData, Strategy


@dataclass(frozen=True)
class L2Init(Strategy):
    """Regenerative regularisation (Kumar et al. 2023, arXiv 2308.11958).

    The penalty is strength times the squared distance from the initial parameters. It keeps a
    network able to learn over a long stream, and needs no boundary.
    """

    lr: Rate = 0.1
    strength: NonNegative = 1e-3

    def init(self, net: Net, params: Params) -> dict[str, Params]:
        return {"start": params}

    def step(self, net: Net, state: State, data: StepData) -> State:
        loss_gradient = net.grad(state.params, data.incoming)
        gradient = {
            name: value + 2 * self.strength * (state.params[name] - state.extra["start"][name])
            for name, value in loss_gradient.items()
        }
        return net.update(state, gradient, self.lr)
