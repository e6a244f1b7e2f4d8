"""Replay, at every step or mixed with the incoming examples: what its strategies share."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from retrograde.interface.batch import Batch
from retrograde.interface.net import Net
from retrograde.interface.state import State
from retrograde.interface.strategy import Strategy, TaskWeighting
from retrograde.methods.class_statistics import class_indicators
from retrograde.methods.herding import class_means, herding_rounds
from retrograde.parts.fields import Count
from retrograde.streams.memory import POLICIES, ExemplarMemory, Memory, Policy
from retrograde.streams.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Replay(Strategy):
    """The settings of a replay memory.

    A subclass applies the benchmark's `weighting` to incoming and replayed examples.
    """

    task_weighting: ClassVar[TaskWeighting | None] = "applied"

    buffer_size: Count = 200  # examples kept
    replay_batch: Count = 10  # examples drawn per step
    policy: Policy = "reservoir"

    def memory(self) -> Memory:
        return POLICIES[self.policy](self.buffer_size, self.replay_batch)


@dataclass(frozen=True, kw_only=True)
class ExemplarReplay(Strategy):
    """A memory of exemplars, which form one training set with the incoming examples.

    Herding chooses them at the end of an experience, on features of norm 1 (Rebuffi et al. 2017,
    arXiv 1611.07725, algorithm 4).
    """

    buffer_size: Count = 200  # exemplars kept, in equal shares of the classes so far

    def schedule(self) -> Schedule:
        return Schedule("incoming and memory")

    def memory(self) -> Memory:
        # Nothing is drawn at a step: the schedule mixes the exemplars in.
        return ExemplarMemory(self.buffer_size, 0)

    def rank_exemplars(
        self, net: Net, state: State, examples: Batch, share: int
    ) -> Float[Tensor, " row"]:
        features = normalize(net.in_eval_mode().features(state.params, examples.x))
        members = class_indicators(examples, net.outputs) > 0
        means = normalize(class_means(features, members))
        rounds = min(share, len(examples.x))
        return herding_rounds(features, members, means, rounds).to(features.dtype)
