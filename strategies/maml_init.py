"""MAML along a stream: initial parameters from which a few steps learn new classes."""

from dataclasses import dataclass

from torch import Tensor

from retrograde import Net, Params, PretrainingEpisode, Rate, Steps, sgd

from ._pretraining import HeadPretraining


@dataclass(frozen=True, kw_only=True)
class MAMLInit(HeadPretraining):
    """MAML on whole trajectories before the stream (Finn et al. 2017, arXiv 1703.03400).

    Only the head learns, in the inner steps and along the stream, which Javed and White (2019) call
    MAML-Rep; with `trainable=all`, every parameter learns.
    """

    inner_lr: Rate = 0.03
    inner_steps: Steps = 5
    first_order: bool = False

    def pretraining_loss(self, net: Net, params: Params, episode: PretrainingEpisode) -> Tensor:
        fast = params
        for _ in range(self.inner_steps):
            gradient = net.grad(
                fast, episode.trajectory, only=self.learns, constant=self.first_order
            )
            adapted = {name: fast[name] for name in gradient}
            fast = fast | sgd(adapted, gradient, self.inner_lr)
        return net.loss(fast, episode.meta_query())
