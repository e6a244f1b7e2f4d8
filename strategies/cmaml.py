"""C-MAML: continual MAML with one fixed inner rate."""

from dataclasses import dataclass

from retrograde import Arrival, Net, Rate, State

from ._lookahead import LookAhead


@dataclass(frozen=True, kw_only=True)
class CMAML(LookAhead):
    """Continual MAML (Gupta et al. 2020, arXiv 2007.13904, section 4.1): down the meta-gradient at a fixed rate."""

    lr: Rate = 0.1  # of the meta-step

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        gradient, _ = self.meta_gradient(net, state.params, self.rates(state.params), arrival)
        return net.descend(state, gradient, self.lr)
