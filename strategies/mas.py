"""MAS: parameters that the size of the outputs depends on are held."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from retrograde import (
    Arrival,
    Batch,
    Finished,
    Net,
    NonNegative,
    Params,
    Rate,
    State,
    Strategy,
    added,
)

from ._importance import free, held, packed, unpacked
from ._per_example import Directions, check_rows, mean_powers


@dataclass(frozen=True)
class MAS(Strategy):
    """Memory aware synapses (Aljundi et al. 2018, arXiv 1711.09601), by the squared length of the outputs.

    At the end of a task the importance grows by the mean, over its examples, of the absolute gradient of the outputs' squared
    length; labels are not used. The penalty is strength times the sum of importance * (parameter - its last value)².
    """

    lr: Rate = 0.1
    strength: NonNegative = 0.1  # lambda, without a half

    def init(self, net: Net, params: Params) -> Params:
        check_rows(net)
        return free(params)

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        gradient = added(net.grad(state.params, arrival.new), held(state, self.strength))
        return net.descend(state, gradient, self.lr)

    def end_task(self, net: Net, state: State, finished: Finished) -> State:
        grown = added(
            unpacked(state.extra, "importance"), sensitivity(net, state.params, finished.examples)
        )
        return state.replace(extra=packed(anchor=state.params, importance=grown))


def sensitivity(net: Net, params: Params, examples: Batch) -> Params:
    """The mean over examples of |the gradient of the squared length of the outputs|; where the task is told, of its units'."""

    def along(outputs: Float[Tensor, "row unit"], _: slice) -> Directions:
        return 2 * outputs.masked_fill(outputs.isneginf(), 0)[None]

    return mean_powers(net, params, examples, along, power=1)
