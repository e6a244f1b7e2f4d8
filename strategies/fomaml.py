"""First-order MAML."""

from dataclasses import dataclass

from torch import Tensor

from retrograde import Batch, Episode, MetaStrategy, Net, Params, State, Steps


@dataclass(frozen=True, kw_only=True)
class FOMAML(MetaStrategy):
    """First-order MAML: the inner gradients are constants (Finn et al. 2017, arXiv 1703.03400).

    The outer gradient has no second derivatives (section 5.2).
    """

    inner_steps: Steps = 1  # inner steps while meta-training

    def inner_step(
        self, net: Net, meta_params: Params, fast: State, support: Batch, step: int
    ) -> State:
        return self.inner_update(fast, net.grad(fast.params, support, constant=True))

    def task_loss(
        self, net: Net, meta_params: Params, episode: Episode, progress: Tensor
    ) -> Tensor:
        adapted = self.adapt(net, meta_params, episode.support, self.inner_steps)
        return net.loss(adapted, episode.query)
