"""The interface of a meta-learning strategy: pure functions, written for one replicate, of tasks with support and query."""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor
from torch.func import grad, vmap

from retrograde.interface.batch import Batch
from retrograde.interface.net import Net
from retrograde.interface.state import State
from retrograde.optim import INNER, Optimizer, Params
from retrograde.parts.fields import Bound, Rate, Steps
from retrograde.parts.part import Part


class Episode(NamedTuple):
    """A few-shot task: what is learned from, and what shows how well. A meta-batch has a leading task axis."""

    support: Batch
    query: Batch

    def all(self) -> Batch:
        """The support and the query of one task as one batch."""
        return self.support.beside(self.query)


@dataclass(frozen=True, kw_only=True)
class MetaStrategy(Part):
    """A rule that learns how to learn: `inner` adapts to a task, `task_loss` is what the outer loop minimises.

    `learned` names everything that the outer loop learns, the model's initial parameters among it; `progress` is the share
    of meta-training that is over, from 0 to below 1.
    """

    kind: ClassVar[str] = "strategies"
    upper_bound: ClassVar[bool] = False  # not a competitor: what the others are measured against
    told: ClassVar[bool] = False  # sees the facts of a task beside every input
    trains: ClassVar[bool] = True  # if not, there is nothing to meta-learn
    descends: ClassVar[bool] = (
        True  # the meta-step is one of the benchmark's optimiser; if not, it has no slots
    )

    optimizer: Literal["sgd", "momentum", "adam"] = (
        "sgd"  # of the inner steps; every task starts it afresh
    )
    lr: Rate = 0.01  # of the inner steps
    test_steps: Steps = 10  # inner steps on a new task, which is measured after each
    meta_lr: Rate = 0.001
    clip: Bound = 0.0  # each number of the meta-gradient is kept within -clip and clip

    def declares(self) -> dict[str, str]:
        """What it is for."""
        return {
            "kind": "meta-strategy, of few-shot episodes"
            + (", an upper bound" if self.upper_bound else "")
        }

    def learned(self, net: Net, params: Params) -> Params:
        """What the outer loop learns, as it starts."""
        return params

    def begin(self, net: Net, learned: Params) -> State:
        """Where adaptation to a task starts."""
        params = net.own(learned)
        return State(params, self.descent().init(params), {})

    def inner(self, net: Net, learned: Params, fast: State, support: Batch, step: int) -> State:
        """One inner step."""
        return self.descended(fast, net.grad(fast.params, support))

    def descent(self) -> Optimizer:
        """The optimiser of the inner steps."""
        return INNER[self.optimizer]

    def descended(self, fast: State, gradient: Params) -> State:
        """One step of the inner optimiser against the gradient."""
        params, slots = self.descent().update(fast.params, gradient, fast.slots, self.lr)
        return fast.replace(params=params, slots=slots)

    def adapted(self, net: Net, learned: Params, support: Batch, steps: int) -> Params:
        """The parameters after so many inner steps."""
        fast = self.begin(net, learned)
        for step in range(steps):
            fast = self.inner(net, learned, fast, support, step)
        return fast.params

    def task_loss(
        self, net: Net, learned: Params, episode: Episode, progress: Tensor
    ) -> Float[Tensor, ""]:
        """What the outer loop minimises, for one task."""
        raise NotImplementedError

    def meta_step(self, net: Net, state: State, episodes: Episode, progress: Tensor) -> State:
        """The update for one meta-batch: down the gradient of the mean task loss."""

        def mean_loss(learned: Params) -> Tensor:
            return vmap(lambda episode: self.task_loss(net, learned, episode, progress))(
                episodes
            ).mean()

        return net.descend(state, self.clipped(grad(mean_loss)(state.params)), self.meta_lr)

    def clipped(self, gradient: Params) -> Params:
        """The meta-gradient with each number kept within -clip and clip."""
        return (
            {name: value.clamp(-self.clip, self.clip) for name, value in gradient.items()}
            if self.clip
            else gradient
        )
