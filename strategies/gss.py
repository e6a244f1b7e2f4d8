"""GSS: a memory of examples whose gradients point in different directions."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from retrograde import Batch, Count, Net, Params, Rate, State, StepData, Strategy, TaskWeighting


@dataclass(frozen=True, kw_only=True)
class GSS(Strategy):
    """Greedy gradient-based sample selection (Aljundi et al. 2019, arXiv 1903.08671, algorithm 2).

    Stored examples are replayed. An example's score is 1 plus the largest cosine of its
    gradient with those of `compare` stored examples. While the memory fills, every incoming example
    enters. Afterwards, an incoming example with a score below 1 may replace a stored one, which is
    drawn in proportion to the scores. It does so with the probability of the stored example's share
    in the sum of both scores.
    """

    task_weighting: ClassVar[TaskWeighting | None] = "applied"

    lr: Rate = 0.1
    buffer_size: Count = 200  # examples kept
    replay_batch: Count = 10  # examples replayed per step
    compared: Count = 10  # stored examples whose gradients an incoming one is compared with

    def init(self, net: Net, params: Params) -> Params:
        like = next(iter(params.values()))
        number = torch.zeros(self.buffer_size, dtype=torch.long, device=like.device)
        none = like.new_zeros(self.buffer_size)
        return {
            "x": like.new_zeros(self.buffer_size, *net.shape),
            "y": number,
            "task": number,
            "weight": none,
            "score": none,
        }

    def step(self, net: Net, state: State, data: StepData) -> State:
        new = data.incoming
        draws, luck = self._by_chance(net, new)
        replayed = self._drawn(state, draws[0], self.replay_batch, new)
        gradient = net.grad(state.params, data.combine(replayed))
        after = net.update(state, gradient, self.lr)
        compared = self._drawn(state, draws[1], self.compared, new)
        scores = self._scores(net, after.params, new, compared)
        kept = self._kept(state.extra, new, scores, luck)
        return after.replace(extra=kept)

    def trained_on(self, net: Net, state: State, data: StepData) -> Batch:
        # The same numbers as in `step`, and so the same examples.
        draws, _ = self._by_chance(net, data.incoming)
        replayed = self._drawn(state, draws[0], self.replay_batch, data.incoming)
        return data.combine(replayed)

    def _by_chance(
        self, net: Net, new: Batch
    ) -> tuple[Float[Tensor, "2 slot"], Float[Tensor, "2 row"]]:
        """Draw the random numbers of a step.

        Returns:
            Numbers that choose the replayed and the compared examples, and numbers that choose the
            stored examples to replace and decide about their replacement.
        """
        chance = net.uniform(2, self.buffer_size + len(new.x))
        return chance[:, : self.buffer_size], chance[:, self.buffer_size :]

    def own_examples(self, state: State) -> Batch:
        return Batch(*(state.extra[name] for name in Batch._fields))

    def own_replay(self, before: Int64[np.ndarray, " step"]) -> Int64[np.ndarray, " step"]:
        # Every incoming example enters until the memory is full.
        most = min(self.replay_batch, self.buffer_size)
        return before.clip(max=most)

    def _drawn(self, state: State, chance: Float[Tensor, " slot"], count: int, new: Batch) -> Batch:
        """Draw different stored examples.

        Args:
            state: the state, with the stored examples.
            chance: a random number for each slot.
            count: the number of examples; if fewer are stored, the rest is padding.
            new: the incoming examples, which padding repeats.
        """
        stored = self.own_examples(state)
        # Occupied slots come first: their keys are below 0.
        order = (chance - stored.weight).argsort()
        drawn = stored.at(order[:count])
        places = torch.arange(len(drawn.x), device=chance.device)
        spare = new.at(places % len(new.x))
        # Padding must look like examples, since batch normalisation mixes the rows.
        real = _wide(drawn.weight > 0, drawn.x)
        x = torch.where(real, drawn.x, spare.x)
        return drawn._replace(x=x)

    def _scores(self, net: Net, params: Params, new: Batch, held: Batch) -> Float[Tensor, " row"]:
        """The score of each incoming example.

        It is 1 plus the largest cosine of its gradient with those of the examples held, and 0.1 if
        none is held.
        """
        ours = _gradients(net, params, new)
        theirs = _gradients(net, params, held)
        products = [mine @ other.T for mine, other in zip(ours, theirs, strict=True)]
        along = torch.stack(products).sum(0)
        lengths = _lengths(ours)[:, None] * _lengths(theirs)
        cosine = along / lengths.clamp(min=torch.finfo(along.dtype).tiny)
        largest = torch.where(held.weight > 0, cosine, -2.0).amax(1)
        any_held = held.weight.sum() > 0
        return torch.where(any_held, 1 + largest, 0.1)

    def _kept(
        self,
        held: Params,
        new: Batch,
        scores: Float[Tensor, " row"],
        chance: Float[Tensor, "2 row"],
    ) -> Params:
        """The memory after the incoming examples have been offered one by one.

        Args:
            held: the memory before.
            new: the incoming examples.
            scores: their scores.
            chance: for each, a number that chooses the stored example to replace, and one that
                decides about the replacement.
        """
        score = held["score"]
        count = held["weight"].sum()
        slots = torch.arange(self.buffer_size, device=score.device)
        # The incoming row that each slot holds in the end; -1: the example from before.
        source = torch.full((self.buffer_size,), -1, device=score.device)
        offers = zip(scores, *chance, new.weight, strict=True)
        for row, (mine, pick, luck, weight) in enumerate(offers):
            full = count >= self.buffer_size
            # A draw in proportion to the scores: the slot where their running sum passes `pick`.
            below = score.cumsum(0) <= pick * score.sum()
            candidate = below.sum().clamp(max=self.buffer_size - 1)
            theirs = score[candidate]
            gives_way = (mine < 1) & (luck < theirs / (theirs + mine))
            slot = torch.where(full, candidate, count.long())
            here = (slots == slot) & (weight > 0) & (~full | gives_way)
            source = torch.where(here, row, source)
            score = torch.where(here, mine, score)
            count = count + (here & ~full).sum()
        rows = new.at(source.clamp(min=0))._asdict()
        after = {
            name: torch.where(_wide(source >= 0, row), row, held[name])
            for name, row in rows.items()
        }
        return after | {"score": score}


def _gradients(net: Net, params: Params, batch: Batch) -> list[Float[Tensor, "row _"]]:
    """The gradient of each row, layer by layer."""
    # Every row is a batch of one; padding too, whose gradient would be 0 by its weight.
    weighted = batch._replace(weight=torch.ones_like(batch.weight))
    single = Batch(*(part[:, None] for part in weighted))
    gradients = net.grad_each(params, single)
    return [gradient.flatten(1) for gradient in gradients.values()]


def _lengths(rows: list[Float[Tensor, "row _"]]) -> Float[Tensor, " row"]:
    """The norm of each row's gradient over all layers."""
    squares = [(layer**2).sum(1) for layer in rows]
    return torch.stack(squares).sum(0).sqrt()


def _wide(mask: Bool[Tensor, " slot"], like: Tensor) -> Bool[Tensor, "slot *_"]:
    """A mask of the first axis, with as many axes as `like`."""
    return mask.reshape(-1, *[1] * (like.ndim - 1))
