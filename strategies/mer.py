"""Meta-experience replay: Reptile over steps on single examples, new and replayed."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from retrograde import (
    POLICIES,
    Arrival,
    Batch,
    Count,
    Finished,
    Memory,
    Net,
    Params,
    Policy,
    Rate,
    Schedule,
    State,
    Strategy,
    Weighing,
    sgd,
)


@dataclass(frozen=True)
class MER(Strategy):
    """Meta-experience replay (Riemer et al. 2019, arXiv 1810.11910, algorithm 1); one example at a time, as often as `batches`.

    Each batch is the new example and `draw` old ones, one SGD step for each; then the parameters go the share `beta` of the way
    that these steps led, and after the last batch the share `gamma` of the way since the first. Algorithm 6 is `batches=1` with
    `current=last`, its gamma being `beta` here.

    Where the benchmark's `steps` end a task before the last example has had all of its batches, the
    step of `gamma` is taken over those that it had, so that no such step spans two tasks. The
    benchmark's optimiser has no part in the update.
    """

    weighing: ClassVar[Weighing | None] = "refuses"  # each loss is that of one example

    lr: Rate = 0.1
    memory: Count = 200  # examples kept
    draw: Count = 10  # examples replayed in each batch
    batches: Count = 5  # for each new example; they replace the benchmark's glances
    beta: Rate = 0.01
    gamma: Rate = 1.0
    current: Literal["first", "last"] = "first"  # where the new example stands in its batch
    policy: Policy = "reservoir"

    def schedule(self) -> Schedule:
        return Schedule(batch=1, glances=self.batches)

    def remember(self) -> Memory:
        return POLICIES[self.policy](self.memory, self.draw)

    def init(self, net: Net, params: Params) -> Params:
        count = next(iter(params.values())).new_zeros(())
        return {
            "count": count,
            **{f"start.{name}": value.clone() for name, value in params.items()},
        }

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        batch = state.extra["count"]
        start = _where(batch == 0, state.params, _start(state))
        params = _toward(state.params, self._descended(net, state.params, arrival), self.beta)
        params = _where(batch == self.batches - 1, _toward(start, params, self.gamma), params)
        extra = {
            "count": (batch + 1) % self.batches,
            **{f"start.{name}": value for name, value in start.items()},
        }
        return state.replace(params=params, extra=extra)

    def end_task(self, net: Net, state: State, finished: Finished) -> State:
        # The benchmark's number of steps may cut the last example's batches short: the next task must not go on with them.
        cut = state.extra["count"] > 0
        params = _where(cut, _toward(_start(state), state.params, self.gamma), state.params)
        return state.replace(
            params=params, extra=state.extra | {"count": torch.zeros_like(state.extra["count"])}
        )

    def _descended(self, net: Net, params: Params, arrival: Arrival) -> Params:
        order = [*range(1, 1 + self.draw), 0] if self.current == "last" else range(1 + self.draw)
        for row in order:
            one = Batch(*(part[row : row + 1] for part in arrival.with_memory))
            params = sgd(params, net.grad(params, one), self.lr)
        return params


def _start(state: State) -> Params:
    """The parameters before the first batch of the example."""
    return {name: state.extra[f"start.{name}"] for name in state.params}


def _toward(start: Params, end: Params, share: float) -> Params:
    """That share of the way from start to end."""
    return {name: value + share * (end[name] - value) for name, value in start.items()}


def _where(condition: torch.Tensor, yes: Params, no: Params) -> Params:
    return {name: torch.where(condition, value, no[name]) for name, value in yes.items()}
