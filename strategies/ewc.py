"""EWC: parameters that past tasks' predictions depend on are held."""

from dataclasses import dataclass

import torch

from retrograde import (
    Arrival,
    Finished,
    Limit,
    Net,
    NonNegative,
    Params,
    Rate,
    State,
    Strategy,
    added,
)

from ._fisher import Fisher, fisher_information
from ._importance import free, held, packed, unpacked
from ._per_example import check_rows


@dataclass(frozen=True)
class EWC(Strategy):
    """Elastic weight consolidation (Kirkpatrick et al. 2017, arXiv 1612.00796, equation 3).

    The penalty is strength / 2 times the sum, over past tasks and parameters, of F (parameter - its value after that task)².
    A sum of parabolas is one, about the mean of their centres by F: that and the sum of F are all that is kept.
    """

    lr: Rate = 0.1
    strength: NonNegative = 100.0  # lambda, of which the penalty takes half
    fisher: Fisher = "exact"
    examples: Limit = 0  # of each task, from which F is estimated

    def init(self, net: Net, params: Params) -> Params:
        check_rows(net)
        return free(params)

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        gradient = added(net.grad(state.params, arrival.new), held(state, self.strength / 2))
        return net.descend(state, gradient, self.lr)

    def end_task(self, net: Net, state: State, finished: Finished) -> State:
        anchor, importance = (unpacked(state.extra, group) for group in ("anchor", "importance"))
        found = fisher_information(net, state.params, finished.examples, self.fisher, self.examples)
        importance = added(importance, found)
        for name, value in state.params.items():
            share = found[name] / importance[name].clamp(min=torch.finfo(value.dtype).tiny)
            anchor[name] = anchor[name] + share * (value - anchor[name])
        return state.replace(extra=packed(anchor=anchor, importance=importance))
