"""MIR: replay the examples whose loss the next step would raise most."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from retrograde import (
    POLICIES,
    Batch,
    Count,
    Memory,
    Net,
    Params,
    Rate,
    Replay,
    State,
    StepData,
    sgd,
)


@dataclass(frozen=True, kw_only=True)
class MIR(Replay):
    """Maximally interfered retrieval (Aljundi et al. 2019, arXiv 1908.04742, section 3.1).

    Replays those candidates from memory whose loss would rise most in a step of plain SGD on the
    incoming examples alone.
    """

    lr: Rate = 0.1
    candidates: Count = 50  # examples drawn per step; `replay_batch` of them are replayed

    def memory(self) -> Memory:
        return POLICIES[self.policy](self.buffer_size, self.candidates)

    def step(self, net: Net, state: State, data: StepData) -> State:
        replayed = data.replayed
        # The tentative step is not taken, so running statistics do not follow it.
        gradient = net.without_statistics().grad(state.params, data.incoming)
        tentative = sgd(state.params, gradient, net.scheduled(self.lr))
        after = self._losses(net, tentative, replayed)
        before = self._losses(net, state.params, replayed)
        # Padding is chosen only if there are too few examples.
        interference = torch.where(replayed.weight > 0, after - before, -torch.inf)
        chosen = interference.topk(min(self.replay_batch, self.candidates)).indices
        examples = data.combine(replayed.at(chosen))
        return net.update(state, net.grad(state.params, examples), self.lr)

    def _losses(self, net: Net, params: Params, batch: Batch) -> Float[Tensor, " row"]:
        return net.row_losses(net.logits(params, batch.x), batch)
