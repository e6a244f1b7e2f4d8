"""Sync La-MAML: learned inner rates, and a meta-step at a rate of its own."""

from dataclasses import dataclass

from retrograde import Net, Params, Rate, State, StepData, sgd

from ._lookahead import LookAhead


@dataclass(frozen=True, kw_only=True)
class Sync(LookAhead):
    """Sync La-MAML (Gupta et al. 2020, arXiv 2007.13904, section 4.3).

    The inner rates are learned; the meta-step does not use them.
    """

    lr: Rate = 0.1  # of the meta-step
    hyper_lr: Rate = 0.1  # the learning rate of the inner rates

    def init(self, net: Net, params: Params) -> Params:
        return self.rates(params)

    def step(self, net: Net, state: State, data: StepData) -> State:
        gradient, rates_gradient = self.meta_gradient(net, state.params, state.extra, data)
        after = net.update(state, gradient, self.lr)
        return after.replace(extra=sgd(state.extra, rates_gradient, self.hyper_lr))
