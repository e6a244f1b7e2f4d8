"""The elements of a contract: claims that are tried on a part, and a verdict on each."""

import json
import pickle
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from retrograde.errors import UserError
from retrograde.parts.author_code import located, stops, whole
from retrograde.parts.deadline import Late
from retrograde.parts.declaration import check_class, check_recorded
from retrograde.parts.part import Part


class Broken(AssertionError):
    """A claim of the contract does not hold; the message is the evidence."""


class Declared(Exception):
    """A part declares that it does not satisfy a claim; the message is the declaration."""


class Verdict(NamedTuple):
    """The outcome of one check.

    Args:
        claim: The claim that was tried.
        outcome: "declared" if the part declares that it does not satisfy the claim.
        why: The reason, unless the check passed.
        trace: The whole traceback, if an author's code raised an exception.
    """

    claim: str
    outcome: Literal["passed", "failed", "declared"]
    why: str = ""
    trace: str = ""


def claim_of(check: Callable[[Any], None]) -> str:
    """The claim that a check tries, which is its docstring."""
    return (check.__doc__ or check.__name__).strip()


def verdict(
    part: Part,
    check: Callable[[Any], None],
    claim: str | None = None,
) -> Verdict:
    """Try one claim on a part.

    Args:
        part: The part.
        check: Raises `Broken`, `Declared` or any other exception unless the claim holds.
        claim: The claim; None: the docstring of the check.
    """
    text = claim or claim_of(check)
    try:
        check(part)
    except Declared as error:
        return Verdict(text, "declared", str(error))
    except Broken as error:
        return Verdict(text, "failed", str(error))
    except Late:  # ends the whole contract, not this check alone
        raise
    except UserError as error:
        return Verdict(text, "failed", str(error), whole(error))
    except BaseException as error:
        # An author's code may raise even `SystemExit`; an interruption is not its failure.
        if stops(error):
            raise
        return Verdict(text, "failed", f"it raised {located(error, part)}", whole(error))
    return Verdict(text, "passed")


def pickles(part: Part) -> None:
    """It survives pickling, so that worker processes can take it."""
    try:
        twin = pickle.loads(pickle.dumps(part))
    except Exception as error:
        raise Broken(f"it cannot be pickled: {error}") from error
    if twin.settings() != part.settings():
        raise Broken("pickling changes its settings")


def is_recorded(part: Part) -> None:
    """Its settings can be written into a record, and read back they are the same."""
    check_class(type(part))
    check_recorded(part)
    text = json.dumps(part.settings())
    again = type(part).configured(json.loads(text)).settings()
    if json.dumps(again) != text:
        raise Broken(
            f"its settings are {text}, and a part made of them has {json.dumps(again)}; "
            "let __post_init__ keep them"
        )


def need_frozen(part: Part) -> None:
    """Raise `Broken` unless the part's dataclass is frozen."""
    options = getattr(type(part), "__dataclass_params__", None)
    if not (options and options.frozen):
        raise Broken("its dataclass is not frozen; write @dataclass(frozen=True)")


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    """True if the tensors are equal, one by one."""
    pairs = zip(a, b, strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def global_state() -> tuple[str, bytes]:
    """The states of the global generators of NumPy and PyTorch."""
    # Python's own generator moves whenever a run-time type checker samples a list.
    return repr(np.random.get_state()), torch.get_rng_state().numpy().tobytes()
