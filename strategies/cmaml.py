"""C-MAML: continual MAML with a fixed inner rate."""

from dataclasses import dataclass

from retrograde import Net, Rate, State, StepData

from ._lookahead import LookAhead


@dataclass(frozen=True, kw_only=True)
class CMAML(LookAhead):
    """Continual MAML with a fixed inner rate (Gupta et al. 2020, arXiv 2007.13904, section 4.1).

    Each step is one of the benchmark's optimiser along the meta-gradient.
    """

    lr: Rate = 0.1  # of the meta-step
    inner_lr: Rate = 0.01  # of the inner steps, which collapse at 0.05 on split digits

    def step(self, net: Net, state: State, data: StepData) -> State:
        rates = self.rates(state.params)
        gradient, _ = self.meta_gradient(net, state.params, rates, data)
        return net.update(state, gradient, self.lr)
