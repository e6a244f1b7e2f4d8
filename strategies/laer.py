"""La-ER: replay at rates learned by looking ahead."""

from dataclasses import dataclass

from retrograde import Arrival, Batch, Bound, Net, Params, Rate, State, clipped, sgd

from ._lookahead import LookAhead, followed


@dataclass(frozen=True, kw_only=True)
class LaER(LookAhead):
    """La-ER (Gupta et al. 2020, arXiv 2007.13904, section 5): rates learned as La-MAML's, and the plain gradient of replay.

    The rule is that of the authors' code:

    - Inner steps follow gradients of which every entry is clamped, at rates of either sign.
    - The loss on arrivals and memory after the last inner step moves the rates and nothing else.
    - The parameters follow the gradient of replay, from where they were and at the new rates.
    - The gradients of rates and of replay are clipped by their length.

    The authors' scripts take two arrivals in an inner step (`chunk=2`). The benchmark's optimiser
    has no part in the update.
    """

    rate_lr: Rate = 0.1  # of the rates' own descent
    trajectory: bool = (
        False  # the meta-loss is that after the last inner step; if true, the mean over all of them
    )
    inner_clip: Bound = 2.0  # the largest that an entry of an inner gradient may be; 0: any

    def init(self, net: Net, params: Params) -> Params:
        return self.rates(params)

    def inner_gradient(self, net: Net, params: Params, support: Batch) -> Params:
        """See `LookAhead.inner_gradient`."""
        gradient = super().inner_gradient(net, params, support)
        if not self.inner_clip:
            return gradient
        return {
            name: value.clamp(-self.inner_clip, self.inner_clip) for name, value in gradient.items()
        }

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        _, of_rates = self.meta_gradient(net, state.params, state.extra, arrival)
        rates = sgd(state.extra, of_rates, self.rate_lr)
        gradient = clipped(net.grad(state.params, arrival.with_memory), self.clip)
        return state.replace(params=followed(state.params, rates, gradient), extra=rates)
