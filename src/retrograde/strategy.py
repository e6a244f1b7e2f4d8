"""The interface of a strategy: one frozen dataclass of pure functions, written for one replicate."""

from abc import abstractmethod
from typing import ClassVar, NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor

from retrograde.memory import Memory
from retrograde.net import Batch, Net, State
from retrograde.optim import Params
from retrograde.schedule import Schedule
from retrograde.settings import Part
from retrograde.stream import Scenario


class Arrival(NamedTuple):
    """What comes in at one step: the new mini-batch, what was drawn from memory, and both together."""

    new: Batch
    old: Batch
    with_memory: Batch
    written: Int64[Tensor, " new"]  # the slot of the memory into which each new example goes after this step; its size: nowhere
    drawn: Int64[Tensor, " old"]  # the slot from which each old one comes
    now: Float[Tensor, ""]  # what a loss on arrivals weighs
    past: Float[Tensor, ""]  # what one on the past weighs beside it


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

    def declares(self) -> dict[str, str]:
        """Its scenarios, what it trains on and remembers, and the hooks that it defines."""
        hooks = ("prepare", "begin", "init", "step", "trained_on", "choose", "end_task", "predict")
        own = [hook for hook in hooks if getattr(type(self), hook) is not getattr(Strategy, hook)]
        return {
            "kind": "pure strategy" + (", an upper bound" if self.upper_bound else ""),
            "scenarios": ", ".join(self.scenarios),
            "trains on": self.schedule().examples,
            "memory": str(self.remember() or "none"),
            "defines": ", ".join(own),
        }

    def schedule(self) -> Schedule:
        """What it trains on."""
        return Schedule()

    def remember(self) -> Memory | None:
        """What it may keep of past examples."""
        return None

    def init(self, net: Net, params: Params) -> Params:
        """Tensors of its own that `state.extra` holds from the start."""
        return {}

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
        """Where a memory of exemplars asks: a rank for each example of a task, of which it keeps the lowest of each class.

        It keeps no more than `share` of a class, so that examples beyond need no order.
        """
        return net.chance(len(examples.x))

    def end_task(self, net: Net, state: State, finished: Finished) -> State:
        """Consolidate after a task."""
        return state

    def predict(
        self, net: Net, state: State, x: Float[Tensor, "row *shape"], task: Int64[Tensor, " row"] | None
    ) -> Float[Tensor, "row unit"]:
        """A score for each output unit, of which the engine takes the highest; `task` is told in task-incremental only."""
        return net.logits(state.params, x, task)


def prepares(strategy: Strategy) -> bool:
    """Whether it learns from other classes before the stream begins."""
    return type(strategy).prepare is not Strategy.prepare
