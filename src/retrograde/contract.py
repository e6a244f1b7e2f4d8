"""What a contract is made of: claims that are tried on a part, and a verdict on each."""

import pickle
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from retrograde.settings import Part


class Broken(AssertionError):
    """A claim of the contract that does not hold, and how that shows."""


class Declared(Exception):
    """A claim of the contract that a part says of itself not to satisfy, and what it says."""


class Verdict(NamedTuple):
    """What came of one check."""

    claim: str
    outcome: Literal["passed", "failed", "declared"]
    why: str = ""


def verdict(part: Part, check: Callable[[Any], None], claim: str | None = None) -> Verdict:
    """The outcome of one check; an exception is a failure, unless the part declares as much."""
    text = claim or (check.__doc__ or check.__name__).strip()
    try:
        check(part)
    except Declared as error:
        return Verdict(text, "declared", str(error))
    except Broken as error:
        return Verdict(text, "failed", str(error))
    except Exception as error:
        return Verdict(text, "failed", f"it raised {type(error).__name__}: {error}")
    return Verdict(text, "passed")


def pickles(part: Part) -> None:
    """It survives pickling, so that worker processes can take it."""
    try:
        twin = pickle.loads(pickle.dumps(part))
    except Exception as error:
        raise Broken(f"it cannot be pickled: {error}") from error
    if twin.settings() != part.settings():
        raise Broken("pickling changes its settings")


def need_frozen(part: Part) -> None:
    """Raise `Broken` unless the part's dataclass is frozen."""
    if not type(part).__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise Broken("its dataclass is not frozen; write @dataclass(frozen=True)")


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    """Whether the tensors are equal, one by one."""
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def global_state() -> tuple[str, bytes]:
    """NumPy's and PyTorch's generators. Python's moves whenever a run-time type checker samples a list."""
    return repr(np.random.get_state()), torch.get_rng_state().numpy().tobytes()
