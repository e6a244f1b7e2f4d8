"""DER: replay of the logits that past examples had when they were stored."""

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
class DER(Replay):
    """Dark experience replay (Buzzega et al. 2020, arXiv 2004.07211, algorithm 1).

    The loss on replayed examples is the distance to their stored logits, not that to labels.
    """

    lr: Rate = 0.1
    alpha: NonNegative = 0.5  # the weight of the squared distance to the stored logits

    def memory(self) -> Memory:
        return POLICIES[self.policy](self.buffer_size, self.replay_batch, keep=("logits",))

    def step(self, net: Net, state: State, data: StepData) -> State:
        replayed = data.replayed

        def loss(params: Params) -> tuple[Tensor, Tensor]:
            # One forward pass over both: it also gives the logits to store.
            logits, old_logits = data.parts(net.logits(params, data.combined.x))
            distance = logit_distance(old_logits, replayed.kept["logits"], replayed.weight)
            incoming = net.loss_from_logits(logits, data.incoming)
            return data.weighted(incoming, self.alpha * distance), logits

        gradient, logits = net.grad_and_aux(loss, state.params)
        return net.update(state, gradient, self.lr).keep(logits=logits)
