"""Errors of an author's code: the line that raised, and a boundary that makes them `UserError`s."""

import dataclasses
import inspect
import re
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType

from retrograde.errors import UserError
from retrograde.parts.kinds import KINDS
from retrograde.parts.vmap_errors import translated

MAX_LENGTH = 400
"""Maximum number of characters of an error's text that are shown; some quote whole arrays."""
_ENGINE = "retrograde"
_PARTS = tuple(f"{_ENGINE}.{kind}" for kind in KINDS)
_NOTEBOOK = ("<ipython", "<stdin")
_INSTALLED = {"site-packages", "dist-packages"}


def stops(error: BaseException) -> bool:
    """True if an exception is meant to end the program.

    It is Ctrl-C, or one of the engine's own that is no `Exception`. All others, `SystemExit` and
    `GeneratorExit` included, may come from an author's code and affect only that part.
    """
    if isinstance(error, KeyboardInterrupt):
        return True
    package = type(error).__module__.partition(".")[0]
    return not isinstance(error, Exception) and package == _ENGINE


def described(error: BaseException) -> str:
    """The type and the text of an exception on one line, even if its `str` raises."""
    kind = type(error).__name__
    try:
        text = str(error)
    except BaseException as another:
        if stops(another):
            raise
        return f"{kind} (whose text cannot be had: str() raises {type(another).__name__})"
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    line = " ".join(printable.split())
    shown = line if len(line) <= MAX_LENGTH else f"{line[:MAX_LENGTH]}…"
    return f"{kind}: {shown}" if shown else kind


def place(error: BaseException, part: object = None) -> str:
    """The innermost line of an author's code in a traceback, as `file.py:23`; empty if none.

    Lines of the parts that ship count only if there is no other author's.

    Args:
        error: the exception with its traceback.
        part: the author's part, if it is known; all code of its package counts as the author's.
    """
    home = _package(part)
    outside = ""
    shipped = ""
    # The innermost frame comes last.
    for frame, line in traceback.walk_tb(error.__traceback__):
        if _is_part(frame):
            shipped = _at(frame.f_code, line)
        elif not _of_engine(frame) and _is_own(frame, home):
            outside = _at(frame.f_code, line)
    return outside or shipped


def located(error: BaseException, part: object = None) -> str:
    """An exception with the author's line.

    An example is `er_aug.py:23: ValueError: not enough values to unpack`. The traceback may hold no
    line of the author, as in the case of a method that takes other arguments. Then the line is
    the one at which the method or the class begins, if the part is not one that ships.
    """
    where = place(error, part)
    if not where and _package(part):
        where = begins(part, _wrongly_called(error))
    prefix = f"{where}: " if where else ""
    return prefix + _in_words(error)


def _in_words(error: BaseException) -> str:
    """The text of an exception; of those that PyTorch raises under `vmap`, its rule and remedy."""
    said = described(error)
    if isinstance(error, dataclasses.FrozenInstanceError):
        return said + _FROZEN
    own_text = said.partition(": ")[2]
    return translated(own_text) or said


_WRONG_CALL = re.compile(r"[\w.]*\.(\w+)\(\) (?:takes|missing|got)")


def _wrongly_called(error: BaseException) -> str:
    """The method that takes other arguments than it was given; empty if that is not the error."""
    if not isinstance(error, TypeError):
        return ""
    match = _WRONG_CALL.match(described(error).removeprefix("TypeError: "))
    return match[1] if match else ""


_FROZEN = (
    " (a part that is frozen keeps nothing on itself: a strategy's tensors go into state.extra)"
)


def begins(part: object, method: str = "") -> str:
    """The line at which a part's class, or one of its methods, begins, as `file.py:12`.

    It is empty if there is no source.

    Args:
        part: a class, or an object of it.
        method: name of the method; the class's line if empty or not found.
    """
    kind = part if inspect.isclass(part) else type(part)
    function = getattr(kind, method, None) if method else None
    # A decorated method has its own line in the function that is wrapped.
    code = getattr(inspect.unwrap(function), "__code__", None) if function else None
    if isinstance(code, CodeType):
        return _at(code, code.co_firstlineno)
    try:
        _, line = inspect.getsourcelines(kind)
        file = inspect.getsourcefile(kind) or ""
    except (OSError, TypeError):
        return ""
    return f"{Path(file).name}:{line}"


def hook(part: object, method: str) -> str:
    """A method of a part, with its line: `ERAug.predict (er_aug.py:31)`."""
    kind = part if inspect.isclass(part) else type(part)
    where = begins(part, method)
    return f"{kind.__name__}.{method}" + (f" ({where})" if where else "")


@contextmanager
def guarded(
    what: str,
    part: object = None,
    more: str = "",
) -> Iterator[None]:
    """Raise `UserError`, with the author's line, if the block raises.

    The error reads "WHAT: mine.py:23: KeyError: 'x'. MORE". A `UserError` only gets the line, if an
    author's own code led to it.

    Args:
        what: start of the error's text, such as "er cannot be used".
        part: the author's part, if it is known.
        more: end of the text, such as a remedy.
    """
    try:
        yield
    except UserError as error:
        where = place(error, part)
        # An inner boundary or a time limit has named the file already.
        named = where.partition(":")[0] in str(error)
        if not where or named or _from_part(error):
            raise
        raise UserError(f"{where}: {error}") from error
    except BaseException as error:
        if stops(error):
            raise
        reason = located(error, part).removesuffix(".")
        remedy = f" {more}" if more else ""
        raise UserError(f"{what}: {reason}.{remedy}") from error


def whole(error: BaseException) -> str:
    """The complete traceback of an exception with its causes, for `--traceback`."""
    return "".join(traceback.format_exception(error))


def _at(code: CodeType, line: int) -> str:
    return f"{Path(code.co_filename).name}:{line}"


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _is_part(frame: FrameType) -> bool:
    return _module(frame).startswith(_PARTS)


def _of_engine(frame: FrameType) -> bool:
    return _module(frame).partition(".")[0] == _ENGINE and not _is_part(frame)


def _is_own(frame: FrameType, home: str) -> bool:
    """True if a frame is of an author's code: of a file outside installed libraries.

    The package of the part, whose name is `home`, counts as the author's wherever it lies.
    """
    file = frame.f_code.co_filename
    # Code without a file is generated, except in a notebook.
    if file.startswith("<"):
        return file.startswith(_NOTEBOOK)
    if home and _module(frame).partition(".")[0] == home:
        return True
    path = Path(file)
    if not _INSTALLED.isdisjoint(path.parts):
        return False
    return not path.is_relative_to(sysconfig.get_path("stdlib"))


def _package(part: object) -> str:
    """The package of a part; empty if it is the engine's."""
    if part is None:
        return ""
    kind = part if inspect.isclass(part) else type(part)
    package = kind.__module__.partition(".")[0]
    return "" if package in (_ENGINE, "builtins") else package


def _from_part(error: BaseException) -> bool:
    """True if the innermost frame outside the engine is one of the parts that ship.

    Their errors are written for people already.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if not _of_engine(frame)]
    return bool(frames) and _is_part(frames[-1])
