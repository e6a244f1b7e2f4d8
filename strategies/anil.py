"""ANIL: almost no inner loop."""

from dataclasses import dataclass

from torch import Tensor

from retrograde import Batch, Episode, MetaStrategy, Net, Params, State, Steps, UserError


@dataclass(frozen=True, kw_only=True)
class ANIL(MetaStrategy):
    """MAML whose inner steps change the head alone, in meta-training and at test (Raghu et al. 2020, arXiv 1909.09157)."""

    steps: Steps = 1  # inner steps while meta-training
    first_order: bool = False
    head: str = "head"  # the module whose parameters are adapted

    def learned(self, net: Net, params: Params) -> Params:
        if not any(name.startswith(f"{self.head}.") for name in params):
            modules = sorted({name.rpartition(".")[0] for name in params})
            raise UserError(
                f"ANIL adapts the model's head, and the model has no {self.head!r}. Set head to one of {modules}."
            )
        return params

    def inner(self, net: Net, learned: Params, fast: State, support: Batch, step: int) -> State:
        after = self.descended(fast, net.grad(fast.params, support, constant=self.first_order))
        head = {
            name: value for name, value in after.params.items() if name.startswith(f"{self.head}.")
        }
        return after.replace(params=fast.params | head)

    def task_loss(self, net: Net, learned: Params, episode: Episode, progress: Tensor) -> Tensor:
        adapted = self.adapted(net, learned, episode.support, self.steps)
        return net.loss(adapted, episode.query)
