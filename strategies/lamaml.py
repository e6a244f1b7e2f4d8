"""La-MAML: look-ahead MAML with learned rates that the parameters follow."""

from dataclasses import dataclass

from retrograde import Net, Params, Rate, State, StepData, sgd

from ._lookahead import LookAhead, step_at_rates


@dataclass(frozen=True, kw_only=True)
class LaMAML(LookAhead):
    """La-MAML: look-ahead MAML with learned rates (Gupta et al. 2020, arXiv 2007.13904).

    The rates step first, then the parameters at the new rates. A rate falls if the step on incoming
    examples goes against the gradient on replayed ones; at 0, its parameter does not move. With
    `trajectory=false,first_order=false` this is algorithm 1. The benchmark's optimiser is not used.
    """

    hyper_lr: Rate = 0.3  # the learning rate of the inner rates

    def init(self, net: Net, params: Params) -> Params:
        return self.rates(params)

    def step(self, net: Net, state: State, data: StepData) -> State:
        gradient, rates_gradient = self.meta_gradient(net, state.params, state.extra, data)
        rates = sgd(state.extra, rates_gradient, self.hyper_lr)
        params = step_at_rates(state.params, rates, gradient)
        return state.replace(params=params, extra=rates)
