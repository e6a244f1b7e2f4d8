"""GSS: a memory of examples whose gradients point in different directions."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from retrograde import Batch, Count, Net, Params, Rate, State, StepData, Strategy, TaskWeighting


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
        draw_keys, decisions = self._random_numbers(net, incoming)
        replayed = self._draw(state, draw_keys[0], self.replay_batch, incoming)
        gradient = net.grad(state.params, data.combine(replayed))
        after = net.update(state, gradient, self.lr)
        compared = self._draw(state, draw_keys[1], self.compared, incoming)
        scores = self._scores(net, after.params, incoming, compared)
        memory, score = self._offer(state, incoming, scores, decisions)
        return after.replace(extra={"memory": memory, "score": score})

    def _random_numbers(
        self, net: Net, incoming: Batch
    ) -> tuple[Float[Tensor, "2 slot"], Float[Tensor, "2 row"]]:
        """Draw the random numbers of a step.

        Returns:
            The keys that draw the replayed and the compared examples, and the numbers that choose
            the stored examples to replace and decide about their replacement.
        """
        random = net.uniform(2, self.buffer_size + len(incoming.x))
        return random[:, : self.buffer_size], random[:, self.buffer_size :]

    def own_examples(self, state: State) -> Batch:
        stored: Batch = state.extra["memory"]
        return stored

    def own_replay(self, before: Int64[np.ndarray, " step"]) -> Int64[np.ndarray, " step"]:
        # Every incoming example is stored until the memory is full.
        most = min(self.replay_batch, self.buffer_size)
        return before.clip(max=most)

    def _draw(
        self, state: State, keys: Float[Tensor, " slot"], count: int, incoming: Batch
    ) -> Batch:
        """Draw different stored examples.

        Args:
            state: the state, with the stored examples.
            keys: a random number for each slot; the lowest ones are drawn.
            count: the number of examples; if fewer are stored, the rest is padding.
            incoming: the incoming examples, which padding repeats.
        """
        stored = self.own_examples(state)
        # Occupied slots come first: their keys are below 0.
        order = (keys - stored.weight).argsort()
        drawn = stored.at(order[:count])
        places = torch.arange(len(drawn.x), device=keys.device)
        padding = incoming.at(places % len(incoming.x))
        # Padding must look like examples, since batch normalisation mixes the rows.
        is_real = _broadcastable(drawn.weight > 0, drawn.x)
        x = torch.where(is_real, drawn.x, padding.x)
        return drawn._replace(x=x)

    def _scores(
        self, net: Net, params: Params, incoming: Batch, compared: Batch
    ) -> Float[Tensor, " row"]:
        """The score of each incoming example.

        It is 1 plus the largest cosine of its gradient with those of the compared examples, and 0.1
        if there are none.
        """
        gradients = _gradients(net, params, incoming)
        others = _gradients(net, params, compared)
        products = [mine @ other.T for mine, other in zip(gradients, others, strict=True)]
        dots = torch.stack(products).sum(0)
        norms = _norms(gradients)[:, None] * _norms(others)
        cosine = dots / norms.clamp(min=torch.finfo(dots.dtype).tiny)
        largest = torch.where(compared.weight > 0, cosine, -2.0).amax(1)
        any_stored = compared.weight.sum() > 0
        return torch.where(any_stored, 1 + largest, 0.1)

    def _offer(
        self,
        state: State,
        incoming: Batch,
        scores: Float[Tensor, " row"],
        decisions: Float[Tensor, "2 row"],
    ) -> tuple[Batch, Float[Tensor, " slot"]]:
        """The memory and its scores after the incoming examples have been offered one by one.

        Args:
            state: the state, with the stored examples.
            incoming: the incoming examples.
            scores: their scores.
            decisions: for each, a number that chooses the stored example to replace, and one that
                decides about the replacement.
        """
        stored = self.own_examples(state)
        score = state.extra["score"]
        count = stored.weight.sum()
        slots = torch.arange(self.buffer_size, device=score.device)
        # The incoming row that ends up in each slot; -1: the slot keeps its example.
        source = torch.full((self.buffer_size,), -1, device=score.device)
        offers = zip(scores, *decisions, incoming.weight, strict=True)
        for row, (own_score, pick, decision, weight) in enumerate(offers):
            full = count >= self.buffer_size
            # A draw in proportion to the scores, by their cumulative sum.
            below = score.cumsum(0) <= pick * score.sum()
            candidate = below.sum().clamp(max=self.buffer_size - 1)
            other_score = score[candidate]
            probability = other_score / (other_score + own_score)
            is_replaced = (own_score < 1) & (decision < probability)
            slot = torch.where(full, candidate, count.long())
            here = (slots == slot) & (weight > 0) & (~full | is_replaced)
            source = torch.where(here, row, source)
            score = torch.where(here, own_score, score)
            count = count + (here & ~full).sum()
        offered = incoming.at(source.clamp(min=0))
        x, y, task, weight = (
            torch.where(_broadcastable(source >= 0, new), new, old)
            for new, old in zip(offered[:4], stored[:4], strict=True)
        )
        return Batch(x, y, task, weight), score


def _gradients(net: Net, params: Params, batch: Batch) -> list[Float[Tensor, "row _"]]:
    """The gradient of each row, layer by layer."""
    # Every row is a batch of one, padding included, whose gradient would be 0 by its weight.
    weighted = batch._replace(weight=torch.ones_like(batch.weight))
    single = weighted.map(lambda column: column[:, None])
    gradients = net.grad_each(params, single)
    return [gradient.flatten(1) for gradient in gradients.values()]


def _norms(rows: list[Float[Tensor, "row _"]]) -> Float[Tensor, " row"]:
    """The norm of each row's gradient over all layers."""
    squares = [(layer**2).sum(1) for layer in rows]
    return torch.stack(squares).sum(0).sqrt()


def _broadcastable(mask: Bool[Tensor, " slot"], like: Tensor) -> Bool[Tensor, "slot *_"]:
    """A mask of the first axis, with as many axes as `like`."""
    return mask.reshape(-1, *[1] * (like.ndim - 1))
