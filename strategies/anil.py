"""ANIL: MAML with inner steps on the head alone."""

from dataclasses import dataclass

from torch import Tensor

from retrograde import Batch, Episode, MetaStrategy, Net, Params, State, Steps, UserError


@dataclass(frozen=True, kw_only=True)
class ANIL(MetaStrategy):
    """Almost no inner loop: MAML that adapts the head alone (Raghu et al. 2020, arXiv 1909.09157).

    Inner steps change nothing but the head, in meta-training and at test.
    """

    inner_steps: Steps = 1  # inner steps while meta-training
    first_order: bool = False
    head: str = "head"  # the module whose parameters are adapted

    def meta_params(self, net: Net, params: Params) -> Params:
        if not any(self._in_head(name) for name in params):
            modules = sorted({name.rpartition(".")[0] for name in params})
            raise UserError(
                f"ANIL adapts the head; the model has no module {self.head!r}. "
                f"Set head to one of {modules}."
            )
        return params

    def _in_head(self, name: str) -> bool:
        return name.startswith(f"{self.head}.")

    def inner_step(
        self, net: Net, meta_params: Params, fast: State, support: Batch, step: int
    ) -> State:
        gradient = net.grad(fast.params, support, constant=self.first_order)
        after = self.inner_update(fast, gradient)
        head = {name: value for name, value in after.params.items() if self._in_head(name)}
        return after.replace(params=fast.params | head)

    def task_loss(
        self, net: Net, meta_params: Params, episode: Episode, progress: Tensor
    ) -> Tensor:
        adapted = self.adapt(net, meta_params, episode.support, self.inner_steps)
        return net.loss(adapted, episode.query)
