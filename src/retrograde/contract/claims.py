"""The elements of a contract: claims that are tried on a part, and a verdict on each."""

import json
import pickle
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from retrograde.errors import UserError
from retrograde.parts.author_code import located, place, stops, whole
from retrograde.parts.deadline import Late, limit, within
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
        outcome: "declared" if the part declares that it does not satisfy the claim; "not reached"
            if the check stopped at an error that an earlier one has reported.
        why: The reason of a failure, or the declaration.
        trace: The whole traceback, if an author's code raised an exception.
        stopped: The place and the kind of that exception, such as `mine.py:23: KeyError`.
    """

    claim: str
    outcome: Literal["passed", "failed", "declared", "not reached"]
    why: str = ""
    trace: str = ""
    stopped: str = ""


def claim_of(check: Callable[..., None]) -> str:
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
        return Verdict(text, "failed", str(error), whole(error), _stop(error, part))
    except BaseException as error:
        # An author's code may raise even `SystemExit`; an interruption is not its failure.
        if stops(error):
            raise
        why = f"it raised {located(error, part)}"
        return Verdict(text, "failed", why, whole(error), _stop(error, part))
    return Verdict(text, "passed")


def _stop(error: BaseException, part: Part) -> str:
    """The place and the kind of an exception; its whole text if no line of an author is known."""
    where = place(error, part)
    return f"{where}: {type(error).__name__}" if where else located(error, part)


def tried_in_time(
    name: str,
    outcomes: Iterator[tuple[str, Callable[[], Verdict]]],
) -> Iterator[Verdict]:
    """Try claims one after the other.

    An error is reported once: later checks that stop at the same line are "not reached". If the
    time of all checks together is over, the last verdict is a failure that says so.

    Args:
        name: The name of the part's class.
        outcomes: Each claim, and a call that tries it.
    """
    until = time.monotonic() + limit("check")
    reported: set[str] = set()
    for claim, outcome in outcomes:
        # A check that begins late gets a moment, since a limit of 0 would be none.
        left = max(0.001, until - time.monotonic())
        try:
            with within("check", name, left):
                tried = outcome()
        except Late as error:
            why = f"{error} The claims after it were not tried."
            yield Verdict(claim, "failed", why, whole(error))
            return
        if tried.stopped in reported:
            yield Verdict(claim, "not reached", f"it stopped at {tried.stopped}")
            continue
        if tried.stopped:
            reported.add(tried.stopped)
        yield tried


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


def is_frozen(part: Part) -> None:
    """It is a frozen dataclass."""
    need_frozen(part)


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    """True if the tensors are equal, one by one."""
    pairs = zip(a, b, strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def global_state() -> tuple[str, bytes]:
    """The states of the global generators of NumPy and PyTorch."""
    # Python's own generator moves whenever a run-time type checker samples a list.
    return repr(np.random.get_state()), torch.get_rng_state().numpy().tobytes()
