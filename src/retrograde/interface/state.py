"""The state of a strategy."""

from typing import NamedTuple

from retrograde.optim import Params, Slots


class State(NamedTuple):
    """What changes while a strategy learns: parameters, the optimiser's slots, and what the strategy adds."""

    params: Params
    slots: Slots
    extra: Params

    def replace(self, **changes: Params | Slots) -> "State":
        """The state with some parts replaced."""
        return self._replace(**changes)  # type: ignore[arg-type]
