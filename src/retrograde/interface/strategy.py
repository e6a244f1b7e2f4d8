"""The interface of a strategy: a frozen dataclass of pure functions, written for one replicate."""

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

TaskWeighting = Literal["applied", "not needed", "refused"]
"""The answer of a strategy to `weighting=tasks`.

`applied`: its losses on incoming and on past examples have weights 1 and t - 1 at task t.
`not needed`: it adds no loss on past examples to that on incoming ones.
`refused`: cells of that weighting are refused before anything trains.
"""

FutureFact = Literal["length", "classes"]
"""A fact of the whole stream that changes what a strategy learns before the stream has shown it.

`length`: the number of tasks, or of their classes. `classes`: the output units that come later,
since their outputs are in the loss. A head has a unit for every class of the whole stream in any
case.
"""


_HOOKS = (
    "pretrain_step",
    "after_pretraining",
    "init",
    "step",
    "trained_on",
    "rank_exemplars",
    "end_task",
    "predict",
)
"""The methods that a strategy may define, as `declares` lists them."""


class StepData(NamedTuple):
    """The examples of one step.

    Args:
        new: The incoming mini-batch.
        old: The mini-batch replayed from memory.
        with_memory: Both combined, with the weights of the benchmark's `weighting`.
        written: The memory slot into which each incoming example is written after this step; the
            memory's size stands for none.
        drawn: The memory slot that each replayed example comes from.
        now: The weight of a loss on incoming examples.
        past: The weight of a loss on past examples that is added to it.
        share: The share of incoming examples in one loss on both; None: all examples weigh the
            same.
    """

    incoming: Batch
    replayed: Batch
    combined: Batch
    incoming_slots: Int64[Tensor, " incoming"]
    replayed_slots: Int64[Tensor, " replayed"]
    incoming_weight: Float[Tensor, ""]
    replay_weight: Float[Tensor, ""]
    incoming_share: Float[Tensor, ""] | None = None

    def combine(self, old: Batch) -> Batch:
        """The incoming and some past examples as one batch, with the benchmark's weights."""
        both = self.incoming.concat(old)
        if self.incoming_share is None:
            return both
        return both._replace(
            weight=share_weight(self.incoming.weight, old.weight, self.incoming_share)
        )


def share_weight(
    new: Float[Tensor, " new"],
    old: Float[Tensor, " old"],
    now: Float[Tensor, ""],
) -> Float[Tensor, " row"]:
    """Share the total weight of a batch between its incoming and its replayed examples.

    Args:
        new: The weights of incoming examples; 0 for padding.
        old: The weights of replayed examples; 0 for padding.
        now: The share of the incoming examples, which have all if nothing is replayed.

    Returns:
        The weights of the incoming and then of the replayed examples, with the sum unchanged.
    """
    now = torch.where(old.sum() > 0, now, 1.0)
    incoming = now * new / new.sum().clamp(min=1)
    replayed = (1 - now) * old / old.sum().clamp(min=1)
    return (new.sum() + old.sum()) * torch.cat([incoming, replayed])


class TaskEnd(NamedTuple):
    """A finished task.

    Args:
        examples: All of its training examples.
        slot: The memory slot that holds each of them; the memory's size stands for none.
        memory: The content of the memory, slot by slot; slots that are not filled are padding.
    """

    examples: Batch
    slots: Int64[Tensor, " row"]
    memory: Batch | None


class PretrainingEpisode(NamedTuple):
    """The examples of one pretraining step, all of classes that the stream does not have.

    Args:
        trajectory: Examples of a few classes, one class after the other.
        query: Other examples of these classes.
        rehearsed: Examples of any held-out class.
    """

    trajectory: Batch
    query: Batch
    remember_set: Batch

    def meta_query(self) -> Batch:
        """The query and the rehearsed examples as one batch."""
        return self.query.concat(self.remember_set)


class Strategy(Part):
    """A learning rule. Its dataclass fields are its settings; nothing is stored on `self`."""

    kind: ClassVar[str] = "strategies"
    scenarios: ClassVar[tuple[Scenario, ...]] = ("task", "domain", "class")
    # Not a competitor: the others are measured against it.
    upper_bound: ClassVar[bool] = False
    # A small model that the strategy accepts, for the contract.
    contract_model: ClassVar[str] = "mlp-16"
    # None: it refuses if its memory replays, and otherwise has nothing to weigh.
    task_weighting: ClassVar[TaskWeighting | None] = None

    def declares(self) -> dict[str, str]:
        """The scenarios, the examples trained on, the memory and the hooks defined, as text."""
        bound = ", an upper bound" if self.upper_bound else ""
        own = [hook for hook in _HOOKS if self._defines(hook)]
        return {
            "kind": "pure strategy" + bound,
            "scenarios": ", ".join(self.scenarios),
            "trains on": self.schedule().examples,
            "memory": str(self.memory() or "none"),
            "weighting=tasks": self.handles_weighting(),
            "knows ahead": ", ".join(self.knows_ahead()) or "nothing",
            "defines": ", ".join(own),
        }

    def _defines(self, hook: str) -> bool:
        return getattr(type(self), hook) is not getattr(Strategy, hook)

    def handles_weighting(self) -> TaskWeighting:
        """The answer to `weighting=tasks`."""
        if self.task_weighting is not None:
            return self.task_weighting
        memory = self.memory()
        mixed = self.schedule().examples == "incoming and memory"
        replays = mixed or (memory and memory.replayed)
        return "refused" if replays else "not needed"

    def knows_ahead(self) -> tuple[FutureFact, ...]:
        """The facts of the stream that are used before it has shown them.

        They follow from the memory and from the plain loss. Extend the method if `net.tasks`
        changes what is learned; leave `classes` out if the units of classes to come are masked.
        """
        memory = self.memory()
        return ("length", "classes") if memory and memory.knows_length else ("classes",)

    def schedule(self) -> Schedule:
        """The schedule of the examples to train on."""
        return Schedule()

    def memory(self) -> Memory | None:
        """The memory of past examples; None: no memory."""
        return None

    def init(self, net: Net, params: Params) -> Params:
        """The tensors of the strategy's own that `state.extra` holds from the start."""
        return {}

    def own_examples(self, state: State) -> Batch | None:
        """The past examples in `state.extra`, if any; a place without an example has weight 0.

        They count as examples held, as those of a memory do. Define `own_replay` as well.
        """
        return None

    def own_replay(self, before: Int64[np.ndarray, " step"]) -> Int64[np.ndarray, " step"]:
        """The number of examples of `own_examples` that each step replays.

        Args:
            before: The number of arrivals that came before each step.
        """
        return np.zeros_like(before)

    def pretrain_step(
        self,
        net: Net,
        state: State,
        lesson: PretrainingEpisode,
    ) -> State:
        """Take one pretraining step; if it is defined, the stream must have data to pretrain on."""
        return state

    def after_pretraining(self, net: Net, state: State) -> State:
        """The state that the stream starts from, given that after pretraining.

        The optimiser starts afresh.
        """
        return state.replace(slots=net.optimizer.init(state.params))

    @abstractmethod
    def step(
        self,
        net: Net,
        state: State,
        arrival: StepData,
    ) -> State:
        """Update the state with one mini-batch.

        Args:
            net: The model, its loss and the optimiser.
            state: The state before the step.
            arrival: The incoming and the replayed examples.

        Returns:
            The state after the step.
        """

    def trained_on(
        self,
        net: Net,
        state: State,
        arrival: StepData,
    ) -> Batch:
        """The examples that a step from `state` trains on.

        Running statistics of a model that keeps them follow these examples, in every step by one
        pass in training mode at the parameters before the step. Override the method if some of the
        replayed examples are not trained on, or if the strategy replays examples of its own.
        """
        return arrival.combined

    def rank_exemplars(
        self,
        net: Net,
        state: State,
        examples: Batch,
        share: int,
    ) -> Float[Tensor, " row"]:
        """Rank the examples of a task for a memory of exemplars.

        The memory keeps the lowest of each class, and no more than `share` of them: examples beyond
        need no order.
        """
        return net.uniform(len(examples.x))

    def end_task(
        self,
        net: Net,
        state: State,
        finished: TaskEnd,
    ) -> State:
        """Update the state after a task."""
        return state

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        """A score for each output unit; the highest one is the prediction.

        Args:
            net: The model in evaluation mode.
            state: The state.
            x: Test examples.
            task: The number of the task of each in task-incremental streams; None in others.
        """
        return net.logits(state.params, x, task)


def facts_used(scenario: Scenario, ahead: tuple[FutureFact, ...]) -> list[str]:
    """The facts known ahead that a scenario has.

    Classes are to come in class-incremental streams only.
    """
    return [fact for fact in ahead if fact != "classes" or scenario == "class"]


def pretrains(strategy: Strategy) -> bool:
    """True if the strategy pretrains on other classes before the stream begins."""
    return type(strategy).pretrain_step is not Strategy.pretrain_step
