"""The interface of a meta-learning strategy: pure functions, written for one replicate."""

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
    """A few-shot task; a meta-batch of them has a leading task axis.

    Args:
        support: The examples to adapt to.
        query: The examples to evaluate the adapted parameters on.
        remembered: In the pretraining of a stream, examples of any class; elsewhere no examples.
    """

    support: Batch
    query: Batch
    remembered: Batch

    def combined(self) -> Batch:
        """The support and the query of one task as one batch."""
        return self.support.concat(self.query)

    def meta_query(self) -> Batch:
        """The query and the remembered examples as one batch."""
        return self.query.concat(self.remembered)


@dataclass(frozen=True, kw_only=True)
class MetaStrategy(Part):
    """A meta-learning rule for few-shot tasks.

    `inner_step` adapts to a task, and the outer loop minimises `task_loss`. In the methods,
    `meta_params` is everything that the outer loop learns, including the model's initial
    parameters, and `progress` is the finished share of meta-training, in [0, 1).
    """

    kind: ClassVar[str] = "strategies"
    # True: a reference for the others, which is not ranked with them.
    upper_bound: ClassVar[bool] = False
    # True: an oracle, whose inputs include the parameters of the task.
    sees_task_parameters: ClassVar[bool] = False
    # False: there is nothing to meta-learn.
    meta_trains: ClassVar[bool] = True
    # True: the meta-step is one of the benchmark's optimiser; if False, the optimiser has no slots.
    uses_meta_optimizer: ClassVar[bool] = True

    # The optimiser of the inner steps, which is initialised for every task.
    inner_optimizer: Literal["sgd", "momentum", "adam"] = "sgd"
    # The learning rate of the inner steps.
    inner_lr: Rate = 0.01
    # Inner steps on a test task, with an evaluation after each.
    test_steps: Steps = 10
    meta_lr: Rate = 0.001
    # Each entry of the meta-gradient is clipped to [-clip, clip]; 0: no bound.
    clip: Bound = 0.0

    def declares(self) -> dict[str, str]:
        """The kind of strategy, as text."""
        bound = ", an upper bound" if self.upper_bound else ""
        return {"kind": "meta-strategy, of few-shot episodes" + bound}

    def meta_params(self, net: Net, params: Params) -> Params:
        """The initial values of everything that the outer loop learns."""
        return params

    def start_adaptation(self, net: Net, meta_params: Params) -> State:
        """The state before the first inner step on a task."""
        params = net.model_params(meta_params)
        return State(params, self.build_inner_optimizer().init(params), {})

    def inner_step(
        self,
        net: Net,
        meta_params: Params,
        fast: State,
        support: Batch,
        step: int,
    ) -> State:
        """Take one inner step.

        Args:
            net: The model, its loss and the optimiser.
            meta_params: Everything that the outer loop learns.
            fast: The state before the step.
            support: The examples of the task to adapt to.
            step: The index of the step, from 0.
        """
        return self.inner_update(fast, net.grad(fast.params, support))

    def build_inner_optimizer(self) -> Optimizer:
        """The optimiser of the inner steps."""
        return INNER[self.inner_optimizer]

    def inner_update(self, fast: State, gradient: Params) -> State:
        """Take one step of the inner optimiser against the gradient."""
        optimizer = self.build_inner_optimizer()
        params, slots = optimizer.update(fast.params, gradient, fast.slots, self.inner_lr)
        return fast.replace(params=params, slots=slots)

    def adapt(
        self,
        net: Net,
        meta_params: Params,
        support: Batch,
        steps: int,
    ) -> Params:
        """The parameters after `steps` inner steps."""
        fast = self.start_adaptation(net, meta_params)
        for step in range(steps):
            fast = self.inner_step(net, meta_params, fast, support, step)
        return fast.params

    def task_loss(
        self,
        net: Net,
        meta_params: Params,
        episode: Episode,
        progress: Tensor,
    ) -> Float[Tensor, ""]:
        """The loss of one task that the outer loop minimises."""
        raise NotImplementedError

    def meta_step(
        self,
        net: Net,
        state: State,
        episodes: Episode,
        progress: Tensor,
    ) -> State:
        """Take one meta-step: descend the gradient of the mean task loss of a meta-batch."""

        def mean_loss(meta_params: Params) -> Tensor:
            losses = vmap(lambda episode: self.task_loss(net, meta_params, episode, progress))
            return losses(episodes).mean()

        gradient = grad(mean_loss)(state.params)
        return net.update(state, self.clip_gradient(gradient), self.meta_lr)

    def clip_gradient(self, gradient: Params) -> Params:
        """The meta-gradient with each entry clipped to [-clip, clip]; 0: no bound."""
        if not self.clip:
            return gradient
        return {name: value.clamp(-self.clip, self.clip) for name, value in gradient.items()}
