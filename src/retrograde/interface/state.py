"""The state of a strategy."""

from typing import NamedTuple

from retrograde.optim import Params, Slots


class State(NamedTuple):
    """The tensors that change while a strategy learns.

    Args:
        params: The parameters.
        slots: The state of the optimiser.
        extra: Tensors of the strategy's own.
    """

    params: Params
    slots: Slots
    extra: Params

    def replace(self, **changes: Params | Slots) -> "State":
        """The state with some fields replaced."""
        return self._replace(**changes)  # type: ignore[arg-type]
