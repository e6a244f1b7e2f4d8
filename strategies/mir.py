"""MIR: replay the examples whose loss the coming step would raise most."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from retrograde import POLICIES, Batch, Count, Memory, Net, Params, Rate, State, StepData, sgd

from ._replay import Replay


@dataclass(frozen=True, kw_only=True)
class MIR(Replay):
    """Maximally interfered retrieval (Aljundi et al. 2019, arXiv 1908.04742, section 3.1).

    Replays the drawn candidates whose loss would rise most in a step of plain SGD on the incoming
    examples alone.
    """

    lr: Rate = 0.1
    candidates: Count = 50  # examples drawn per step; `draw` of them are replayed

    def memory(self) -> Memory:
        return POLICIES[self.policy](self.buffer_size, self.candidates)

    def step(self, net: Net, state: State, data: StepData) -> State:
        examples = self.trained_on(net, state, data)
        return net.update(state, net.grad(state.params, examples), self.lr)

    def trained_on(self, net: Net, state: State, data: StepData) -> Batch:
        old = data.replayed
        gradient = net.grad(state.params, data.incoming)
        foreseen = sgd(state.params, gradient, self.lr)
        after = self._losses(net, foreseen, old)
        before = self._losses(net, state.params, old)
        # Padding is chosen only if there are too few examples.
        harm = torch.where(old.weight > 0, after - before, -torch.inf)
        chosen = harm.topk(min(self.replay_batch, self.candidates)).indices
        return data.combine(old.at(chosen))

    def _losses(self, net: Net, params: Params, batch: Batch) -> Float[Tensor, " row"]:
        return net.row_losses(net.logits(params, batch.x), batch)
