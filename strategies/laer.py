"""La-ER: replay at rates learned by looking ahead."""

from dataclasses import dataclass

from retrograde.net import Net, State
from retrograde.optim import Params, clipped, sgd
from retrograde.settings import Rate
from retrograde.strategy import Arrival

from ._lookahead import LookAhead, followed


@dataclass(frozen=True, kw_only=True)
class LaER(LookAhead):
    """La-ER (Gupta et al. 2020, arXiv 2007.13904, section 5): La-MAML's rates, and the plain gradient of replay.

    The update is its own: the benchmark's optimiser has no part in it.
    """

    rate_lr: Rate = 0.1  # of the rates' own descent

    def init(self, net: Net, params: Params) -> Params:
        return self.rates(params)

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        _, of_rates = self.meta_gradient(net, state.params, state.extra, arrival)
        rates = sgd(state.extra, of_rates, self.rate_lr)
        gradient = clipped(net.grad(state.params, arrival.with_memory), self.clip)
        return state.replace(params=followed(state.params, rates, gradient), extra=rates)
