"""What an author's hooks give back to the engine: its shapes, its structure, and whether they left alone what they were given.

All of it is verified on a trial step before anything trains. Inside `vmap` a shape is that of one replicate, as the author
sees it.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from retrograde.errors import UserError
from retrograde.interface.batch import Batch
from retrograde.interface.state import State
from retrograde.parts.author_code import hook

MOST = 3
"""Tensors of a state that an error names; a bug in one line tends to spoil all of them."""


def check_scores(part: object, method: str, found: Any, rows: int, units: int) -> None:
    """Raise `UserError` unless there is a floating-point score for each example and output unit."""
    _check_shape(part, method, found, (rows, units), "a score for each example and output unit")
    if found.dtype == torch.bool or found.is_complex():
        raise UserError(
            f"{hook(part, method)} gives scores, of which the highest is the answer; it gave {found.dtype}. Give real numbers."
        )


def check_ranks(part: object, method: str, found: Any, rows: int) -> None:
    """Raise `UserError` unless there is a number for each example."""
    _check_shape(part, method, found, (rows,), "a number for each example")


def check_loss(part: object, method: str, found: Any) -> None:
    """Raise `UserError` unless a loss is a single number."""
    _check_shape(part, method, found, (), "one number, such as the mean over examples")


def _check_shape(part: object, method: str, found: Any, wanted: tuple[int, ...], what: str) -> None:
    if not isinstance(found, Tensor):
        raise UserError(
            f"{hook(part, method)} gives a tensor, {what}; it gave {_called(found)}, wanted {wanted}."
        )
    if tuple(found.shape) != wanted:
        raise UserError(
            f"{hook(part, method)} gives {what}; it gave {tuple(found.shape)}, wanted {wanted}."
        )


def check_own(part: object, method: str, found: Any) -> None:
    """Raise `UserError` unless a hook gives a dictionary of tensors."""
    if not isinstance(found, dict):
        raise UserError(
            f"{hook(part, method)} gives a dictionary of tensors by name; it gave {_called(found)}."
        )
    for name, value in _leaves(found).items():
        if not isinstance(value, Tensor):
            raise UserError(
                f"{hook(part, method)} gives a dictionary of tensors by name; it gave {_called(value)} for {name}. "
                "Make it a tensor, such as torch.zeros(())."
            )


def check_state(part: object, method: str, found: Any, given: State) -> None:
    """Raise `UserError` unless a hook gives a state whose tensors have the names, shapes and dtypes of the one it was given."""
    rule = f"{hook(part, method)} gives a State whose tensors have the names, shapes and dtypes of the one it was given"
    check_kind(part, method, found, State)
    before, after = _leaves(given), _leaves(found)
    faults = [
        *(f"{name} is missing" for name in before if name not in after),
        *(f"{name} is new" for name in after if name not in before),
        *(
            fault
            for name, value in before.items()
            if name in after and (fault := _misfit(name, after[name], value))
        ),
    ]
    if faults:
        more = f" and {len(faults) - MOST} more" if len(faults) > MOST else ""
        raise UserError(
            f"{rule}; {', '.join(faults[:MOST])}{more}. Tensors that come later start in init, at their final size."
        )


def _misfit(name: str, found: Any, wanted: Tensor) -> str:
    if not isinstance(found, Tensor):
        return f"{name} is {_called(found)}, no tensor"
    if found.shape != wanted.shape:
        return f"{name} has shape {tuple(found.shape)}, wanted {tuple(wanted.shape)}"
    return f"{name} is {found.dtype}, wanted {wanted.dtype}" if found.dtype != wanted.dtype else ""


def check_batch(part: object, method: str, found: Any, shape: tuple[int, ...]) -> None:
    """Raise `UserError` unless a hook gives a batch of examples of that shape, with as many labels, tasks and weights."""
    if not isinstance(found, Batch):
        raise UserError(
            f"{hook(part, method)} gives a Batch of examples; it gave {_called(found)}."
        )
    shapes = [tuple(value.shape) if isinstance(value, Tensor) else None for value in found]
    rows = len(found.x) if shapes[0] else 0
    if shapes != [(rows, *shape), (rows,), (rows,), (rows,)]:
        gave = ", ".join(f"{name} {each}" for name, each in zip(Batch._fields, shapes, strict=True))
        raise UserError(
            f"{hook(part, method)} gives a Batch of examples of shape {shape}, as many y, task and weight; it gave {gave}."
        )


def check_counts(part: object, method: str, found: Any, wanted: np.ndarray) -> None:
    """Raise `UserError` unless there is a whole number for each step."""
    if not (
        isinstance(found, np.ndarray) and found.shape == wanted.shape and found.dtype.kind in "iu"
    ):
        gave = (
            f"{found.dtype} of shape {found.shape}"
            if isinstance(found, np.ndarray)
            else _called(found)
        )
        raise UserError(
            f"{hook(part, method)} gives whole numbers, an array of shape {wanted.shape}; it gave {gave}."
        )


def check_kind(part: object, method: str, found: Any, kind: type, none: bool = False) -> None:
    """Raise `UserError` unless a hook gives a value of that class, or None where that is allowed."""
    if not (isinstance(found, kind) or (none and found is None)):
        raise UserError(
            f"{hook(part, method)} gives a {kind.__name__}{' or None' if none else ''}; it gave {_called(found)}."
        )


def copied(given: dict[str, Any]) -> dict[str, Tensor]:
    """A copy of every tensor that a hook is given, by name."""
    return {name: value.clone() for name, value in _named(given).items()}


def changed(given: dict[str, Any], before: dict[str, Tensor]) -> dict[str, Tensor]:
    """For every tensor that a hook was given, True if the hook changed it in place; works inside `vmap`."""
    return {name: _differs(value, before[name]).any() for name, value in _named(given).items()}


def _differs(now: Tensor, before: Tensor) -> Tensor:
    differs = now != before
    return differs & ~(now.isnan() & before.isnan()) if now.is_floating_point() else differs


def check_unchanged(part: object, method: str, marks: dict[str, Tensor]) -> None:
    """Raise `UserError` where a hook changed what it was given, in any replicate."""
    names = [name for name, mark in marks.items() if bool(mark.any())]
    if names:
        more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
        raise UserError(
            f"{hook(part, method)} changes {', '.join(names[:MOST])}{more} in place, which others read; return new tensors: "
            "x - y for x.sub_(y), torch.where for x[mask] = y, {**old, name: new} for old[name] = new."
        )


def _named(given: dict[str, Any]) -> dict[str, Tensor]:
    """Every tensor of what a hook is given, by the name under which its author knows it."""
    pairs = (
        (root + _joined(name), value)
        for root, tree in given.items()
        for name, value in _leaves(tree).items()
    )
    return {name: value for name, value in pairs if isinstance(value, Tensor)}


def _joined(name: str) -> str:
    return name if not name or name.startswith((".", "[")) else f".{name}"


def _leaves(tree: Any) -> dict[str, Any]:
    """Every leaf of a structure by its path, as one writes it: `extra['seen']` of a state."""
    leaves = {pytree.keystr(path): leaf for path, leaf in pytree.tree_flatten_with_path(tree)[0]}
    return {name.lstrip("."): leaf for name, leaf in leaves.items()}


def _called(value: object) -> str:
    if value is None:
        return "None"
    if isinstance(value, tuple | list | dict):
        return f"a {type(value).__name__} of {len(value)}"
    shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor | np.ndarray) else ""
    return f"{_article(type(value).__name__)}{shape}"


def _article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
