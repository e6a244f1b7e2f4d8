"""GSS: a memory of examples whose gradients point in different directions."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retrograde import (
    Batch,
    Count,
    Net,
    Params,
    Rate,
    State,
    StepData,
    Strategy,
    TaskWeighting,
    gradient_cosines,
)


@dataclass(frozen=True, kw_only=True)
class GSS(Strategy):
    """Greedy gradient-based sample selection (Aljundi et al. 2019, arXiv 1903.08671, algorithm 2).

    An example's score is 1 plus the largest cosine of its gradient with those of `compared` stored
    examples. While the memory fills, every incoming example is stored. Afterwards, an incoming
    example with a score below 1 may replace a stored one, which is drawn in proportion to the
    scores. It does so with the probability of the stored example's share in the sum of both scores.
    """

    classes_only: ClassVar[bool] = True  # its memory holds labels
    task_weighting: ClassVar[TaskWeighting | None] = "applied"

    lr: Rate = 0.1
    buffer_size: Count = 200  # examples kept
    replay_batch: Count = 10  # examples replayed per step
    compared: Count = 10  # stored examples whose gradients an incoming one is compared with

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        like = next(iter(params.values()))
        integers = torch.zeros(self.buffer_size, dtype=torch.long, device=like.device)
        zeros = like.new_zeros(self.buffer_size)
        x = like.new_zeros(self.buffer_size, *net.shape)
        return {"memory": Batch(x, integers, integers, zeros), "score": zeros}

    def step(self, net: Net, state: State, data: StepData) -> State:
        incoming = data.incoming
        # Incoming examples may replace stored ones, and are the padding of what is drawn.
        pool = self.own_examples(state).concat(incoming)
        random = net.uniform(2, self.buffer_size + len(incoming.x))
        keys, decisions = random.tensor_split([self.buffer_size], dim=1)
        replayed = drawn(pool, keys[0], self.replay_batch)
        gradient = net.grad(state.params, data.combine(replayed))
        after = net.update(state, gradient, self.lr)
        compared = drawn(pool, keys[1], self.compared)
        scores = self._scores(net, after.params, incoming, compared)
        rows, score = self._offer(state, incoming.weight, scores, decisions)
        return after.replace(extra={"memory": pool.at(rows), "score": score})

    def own_examples(self, state: State) -> Batch:
        stored: Batch = state.extra["memory"]
        return stored

    def own_replay(self, before: Int64[np.ndarray, " step"]) -> Int64[np.ndarray, " step"]:
        # Every incoming example is stored until the memory is full.
        return before.clip(max=min(self.replay_batch, self.buffer_size))

    def _scores(
        self, net: Net, params: Params, incoming: Batch, compared: Batch
    ) -> Float[Tensor, " row"]:
        """The score of each incoming example; 0.1 if there is none to compare it with."""
        is_real = compared.weight > 0
        cosines = gradient_cosines(net, params, incoming, compared)
        largest = torch.where(is_real, cosines, -2.0).amax(1)
        return torch.where(is_real.any(), 1 + largest, 0.1)

    def _offer(
        self,
        state: State,
        weight: Float[Tensor, " row"],
        scores: Float[Tensor, " row"],
        decisions: Float[Tensor, "2 row"],
    ) -> tuple[Int64[Tensor, " slot"], Float[Tensor, " slot"]]:
        """Offer the incoming examples to the memory, one by one.

        The first row of `decisions` chooses the stored example that each may replace, the second
        one decides about it.

        Returns:
            The row of each slot's example, among stored and then incoming ones, and its score.
        """
        score = state.extra["score"]
        count = self.own_examples(state).weight.sum()
        slots = torch.arange(self.buffer_size, device=score.device)
        rows = slots
        for row, own_score in enumerate(scores):
            pick, luck = decisions[:, row]
            is_full = count >= self.buffer_size
            # A draw in proportion to the scores, by their cumulative sum.
            below = score.cumsum(0) <= pick * score.sum()
            candidate = below.sum().clamp(max=self.buffer_size - 1)
            probability = score[candidate] / (score[candidate] + own_score)
            is_replaced = (own_score < 1) & (luck < probability)
            is_stored = (weight[row] > 0) & (~is_full | is_replaced)
            here = is_stored & (slots == torch.where(is_full, candidate, count.long()))
            rows = torch.where(here, self.buffer_size + row, rows)
            score = torch.where(here, own_score, score)
            count = (count + is_stored).clamp(max=self.buffer_size)
        return rows, score


def drawn(pool: Batch, keys: Float[Tensor, " slot"], count: int) -> Batch:
    """The stored examples of the lowest keys; if fewer are stored, the rest is padding.

    Args:
        pool: The slots of the memory, and then the incoming examples, which padding repeats.
        keys: A random number for each slot.
        count: The number of examples.
    """
    slots = len(keys)
    # Occupied slots come first: their keys are below 0.
    order = (keys - pool.weight[:slots]).argsort()[:count]
    weight = pool.weight[order]
    # Padding must look like examples, since batch normalisation mixes the rows.
    padding = torch.arange(len(order), device=keys.device) % (len(pool.x) - slots)
    return pool.at(torch.where(weight > 0, order, slots + padding))._replace(weight=weight)
