"""La-MAML: look-ahead MAML with learned rates, which the parameters follow."""

from dataclasses import dataclass

from retrograde import Arrival, Net, Params, Rate, State, sgd

from ._lookahead import LookAhead, followed


@dataclass(frozen=True, kw_only=True)
class LaMAML(LookAhead):
    """La-MAML (Gupta et al. 2020, arXiv 2007.13904): the rates step first, then the parameters at the new rates.

    A rate falls where the step on new examples goes against the gradient on old ones; at 0 its parameter stands still. This is
    algorithm 1 with `trajectory=false,first_order=false`. The update is its own: the benchmark's optimiser has no part in it.
    """

    rate_lr: Rate = 0.3  # of the rates' own descent

    def init(self, net: Net, params: Params) -> Params:
        return self.rates(params)

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        gradient, of_rates = self.meta_gradient(net, state.params, state.extra, arrival)
        rates = sgd(state.extra, of_rates, self.rate_lr)
        return state.replace(params=followed(state.params, rates, gradient), extra=rates)
