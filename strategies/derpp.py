"""DER++: replay of the logits of some past examples, and of the labels of others."""

from dataclasses import dataclass

from torch import Tensor

from retrograde import (
    POLICIES,
    Memory,
    Net,
    NonNegative,
    Params,
    Rate,
    Replay,
    State,
    StepData,
    logit_distance,
)


@dataclass(frozen=True, kw_only=True)
class DERpp(Replay):
    """Dark experience replay with labels (Buzzega et al. 2020, arXiv 2004.07211, algorithm 2).

    Each step draws `replay_batch` examples for the stored logits and as many others for the labels.
    """

    lr: Rate = 0.1
    alpha: NonNegative = 0.5  # the weight of the squared distance to the stored logits
    beta: NonNegative = 0.5  # the weight of the loss on the labels of the other examples

    def memory(self) -> Memory:
        memory = POLICIES[self.policy]
        return memory(self.buffer_size, self.replay_batch, rounds=2, keep=("logits",))

    def step(self, net: Net, state: State, data: StepData) -> State:
        distilled, labelled = data.draws

        def loss(params: Params) -> tuple[Tensor, Tensor]:
            logits, old, other = data.parts(net.logits(params, data.combined.x))
            distance = logit_distance(old, distilled.kept["logits"], distilled.weight)
            past = self.alpha * distance + self.beta * net.loss_from_logits(other, labelled)
            return data.weighted(net.loss_from_logits(logits, data.incoming), past), logits

        gradient, logits = net.grad_and_aux(loss, state.params)
        return net.update(state, gradient, self.lr).keep(logits=logits)
