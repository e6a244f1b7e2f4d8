"""Checks of values that an author's hooks return: shape, structure and unchanged inputs.

All of them run on a trial step before training begins. Inside `vmap`, shapes are those of one
replicate, as the author sees them.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils import _pytree as pytree

from retrograde.errors import UserError
from retrograde.interface.state import State
from retrograde.networks.checks import agree
from retrograde.optim import Params
from retrograde.parts.author_code import hook
from retrograde.streams.memory import ExemplarMemory, Memory

MOST = 3
"""Largest number of tensors that an error names; a bug in one line tends to spoil all of them."""


def check_scores(
    part: object,
    method: str,
    found: Any,
    rows: int,
    units: int,
) -> None:
    """Check that a hook gives a real score for each example and output unit.

    Raises:
        UserError: If the shape is not (rows, units), or scores are boolean or complex.
    """
    _check_shape(part, method, found, (rows, units), "a score for each example and output unit")
    if found.dtype == torch.bool or found.is_complex():
        raise UserError(
            f"{hook(part, method)} gives scores, of which the highest is the answer; "
            f"it gave {found.dtype}. Give real numbers."
        )


def check_ranks(
    part: object,
    method: str,
    found: Any,
    rows: int,
) -> None:
    """Raise `UserError` unless a hook gives a number for each example."""
    _check_shape(part, method, found, (rows,), "a number for each example")


def check_loss(
    part: object,
    method: str,
    found: Any,
) -> None:
    """Raise `UserError` unless a loss is a single number."""
    _check_shape(part, method, found, (), "one number, such as the mean over examples")


def _check_shape(
    part: object,
    method: str,
    found: Any,
    wanted: tuple[int, ...],
    what: str,
) -> None:
    name = hook(part, method)
    if not isinstance(found, Tensor):
        raise UserError(
            f"{name} gives a tensor, {what}; it gave {_called(found)}, wanted {wanted}."
        )
    shape = tuple(found.shape)
    if shape != wanted:
        raise UserError(f"{name} gives {what}; it gave {shape}, wanted {wanted}.")


def check_tensors(
    part: object,
    method: str,
    found: Any,
) -> None:
    """Raise `UserError` unless a hook gives a dictionary of tensors, of any nesting."""
    rule = f"{hook(part, method)} gives a dictionary of tensors by name"
    if not isinstance(found, dict):
        raise UserError(f"{rule}; it gave {_called(found)}.")
    for name, value in _leaves(found).items():
        if not isinstance(value, Tensor):
            raise UserError(
                f"{rule}; it gave {_called(value)} for {name}. "
                "Make it a tensor, such as torch.zeros(())."
            )


def check_kept(
    part: object,
    method: str,
    found: State,
    columns: Params,
    rows: int,
) -> None:
    """Check what a hook keeps with the examples in memory.

    Args:
        part: The strategy whose hook it is.
        method: The name of the hook.
        found: The state that the hook gave.
        columns: The columns of the memory, slot by slot.
        rows: The number of examples that the hook was given.

    Raises:
        UserError: If the memory has no such column, or values have another shape.
    """
    for name, value in found.to_keep.items():
        if name not in columns:
            raise UserError(
                f"{hook(part, method)} keeps {name!r}, and the memory has no such column. "
                f"Declare it: Reservoir(..., keep=({name!r},))."
            )
        wanted = (rows, *columns[name].shape[1:])
        _check_shape(part, method, value, wanted, f"a value of {name!r} to keep for each example")


def check_kept_in_time(part: object, found: State, memory: Memory | None) -> None:
    """Check that a memory takes examples along the way if steps keep values with them.

    Raises:
        UserError: If it takes them when an experience ends, when these values are gone.
    """
    if not found.to_keep or memory is None:
        return
    if memory.at_end or isinstance(memory, ExemplarMemory):
        raise UserError(
            f"{hook(part, 'step')} keeps {_listed([*found.to_keep])} with incoming examples, and "
            "this memory takes them when their experience ends. Keep values in end_experience, or "
            "choose a memory that takes examples at every step, such as policy=reservoir."
        )


def check_no_log(part: object, method: str, found: State) -> None:
    """Raise `UserError` if a hook other than `step` logs statistics."""
    if found.to_log:
        raise UserError(
            f"Statistics are those of steps; {hook(part, method)} logs {_listed([*found.to_log])}. "
            "Log in step."
        )


def check_logged(part: object, method: str, found: State) -> None:
    """Raise `UserError` unless each statistic that a hook logs is a single number."""
    for name, value in found.to_log.items():
        _check_shape(part, method, value, (), f"one number as its statistic {name!r}")


def check_state(
    part: object,
    method: str,
    found: Any,
    given: State,
) -> None:
    """Check that a hook gives a state of the same form as the one that it was given.

    Raises:
        UserError: If the names, shapes or dtypes of the tensors differ.
    """
    check_kind(part, method, found, State)
    # What is kept and logged is of this step alone.
    faults = misfits(found.replace(to_keep={}, to_log={}), given)
    if faults:
        # Meta-strategies have no experiences in which a state could grow.
        growth = (
            "; with grows: ClassVar[bool] = True, begin_experience may add and resize tensors"
            if hasattr(part, "grows")
            else ""
        )
        raise UserError(
            f"{hook(part, method)} gives a State whose tensors have the names, shapes and dtypes "
            f"of the one it was given; {faults}. "
            f"Tensors that come later start in init, at their final size{growth}."
        )


def misfits(found: Any, wanted: Any) -> str:
    """The differences in names, shapes and dtypes of the tensors of two structures.

    The order of names does not count.

    Args:
        found: The structure.
        wanted: The one whose form it is to have.

    Returns:
        The first differences, in words; empty if there is none.
    """
    before = _leaves(wanted)
    after = _leaves(found)
    missing = [f"{name} is missing" for name in before if name not in after]
    added = [f"{name} is new" for name in after if name not in before]
    kept = [name for name in before if name in after]
    others = [_misfit(name, after[name], before[name]) for name in kept]
    # An empty string stands for a tensor that fits.
    return _listed([*missing, *added, *filter(None, others)])


def _listed(names: list[str]) -> str:
    """The first few names, and the number of the others."""
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more


def _misfit(
    name: str,
    found: Any,
    wanted: Tensor,
) -> str:
    """The difference between a tensor and the one that is wanted; empty if there is none."""
    if not isinstance(found, Tensor):
        return f"{name} is {_called(found)}, no tensor"
    if found.shape != wanted.shape:
        return f"{name} has shape {tuple(found.shape)}, wanted {tuple(wanted.shape)}"
    if found.dtype != wanted.dtype:
        return f"{name} is {found.dtype}, wanted {wanted.dtype}"
    return ""


def check_counts(
    part: object,
    method: str,
    found: Any,
    wanted: np.ndarray,
) -> None:
    """Raise `UserError` unless a hook gives a whole number for each step."""
    gave = _called(found)
    if isinstance(found, np.ndarray):
        if found.shape == wanted.shape and found.dtype.kind in "iu":
            return
        gave = f"{found.dtype} of shape {found.shape}"
    raise UserError(
        f"{hook(part, method)} gives whole numbers, an array of shape {wanted.shape}; "
        f"it gave {gave}."
    )


def check_kind(
    part: object,
    method: str,
    found: Any,
    kind: type,
    none: bool = False,
) -> None:
    """Check that a hook gives an instance of a class.

    Args:
        part: The strategy whose hook it is.
        method: The name of the hook.
        found: The value that the hook gave.
        kind: The class.
        none: True if None is allowed, too.

    Raises:
        UserError: If it is anything else.
    """
    if isinstance(found, kind) or (none and found is None):
        return
    allowed = f"{kind.__name__} or None" if none else kind.__name__
    raise UserError(f"{hook(part, method)} gives a {allowed}; it gave {_called(found)}.")


def copied(given: dict[str, Any]) -> dict[str, Tensor]:
    """A copy of every tensor that a hook is given, by name."""
    tensors = _named(given)
    return {name: value.clone() for name, value in tensors.items()}


def changed(
    given: dict[str, Any],
    before: dict[str, Tensor],
) -> dict[str, Tensor]:
    """For every tensor that a hook was given, True if the hook changed it in place.

    Works inside `vmap`.

    Args:
        given: The arguments of the hook, by name.
        before: Their copies from before the call, as made by `copied`.
    """
    marks = {}
    for name, value in _named(given).items():
        marks[name] = _differs(value, before[name]).any()
    return marks


def _differs(now: Tensor, before: Tensor) -> Tensor:
    differs = now != before
    if not now.is_floating_point():
        return differs
    # NaN never equals itself: a number that was NaN and still is was not changed.
    unchanged = now.isnan() & before.isnan()
    return differs & ~unchanged


def check_unchanged(
    part: object,
    method: str,
    marks: dict[str, Tensor],
) -> None:
    """Check that a hook left its inputs as they were.

    Args:
        part: The strategy whose hook it is.
        method: The name of the hook.
        marks: The result of `changed`, with any leading axes.

    Raises:
        UserError: If a tensor was changed in place in any replicate.
    """
    names = [name for name, mark in marks.items() if bool(mark.any())]
    if names:
        raise UserError(
            f"{hook(part, method)} changes {_listed(names)} in place, which others read; "
            "return new tensors: x - y for x.sub_(y), torch.where for x[mask] = y, "
            "{**old, name: new} for old[name] = new."
        )


def check_apart(
    part: object,
    method: str,
    together: Float[Tensor, "row unit"],
    alone: Float[Tensor, "row unit"],
) -> None:
    """Check that scores of an example do not depend on the examples predicted with it.

    Args:
        part: The strategy whose hook it is.
        method: The name of the hook.
        together: The scores of some examples, predicted together.
        alone: The scores of the same examples, each predicted alone.

    Raises:
        UserError: If they differ by more than rounding.
    """
    if not agree(together, alone):
        raise UserError(
            f"{hook(part, method)} gives each example scores that do not depend on the others of "
            "its batch, whose order and number may change; its scores of an example alone and with "
            "others differ. Compute with each row by itself: no mean, spread or rank over rows."
        )


def check_repeated(part: object, method: str, first: Any, second: Any) -> None:
    """Check that a hook gave the same tensors twice, but for rounding.

    Args:
        part: The strategy whose hook it is.
        method: The name of the hook.
        first: The result of the first call.
        second: The result of the second call with the same arguments.

    Raises:
        UserError: If they differ.
    """
    pairs = zip(pytree.tree_leaves(first), pytree.tree_leaves(second), strict=True)
    tensors = [(one, other) for one, other in pairs if isinstance(one, Tensor)]
    if all(_close(one, other) for one, other in tensors):
        return
    raise UserError(
        f"{hook(part, method)} gives the same again if it is called with the same arguments, so "
        "that replicates follow from their seeds; it gave other numbers. Draw them by "
        "net.uniform or net.normal, and keep nothing on self or in globals."
    )


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one.double(), other.double(), rtol=1e-3, atol=1e-5, equal_nan=True)


def _named(given: dict[str, Any]) -> dict[str, Tensor]:
    """Every tensor in the arguments of a hook, by the name under which its author knows it."""
    named: dict[str, Tensor] = {}
    for root, tree in given.items():
        for name, value in _leaves(tree).items():
            if isinstance(value, Tensor):
                named[root + _joined(name)] = value
    return named


def _joined(name: str) -> str:
    """The name of a leaf as it follows that of its tree."""
    # The tree may be a tensor itself, or a dictionary.
    if not name or name.startswith((".", "[")):
        return name
    return f".{name}"


def _leaves(tree: Any) -> dict[str, Any]:
    """Every leaf of a structure by its path as an author writes it, such as `extra['seen']`."""
    leaves = {}
    for path, leaf in pytree.tree_flatten_with_path(tree)[0]:
        # A path starts with a dot if the tree has fields.
        name = pytree.keystr(path).lstrip(".")
        leaves[name] = leaf
    return leaves


def _called(value: object) -> str:
    """The kind and size of a value, for an error."""
    if value is None:
        return "None"
    kind = type(value).__name__
    if isinstance(value, tuple | list | dict):
        return f"a {kind} of {len(value)}"
    if isinstance(value, Tensor | np.ndarray):
        return f"{_article(kind)} of shape {tuple(value.shape)}"
    return _article(kind)


def _article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
