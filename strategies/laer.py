"""La-ER: replay at learned rates."""

from dataclasses import dataclass

from retrograde import Batch, Bound, Net, Params, Rate, State, StepData, clipped, sgd

from ._lookahead import LookAhead, step_at_rates


@dataclass(frozen=True, kw_only=True)
class LaER(LookAhead):
    """La-ER: replay at learned rates (Gupta et al. 2020, arXiv 2007.13904, section 5).

    The rates are learned as in La-MAML. The rule is that of the authors' code:

    - Inner steps follow gradients with every entry clamped, at rates of either sign.
    - The gradient of the loss on the combined batch after the last inner step moves the rates and
      nothing else.
    - The parameters follow the gradient of replay, from their values before the inner steps, at the
      new rates.
    - The gradients of rates and of replay are clipped by norm.

    The authors' scripts take two incoming examples in an inner step (`inner_batch=2`). The
    benchmark's optimiser is not used.
    """

    hyper_lr: Rate = 0.1  # the learning rate of the inner rates
    # True: the meta-loss is the mean of the losses after each inner step; else the last of them.
    trajectory: bool = False
    inner_clip: Bound = 2.0  # the largest absolute entry of an inner gradient; 0: no bound

    def init(self, net: Net, params: Params) -> Params:
        return self.rates(params)

    def inner_gradient(self, net: Net, params: Params, support: Batch) -> Params:
        """The gradient of an inner step, with every entry clamped."""
        gradient = super().inner_gradient(net, params, support)
        if not self.inner_clip:
            return gradient
        return {
            name: value.clamp(-self.inner_clip, self.inner_clip) for name, value in gradient.items()
        }

    def step(self, net: Net, state: State, data: StepData) -> State:
        _, rates_gradient = self.meta_gradient(net, state.params, state.extra, data)
        rates = sgd(state.extra, rates_gradient, self.hyper_lr)
        gradient = clipped(net.grad(state.params, data.combined), self.clip)
        params = step_at_rates(state.params, rates, gradient)
        return state.replace(params=params, extra=rates)
