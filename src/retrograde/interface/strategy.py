"""The interface of a strategy: one frozen dataclass of pure functions, written for one replicate."""

from abc import abstractmethod
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retrograde.interface.batch import Batch
from retrograde.interface.net import Net
from retrograde.interface.state import State
from retrograde.optim import Params
from retrograde.parts.part import Part
from retrograde.streams.memory import Memory
from retrograde.streams.schedule import Schedule
from retrograde.streams.stream import Scenario

Weighing = Literal["heeds", "has nothing to weigh", "refuses"]
"""The answer of a strategy to `weighting=tasks`.

It weighs its losses on arrivals and on past examples 1 to t - 1 at task t; or no loss on past examples stands beside the one
on arrivals; or cells of that weighting are refused before anything trains.
"""

Ahead = Literal["length", "classes"]
"""A fact of the whole stream that changes what a strategy learns before the stream has shown it.

`length`: how many tasks, or classes of them, there are. `classes`: which output units come later, since their outputs are in
the loss. A head has a unit for every class of the whole stream in any case.
"""


class Arrival(NamedTuple):
    """What comes in at one step: the new mini-batch, what was drawn from memory, and both together."""

    new: Batch
    old: Batch
    with_memory: Batch
    written: Int64[
        Tensor, " new"
    ]  # the slot of the memory into which each new example goes after this step; its size: nowhere
    drawn: Int64[Tensor, " old"]  # the slot from which each old one comes
    now: Float[Tensor, ""]  # what a loss on arrivals weighs
    past: Float[Tensor, ""]  # what one on the past weighs beside it
    share: Float[Tensor, ""] | None = (
        None  # the arrivals' part of one loss on both; None: every example weighs the same
    )

    def beside(self, old: Batch) -> Batch:
        """The new examples and some past ones as one batch, weighed as the benchmark says."""
        both = self.new.beside(old)
        if self.share is None:
            return both
        return both._replace(weight=shared(self.new.weight, old.weight, self.share))


def shared(
    new: Float[Tensor, " new"], old: Float[Tensor, " old"], now: Float[Tensor, ""]
) -> Float[Tensor, " row"]:
    """Weights of arrivals and of what is replayed, of which the arrivals' are the part `now` of the sum, or all there is."""
    now = torch.where(old.sum() > 0, now, 1.0)
    parts = [
        part * weight / weight.sum().clamp(min=1) for part, weight in ((now, new), (1 - now, old))
    ]
    return (new.sum() + old.sum()) * torch.cat(parts)


class Finished(NamedTuple):
    """What a task leaves: all of its training examples, and what the memory holds now, slot by slot, padded."""

    examples: Batch
    slot: Int64[Tensor, " row"]  # where the memory holds each of them; its size: nowhere
    memory: Batch | None


class Lesson(NamedTuple):
    """What one step of preparation is given, all of it of classes that the stream does not have."""

    trajectory: Batch  # a few classes, one after the other
    query: Batch  # other examples of these
    rehearsed: Batch  # examples of any held-out class

    def judged(self) -> Batch:
        """The query and what is rehearsed as one batch."""
        return self.query.beside(self.rehearsed)


class Strategy(Part):
    """A learning rule. Its dataclass fields are its settings; nothing is stored on `self`."""

    kind: ClassVar[str] = "strategies"
    scenarios: ClassVar[tuple[Scenario, ...]] = ("task", "domain", "class")
    upper_bound: ClassVar[bool] = False  # not a competitor: what the others are measured against
    tried_on: ClassVar[str] = "mlp-16"  # a small model that it takes, for the contract
    weighing: ClassVar[Weighing | None] = (
        None  # None: refuses if its memory replays, else has nothing to weigh
    )

    def declares(self) -> dict[str, str]:
        """Its scenarios, what it trains on and remembers, and the hooks that it defines."""
        hooks = ("prepare", "begin", "init", "step", "trained_on", "choose", "end_task", "predict")
        own = [hook for hook in hooks if getattr(type(self), hook) is not getattr(Strategy, hook)]
        return {
            "kind": "pure strategy" + (", an upper bound" if self.upper_bound else ""),
            "scenarios": ", ".join(self.scenarios),
            "trains on": self.schedule().examples,
            "memory": str(self.remember() or "none"),
            "weighting=tasks": self.weighs(),
            "knows ahead": ", ".join(self.knows()) or "nothing",
            "defines": ", ".join(own),
        }

    def weighs(self) -> Weighing:
        """Its answer to `weighting=tasks`."""
        if self.weighing is not None:
            return self.weighing
        memory = self.remember()
        mixed = self.schedule().examples == "arrivals and memory"
        return "refuses" if mixed or (memory and memory.replayed) else "has nothing to weigh"

    def knows(self) -> tuple[Ahead, ...]:
        """The facts that it uses before the stream has shown them, by its memory and the plain loss.

        Extend it where `net.tasks` changes what is learned; leave `classes` out where the units of classes to come are masked.
        """
        memory = self.remember()
        return ("length", "classes") if memory and memory.knows_length else ("classes",)

    def schedule(self) -> Schedule:
        """What it trains on."""
        return Schedule()

    def remember(self) -> Memory | None:
        """What it may keep of past examples."""
        return None

    def init(self, net: Net, params: Params) -> Params:
        """Tensors of its own that `state.extra` holds from the start."""
        return {}

    def own_examples(self, state: State) -> Batch | None:
        """The past examples that `state.extra` holds, if any, of weight 0 where there is none yet.

        Where it is defined, `own_replay` is too. They count as examples held, as those of a memory do.
        """
        return None

    def own_replay(self, before: Int64[np.ndarray, " step"]) -> Int64[np.ndarray, " step"]:
        """The number of its own examples that each step replays, given how many arrivals came before it."""
        return np.zeros_like(before)

    def prepare(self, net: Net, state: State, lesson: Lesson) -> State:
        """One step of what is learned before the stream begins; where it is defined, the stream must offer lessons."""
        return state

    def begin(self, net: Net, state: State) -> State:
        """What of a preparation the stream starts from; its optimiser starts afresh."""
        return state.replace(slots=net.optimizer.init(state.params))

    @abstractmethod
    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        """The update for one mini-batch."""

    def trained_on(self, net: Net, state: State, arrival: Arrival) -> Batch:
        """The examples that a step from `state` trains on; asked for where the model keeps running statistics.

        These follow them: in every step, by one pass in training mode at the parameters before the step. Override it where some
        of what is drawn from memory is only looked at, or where the strategy replays examples of its own.
        """
        return arrival.with_memory

    def choose(self, net: Net, state: State, examples: Batch, share: int) -> Float[Tensor, " row"]:
        """Rank the examples of a task for a memory of exemplars, which keeps the lowest of each class.

        It keeps no more than `share` of a class, so that examples beyond need no order.
        """
        return net.chance(len(examples.x))

    def end_task(self, net: Net, state: State, finished: Finished) -> State:
        """Consolidate after a task."""
        return state

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        """A score for each output unit, of which the engine takes the highest; `task` is told in task-incremental only."""
        return net.logits(state.params, x, task)


def known(scenario: Scenario, ahead: tuple[Ahead, ...]) -> list[str]:
    """Keep the facts that a scenario has: classes are to come in class-incremental streams alone."""
    return [fact for fact in ahead if fact != "classes" or scenario == "class"]


def prepares(strategy: Strategy) -> bool:
    """Whether it learns from other classes before the stream begins."""
    return type(strategy).prepare is not Strategy.prepare
