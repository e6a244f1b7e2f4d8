"""MAML along a stream: initial parameters from which a few steps learn new classes."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from retrograde import Episode, MetaStrategy, Net, Params, Rate, Steps, of_head, sgd

from ._pretraining import HeadPretraining, Trajectory


@dataclass(frozen=True, kw_only=True)
class _Trajectories(Trajectory):
    """The loss on the query and the remembered examples, after inner steps on the support."""

    inner_steps: Steps
    first_order: bool
    trainable: Literal["head", "all"]

    def task_loss(
        self, net: Net, meta_params: Params, episode: Episode, progress: Tensor
    ) -> Tensor:
        learned = of_head if self.trainable == "head" else None
        fast = meta_params
        for _ in range(self.inner_steps):
            gradient = net.grad(fast, episode.support, only=learned, constant=self.first_order)
            adapted = {name: fast[name] for name in gradient}
            fast = fast | sgd(adapted, gradient, self.inner_lr)
        return net.loss(fast, episode.meta_query())


@dataclass(frozen=True, kw_only=True)
class MAMLInit(HeadPretraining):
    """MAML on whole trajectories before the stream (Finn et al. 2017, arXiv 1703.03400).

    Only the head learns, in the inner steps and along the stream, which Javed and White (2019) call
    MAML-Rep; with `trainable=all`, every parameter learns.
    """

    inner_lr: Rate = 0.03
    inner_steps: Steps = 5
    first_order: bool = False

    def pretraining(self) -> MetaStrategy:
        return _Trajectories(
            meta_lr=self.meta_lr,
            inner_lr=self.inner_lr,
            inner_steps=self.inner_steps,
            first_order=self.first_order,
            trainable=self.trainable,
        )
