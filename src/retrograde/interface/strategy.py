"""The interface of a strategy: a frozen dataclass of pure functions, written for one replicate."""

from abc import abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from retrograde.errors import UserError, shown
from retrograde.interface.batch import Batch
from retrograde.interface.metastrategy import MetaStrategy
from retrograde.interface.net import Net
from retrograde.interface.state import State
from retrograde.optim import Params
from retrograde.parts.author_code import hook
from retrograde.parts.part import Part
from retrograde.streams.memory import Memory
from retrograde.streams.schedule import Schedule
from retrograde.streams.stream import Scenario

TaskWeighting = Literal["applied", "not needed", "refused"]
"""The answer of a strategy to `weighting=tasks`.

`applied`: its losses on incoming and on past examples have weights 1 and t - 1 at task t.
`not needed`: it adds no loss on past examples to that on incoming ones.
`refused`: cells with this weighting are refused before anything trains.
"""

FutureFact = Literal["length", "classes"]
"""A fact of the whole stream that changes what a strategy learns before the stream has shown it.

`length`: the number of tasks, or of their classes. `classes`: the output units of later classes,
since their outputs are in the loss. A head always has a unit for every class of the whole stream.
"""


Boundaries = Literal["none", "experiences", "tasks"]
"""The boundaries of the stream that a strategy needs to know.

`none`: it learns from a stream without any. `experiences`: it is told where each experience ends.
`tasks`: every experience must also train one task alone.
"""


_HOOKS = (
    "pretraining",
    "modules",
    "init",
    "start",
    "begin_experience",
    "step",
    "rank_exemplars",
    "end_experience",
    "before_evaluation",
    "predict",
)
"""The methods that a strategy may define, as `declares` lists them."""


class StepData(NamedTuple):
    """The examples of one step.

    Args:
        incoming: The mini-batch of the stream.
        replayed: The mini-batch drawn from memory, all of its rounds one after the other.
        combined: Incoming and then replayed examples, with the weights of the benchmark's
            `weighting`.
        incoming_weight: The weight of a loss on incoming examples.
        replay_weight: The weight of a loss on past examples that is added to it.
        incoming_share: The share of incoming examples in the combined loss; None: all examples have
            the same weight.
        rounds: The number of rounds that the memory draws.
        other_views: The images of the combined examples, augmented in other ways, one tensor for
            each of the strategy's `views` beyond the first.
    """

    incoming: Batch
    replayed: Batch
    combined: Batch
    incoming_weight: Float[Tensor, ""]
    replay_weight: Float[Tensor, ""]
    incoming_share: Float[Tensor, ""] | None = None
    rounds: int = 1
    other_views: tuple[Float[Tensor, "row *shape"], ...] = ()

    @property
    def draws(self) -> list[Batch]:
        """The replayed examples of each round of the memory."""
        size = len(self.replayed.x) // self.rounds
        return [
            self.replayed.at(slice(number * size, (number + 1) * size))
            for number in range(self.rounds)
        ]

    def parts(self, values: Float[Tensor, "row *_"]) -> list[Tensor]:
        """Values of the combined examples, taken apart: incoming, then each of `draws`."""
        size = len(self.replayed.x) // self.rounds
        sizes = [len(self.incoming.x), *[size] * self.rounds]
        return list(torch.split(values, sizes))

    def weighted(
        self, incoming: Float[Tensor, ""], replayed: Float[Tensor, ""]
    ) -> Float[Tensor, ""]:
        """The sum of a loss on incoming and one on past examples, with the benchmark's weights."""
        return self.incoming_weight * incoming + self.replay_weight * replayed

    def combine(self, replayed: Batch) -> Batch:
        """The incoming and other replayed examples as one batch, with the benchmark's weights."""
        combined = self.incoming.concat(replayed)
        if self.incoming_share is None:
            return combined
        weight = share_weight(self.incoming.weight, replayed.weight, self.incoming_share)
        return combined._replace(weight=weight)


def share_weight(
    incoming: Float[Tensor, " incoming"],
    replayed: Float[Tensor, " replayed"],
    share: Float[Tensor, ""],
) -> Float[Tensor, " row"]:
    """Share the total weight of a batch between its incoming and its replayed examples.

    Args:
        incoming: The weights of incoming examples; 0 for padding.
        replayed: The weights of replayed examples; 0 for padding.
        share: The share of the incoming examples; it counts as 1 if nothing is replayed.

    Returns:
        The weights of the incoming and then of the replayed examples, with the sum unchanged.
    """
    share = torch.where(replayed.sum() > 0, share, 1.0)
    incoming_part = share * incoming / incoming.sum().clamp(min=1)
    replayed_part = (1 - share) * replayed / replayed.sum().clamp(min=1)
    return (incoming.sum() + replayed.sum()) * torch.cat([incoming_part, replayed_part])


class ExperienceEnd(NamedTuple):
    """A finished experience.

    Args:
        examples: All of its training examples.
        memory: The content of the memory, slot by slot; empty slots are padding. None: no memory.
            What is kept with examples that it took at the end of this experience comes from the
            hook, so it is not there yet.
        held_out: The examples that `Schedule.held_out` kept out of training; None: it is 0.
    """

    examples: Batch
    memory: Batch | None = None
    held_out: Batch | None = None


class Strategy(Part):
    """A learning rule. Its dataclass fields are its settings; nothing is stored on `self`."""

    kind: ClassVar[str] = "strategies"
    scenarios: ClassVar[tuple[Scenario, ...]] = ("task", "domain", "class")
    # True: a reference for the others, which is not ranked with them.
    upper_bound: ClassVar[bool] = False
    # The number of augmented views of the examples of a step.
    views: ClassVar[int] = 1
    # False: predictions are not the outputs of the model at `state.params`, so that their gradients
    # are not probed.
    probes: ClassVar[bool] = True
    # True: `begin_experience` may give a state of another form, such as a larger network.
    grows: ClassVar[bool] = False
    # A small model that the strategy accepts, for the contract.
    contract_model: ClassVar[str] = "mlp-16"
    # None: they follow from the hooks, the schedule and the memory; see `needs_boundaries`.
    boundaries: ClassVar[Boundaries | None] = None
    # False: the units of later classes are in no loss, for example since they are masked.
    later_classes_in_loss: ClassVar[bool] = True
    # True: it uses labels as classes beyond the loss of `net`; see `needs_classes`.
    classes_only: ClassVar[bool] = False
    # None: "refused" if examples are replayed, otherwise "not needed".
    task_weighting: ClassVar[TaskWeighting | None] = None

    def declares(self) -> dict[str, str]:
        """The scenarios, the examples trained on, the memory and the hooks defined, as text."""
        bound = ", an upper bound" if self.upper_bound else ""
        own = [hook for hook in _HOOKS if self._defines(hook)]
        memory = self._checked_memory()
        replayed = " and replayed" if memory and memory.replayed else ""
        return {
            "kind": "pure strategy" + bound,
            "scenarios": ", ".join(self.scenarios),
            "trains on": f"{self.schedule().examples}{replayed}",
            "memory": memory.in_words() if memory else "none",
            "weighting=tasks": self.handles_weighting(),
            "needs boundaries": self.needs_boundaries(),
            "knows ahead": ", ".join(self.knows_ahead()) or "nothing",
            "defines": ", ".join(own),
        }

    def _defines(self, hook: str) -> bool:
        return getattr(type(self), hook) is not getattr(Strategy, hook)

    def _checked_memory(self) -> Memory | None:
        memory: object = self.memory()
        if memory is None or isinstance(memory, Memory):
            return memory
        raise UserError(
            f"{hook(self, 'memory')} gives a Memory or None; it gave {shown(memory)}. "
            "Return one, such as Reservoir(200, draw=10)."
        )

    def needs_boundaries(self) -> Boundaries:
        """The boundaries of the stream that the strategy needs to know.

        Those of experiences are needed if a hook runs when one begins or ends, if the examples that
        are trained on depend on it, or if the memory does. Declare `boundaries = "tasks"` if
        `net.experience` stands for the task, as in a network for each task.
        """
        if self.boundaries is not None:
            return self.boundaries
        schedule = self.schedule()
        memory = self._checked_memory()
        hooks = ("begin_experience", "rank_exemplars", "end_experience")
        needed = (
            schedule.examples != "incoming" or schedule.reinitialise or schedule.batch_per_task,
            schedule.held_out > 0,
            memory is not None and memory.needs_boundaries,
            *map(self._defines, hooks),
        )
        return "experiences" if any(needed) else "none"

    def needs_classes(self) -> bool:
        """True if the strategy is refused on streams of regression, whose targets are values.

        Classes are needed by a memory that keeps them apart and by pretraining on held-out classes.
        Declare `classes_only = True` if the strategy has a loss of its own over classes, or uses
        labels in another way than by the loss of `net`, which is the squared error in regression.
        """
        memory = self._checked_memory()
        by_class = memory is not None and memory.by_class
        return self.classes_only or by_class or self.pretraining() is not None

    def handles_weighting(self) -> TaskWeighting:
        """The answer to `weighting=tasks`."""
        if self.task_weighting is not None:
            return self.task_weighting
        memory = self._checked_memory()
        mixed = self.schedule().examples == "incoming and memory"
        replays = mixed or (memory and memory.replayed)
        return "refused" if replays else "not needed"

    def knows_ahead(self) -> tuple[FutureFact, ...]:
        """The facts of the stream that are used before it has shown them.

        The default follows from the memory and from `later_classes_in_loss`. Add `length` if
        `net.tasks` changes the result.
        """
        memory = self._checked_memory()
        length = memory is not None and memory.knows_length
        used: dict[FutureFact, bool] = {"length": length, "classes": self.later_classes_in_loss}
        return tuple(fact for fact, is_used in used.items() if is_used)

    def schedule(self) -> Schedule:
        """The schedule of the examples to train on."""
        return Schedule()

    def memory(self) -> Memory | None:
        """The memory of past examples; None: no memory."""
        return None

    def pretraining(self) -> MetaStrategy | None:
        """What is learned on held-out classes before the stream begins; None: nothing.

        The stream starts from the model parameters that this meta-strategy learns with the
        benchmark's optimiser. Its episodes are trajectories: the support has a few classes, one
        after the other, the query other examples of these, and `remembered` examples of any class.
        """
        return None

    def modules(
        self, shape: tuple[int, ...], outputs: int, features: int | None
    ) -> dict[str, nn.Module]:
        """Modules of the strategy's own, by name, such as a projector or a generator.

        They are built and seeded as the model is. Their parameters are in `state.params` as
        `NAME.parameter`, so that the optimiser updates them with the model's; `net.call` calls
        them.

        Args:
            shape: The shape of one example.
            outputs: The number of output units.
            features: The number of inputs of the model's head; None: it has no head.
        """
        return {}

    def init(self, net: Net, params: Params) -> Any:
        """The tensors of the strategy's own that `state.extra` holds from the start."""
        return {}

    def start(self, net: Net, params: Params) -> State:
        """The state at the start of the stream, from the parameters of the modules.

        After pretraining, those of the model are the ones that it has learned.
        """
        return State(params, net.optimizer.init(params), self.init(net, params), net.buffers)

    def begin_experience(self, net: Net, state: State, number: int) -> State:
        """Update the state before an experience; the evaluation before training comes first.

        If the class says `grows = True`, the tensors may have other names and shapes than before.
        The optimiser's state of new parameters starts as at first.

        Args:
            net: The model, its loss and the optimiser.
            state: The state.
            number: The number of the experience, from 0, the same for all replicates.
        """
        return state

    def own_examples(self, state: State) -> Batch | None:
        """The past examples in `state.extra`, if any; a slot without an example has weight 0.

        They count as stored examples, like those of a memory. Define `own_replay` as well.
        """
        return None

    def own_replay(self, before: Int64[np.ndarray, " step"]) -> Int64[np.ndarray, " step"]:
        """The number of examples of `own_examples` that each step replays.

        Args:
            before: The number of incoming examples before each step.
        """
        return np.zeros_like(before)

    @abstractmethod
    def step(
        self,
        net: Net,
        state: State,
        data: StepData,
    ) -> State:
        """Update the state with one mini-batch.

        Args:
            net: The model, its loss and the optimiser.
            state: The state before the step.
            data: The incoming and the replayed examples.

        Returns:
            The state after the step.
        """

    def rank_exemplars(
        self,
        net: Net,
        state: State,
        examples: Batch,
        share: int,
    ) -> Float[Tensor, " row"]:
        """Rank a finished experience's examples for `ExemplarMemory`.

        The memory stores the lowest ranks of each class, at most `share` examples; the order of the
        others does not matter.
        """
        return net.uniform(len(examples.x))

    def end_experience(
        self,
        net: Net,
        state: State,
        end: ExperienceEnd,
    ) -> State:
        """Update the state after an experience."""
        return state

    def before_evaluation(
        self,
        net: Net,
        state: State,
        memory: Batch | None,
    ) -> State:
        """The state that `predict` gets: compute here what predictions need once, as class means.

        It is used for this evaluation alone; training goes on from the state before.

        Args:
            net: The model in evaluation mode.
            state: The state.
            memory: The content of the memory, slot by slot; empty slots are padding. None: no
                memory.
        """
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
            task: The task of each in task-incremental streams; None in others.
        """
        return net.logits(state.params, x, task)


def facts_used(scenario: Scenario, ahead: tuple[FutureFact, ...]) -> list[str]:
    """The facts known ahead that exist in a scenario.

    Only class-incremental streams have later classes.
    """
    return [fact for fact in ahead if fact != "classes" or scenario == "class"]
