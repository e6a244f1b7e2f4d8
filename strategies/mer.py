"""Meta-experience replay: Reptile over steps on single incoming and replayed examples."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from retrograde import (
    POLICIES,
    Count,
    ExperienceEnd,
    Memory,
    Net,
    Params,
    Policy,
    Rate,
    Schedule,
    State,
    StepData,
    Strategy,
    TaskWeighting,
    sgd,
)


@dataclass(frozen=True)
class MER(Strategy):
    """Meta-experience replay (Riemer et al. 2019, arXiv 1810.11910, algorithm 1).

    Incoming examples are learned one at a time, in `batches` batches each. A batch is the incoming
    example and `replay_batch` replayed ones, with one SGD step for each. Then the parameters move
    the share `beta` of the way of these steps, and after the last batch the share `gamma` of the
    way since the first. Algorithm 6 is `batches=1` with `current=last`; its gamma is `beta` here.

    If the benchmark's `steps` end a task before the last example has had all of its batches, the
    step of `gamma` is taken over those that it had, so that no such step spans two tasks. The
    benchmark's optimiser is not used.
    """

    task_weighting: ClassVar[TaskWeighting | None] = "refused"  # each loss is of one example

    lr: Rate = 0.1
    buffer_size: Count = 200  # examples kept
    replay_batch: Count = 10  # examples replayed in each batch
    batches: Count = 5  # for each incoming example; instead of the benchmark's updates
    beta: Rate = 0.01
    gamma: Rate = 1.0
    current: Literal["first", "last"] = "first"  # the place of the incoming example in its batch
    policy: Policy = "reservoir"

    def schedule(self) -> Schedule:
        return Schedule(batch_size=1, updates_per_batch=self.batches)

    def memory(self) -> Memory:
        return POLICIES[self.policy](self.buffer_size, self.replay_batch)

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        count = next(iter(params.values())).new_zeros(())
        return {"count": count, "start": params}

    def step(self, net: Net, state: State, data: StepData) -> State:
        # The number of the batch is data, so both branches are computed and one is selected.
        batch = state.extra["count"]
        start = _where(batch == 0, state.params, state.extra["start"])
        end = self._after_batch(net, state.params, data)
        params = _interpolate(state.params, end, self.beta)
        outer = _interpolate(start, params, self.gamma)
        params = _where(batch == self.batches - 1, outer, params)
        count = (batch + 1) % self.batches
        return state.replace(params=params, extra={"count": count, "start": start})

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        # The benchmark's number of steps may cut the last example's batches short: the next task
        # must not continue with them.
        count = state.extra["count"]
        outer = _interpolate(state.extra["start"], state.params, self.gamma)
        params = _where(count > 0, outer, state.params)
        extra = state.extra | {"count": torch.zeros_like(count)}
        return state.replace(params=params, extra=extra)

    def _after_batch(self, net: Net, params: Params, data: StepData) -> Params:
        """The parameters after one SGD step on each example of a batch."""
        order = list(range(1 + self.replay_batch))
        if self.current == "last":
            # Row 0 of the combined batch is the incoming example.
            order = [*order[1:], 0]
        for row in order:
            example = data.combined.at(slice(row, row + 1))
            params = sgd(params, net.grad(params, example), self.lr)
        return params


def _interpolate(start: Params, end: Params, share: float | torch.Tensor) -> Params:
    """The parameters at a share of the way from start to end."""
    return {name: value + share * (end[name] - value) for name, value in start.items()}


def _where(condition: torch.Tensor, yes: Params, no: Params) -> Params:
    return {name: torch.where(condition, value, no[name]) for name, value in yes.items()}
