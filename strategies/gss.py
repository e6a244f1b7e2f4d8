"""GSS: a memory of examples whose gradients point in different directions."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from retrograde import Arrival, Batch, Count, Net, Params, Rate, State, Strategy, Weighing


@dataclass(frozen=True, kw_only=True)
class GSS(Strategy):
    """Gradient-based sample selection, greedy (Aljundi et al. 2019, arXiv 1903.08671, algorithm 2), with replay.

    An example's score is 1 plus the largest cosine of its gradient with those of `compare` examples held. While the memory
    fills, every arrival enters. Then one of a score below 1 may replace an old one: that is drawn in proportion to the scores,
    and gives way with the probability of its part in the sum of both scores.
    """

    weighing: ClassVar[Weighing | None] = "heeds"

    lr: Rate = 0.1
    memory: Count = 200  # examples kept
    draw: Count = 10  # examples replayed per step
    compare: Count = 10  # examples of the memory whose gradients an arrival's is compared with

    def init(self, net: Net, params: Params) -> Params:
        like = next(iter(params.values()))
        number = torch.zeros(self.memory, dtype=torch.long, device=like.device)
        none = like.new_zeros(self.memory)
        return {
            "x": like.new_zeros(self.memory, *net.shape),
            "y": number,
            "task": number,
            "weight": none,
            "score": none,
        }

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        new = arrival.new
        draws, luck = self._by_chance(net, new)
        together = arrival.beside(self._drawn(state, draws[0], self.draw, new))
        after = net.descend(state, net.grad(state.params, together), self.lr)
        scores = self._scores(
            net, after.params, new, self._drawn(state, draws[1], self.compare, new)
        )
        return after.replace(extra=self._kept(state.extra, new, scores, luck))

    def trained_on(self, net: Net, state: State, arrival: Arrival) -> Batch:
        draws, _ = self._by_chance(net, arrival.new)
        return arrival.beside(self._drawn(state, draws[0], self.draw, arrival.new))

    def _by_chance(
        self, net: Net, new: Batch
    ) -> tuple[Float[Tensor, "2 slot"], Float[Tensor, "2 row"]]:
        """Draw the numbers that decide which examples are replayed and compared with, and which arrivals are kept."""
        chance = net.chance(2, self.memory + len(new.x))
        return chance[:, : self.memory], chance[:, self.memory :]

    def own_examples(self, state: State) -> Batch:
        return Batch(*(state.extra[name] for name in Batch._fields))

    def own_replay(self, before: Int64[np.ndarray, " step"]) -> Int64[np.ndarray, " step"]:
        most = min(self.draw, self.memory)
        return before.clip(max=most)  # every arrival enters until the memory is full

    def _drawn(self, state: State, chance: Float[Tensor, " slot"], count: int, new: Batch) -> Batch:
        """So many different examples of those held; where there are fewer, padding, which repeats arrivals."""
        held = self.own_examples(state)
        drawn = held.at((chance - held.weight).argsort()[:count])  # those held come first
        spare = new.at(torch.arange(len(drawn.x), device=chance.device) % len(new.x))
        x = torch.where(
            _wide(drawn.weight > 0, drawn.x), drawn.x, spare.x
        )  # rows see each other in batch normalisation
        return drawn._replace(x=x)

    def _scores(self, net: Net, params: Params, new: Batch, held: Batch) -> Float[Tensor, " row"]:
        """1 plus the largest cosine of the gradient of each new example with those of what is held; 0.1 where nothing is."""

        def gradients(batch: Batch) -> list[Float[Tensor, "row _"]]:
            """Of each row, layer by layer."""
            one = Batch(
                *(part[:, None] for part in batch._replace(weight=torch.ones_like(batch.weight)))
            )
            return [each.flatten(1) for each in net.grads(params, one).values()]

        def lengths(rows: list[Float[Tensor, "row _"]]) -> Float[Tensor, " row"]:
            return torch.stack([(each**2).sum(1) for each in rows]).sum(0).sqrt()

        ours, theirs = gradients(new), gradients(held)
        along = torch.stack([mine @ other.T for mine, other in zip(ours, theirs, strict=True)]).sum(
            0
        )
        cosine = along / (lengths(ours)[:, None] * lengths(theirs)).clamp(
            min=torch.finfo(along.dtype).tiny
        )
        return torch.where(
            held.weight.sum() > 0, 1 + torch.where(held.weight > 0, cosine, -2.0).amax(1), 0.1
        )

    def _kept(
        self,
        held: Params,
        new: Batch,
        scores: Float[Tensor, " row"],
        chance: Float[Tensor, "2 row"],
    ) -> Params:
        """What is held after the arrivals have come one by one."""
        score, count = held["score"], held["weight"].sum()
        source = torch.full((self.memory,), -1, device=score.device)
        for row, (mine, pick, luck, weight) in enumerate(
            zip(scores, *chance, new.weight, strict=True)
        ):
            full = count >= self.memory
            candidate = (score.cumsum(0) <= pick * score.sum()).sum().clamp(max=self.memory - 1)
            gives_way = (mine < 1) & (luck < score[candidate] / (score[candidate] + mine))
            slot = torch.where(full, candidate, count.long())
            here = (
                (torch.arange(self.memory, device=score.device) == slot)
                & (weight > 0)
                & (~full | gives_way)
            )
            source, score = torch.where(here, row, source), torch.where(here, mine, score)
            count = count + (here & ~full).sum()
        rows = new.at(source.clamp(min=0))._asdict()
        return {
            name: torch.where(_wide(source >= 0, row), row, held[name])
            for name, row in rows.items()
        } | {"score": score}


def _wide(mask: Bool[Tensor, " slot"], like: Tensor) -> Bool[Tensor, "slot *_"]:
    return mask.reshape(-1, *[1] * (like.ndim - 1))
