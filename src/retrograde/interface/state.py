"""The state of a strategy."""

from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from retrograde.optim import NO_TENSORS, Params, Slots


class State(NamedTuple):
    """The tensors that change while a strategy learns.

    Args:
        params: The trainable parameters of the model and of the strategy's own modules.
        slots: The state of the optimiser.
        extra: Tensors of the strategy's own, in dictionaries and tuples of any nesting.
        buffers: The buffers that training changes, such as running statistics. The engine updates
            them: see `Net`.
        to_keep: What this step keeps with its examples in memory: see `keep`.
        to_log: The statistics of this step: see `log`.
    """

    params: Params
    slots: Slots
    extra: Any
    buffers: Params = NO_TENSORS
    to_keep: Params = NO_TENSORS
    to_log: Params = NO_TENSORS

    @property
    def model(self) -> Params:
        """The parameters and the running statistics: the whole model at this moment.

        A copy of it in `extra` is a teacher: `net.in_eval_mode().logits(teacher, x)` are its
        outputs by its own running statistics.
        """
        return self.params | self.buffers

    def replace(self, **changes: Any) -> "State":
        """The state with some fields replaced."""
        return self._replace(**changes)

    def keep(self, **columns: Float[Tensor, "row *_"]) -> "State":
        """Keep values with the examples that enter the memory, such as `keep(logits=logits)`.

        Args:
            **columns: One value for each incoming example in `step`, and for each example of the
                experience in `end_experience`. The memory declares the names; one that stores its
                examples at the end of an experience takes values in `end_experience` alone.
        """
        return self._replace(to_keep=self.to_keep | columns)

    def log(self, **statistics: Float[Tensor, ""]) -> "State":
        """Record statistics of this step, such as `log(penalty=penalty)`, one number each.

        The record holds their means over every experience. Only `step` logs.
        """
        return self._replace(to_log=self.to_log | statistics)
