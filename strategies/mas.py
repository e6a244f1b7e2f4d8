"""MAS: penalise moving parameters that the size of the outputs depends on."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from retrograde import (
    Batch,
    Directions,
    ExperienceEnd,
    Net,
    NonNegative,
    Params,
    Rate,
    State,
    StepData,
    Strategy,
    added,
    anchored_penalty_gradient,
    check_rows,
    mean_powers,
    no_penalty,
)


@dataclass(frozen=True)
class MAS(Strategy):
    """Memory aware synapses (Aljundi et al. 2018, arXiv 1711.09601).

    At the end of a task, the importance grows by the mean, over the task's examples, of the
    absolute gradient of the outputs' squared norm; labels are not used. The penalty is strength
    times the sum of importance * (parameter - its value after the last task)².
    """

    lr: Rate = 0.1
    strength: NonNegative = 0.1  # lambda, without a half

    def init(self, net: Net, params: Params) -> dict[str, Params]:
        check_rows(net)
        return no_penalty(params)

    def step(self, net: Net, state: State, data: StepData) -> State:
        gradient = net.grad(state.params, data.incoming)
        penalty = anchored_penalty_gradient(state, self.strength)
        return net.update(state, added(gradient, penalty), self.lr)

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        sensitivity = output_sensitivity(net, state.params, end.examples)
        importance = added(state.extra["importance"], sensitivity)
        return state.replace(extra={"anchor": state.params, "importance": importance})


def output_sensitivity(net: Net, params: Params, examples: Batch) -> Params:
    """The mean over examples of |gradient of the squared norm of the outputs|.

    If the task is given, the outputs are those of the task's units.
    """

    def directions_of(outputs: Float[Tensor, "row unit"], _: slice) -> Directions:
        # The outputs of other tasks' units are minus infinity.
        return 2 * outputs.masked_fill(outputs.isneginf(), 0)[None]

    return mean_powers(net, params, examples, directions_of, power=1)
