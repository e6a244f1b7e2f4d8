"""An author's own code: which line of it raised, and a boundary that turns whatever it raises into one error for people."""

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

LONGEST = 400
"""Characters of an error's text that are shown; some quote whole arrays."""
_ENGINE = "retrograde"
_PARTS = tuple(f"{_ENGINE}.{kind}" for kind in ("benchmarks", "strategies", "results"))
_NOTEBOOK = ("<ipython", "<stdin")


def stops(error: BaseException) -> bool:
    """True if an exception is meant to end the program: Ctrl-C, or one of the engine's own that is no `Exception`.

    All others, `SystemExit` and `GeneratorExit` among them, may come out of an author's code and cost that part alone.
    """
    return isinstance(error, KeyboardInterrupt) or (
        not isinstance(error, Exception) and type(error).__module__.partition(".")[0] == _ENGINE
    )


def described(error: BaseException) -> str:
    """The type and the text of an exception on one line, even where its `str` raises."""
    kind = type(error).__name__
    try:
        text = str(error)
    except BaseException as another:
        if stops(another):
            raise
        return f"{kind} (whose text cannot be had: str() raises {type(another).__name__})"
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    shown = line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
    return f"{kind}: {shown}" if shown else kind


def place(error: BaseException, part: object = None) -> str:
    """The innermost line of an author's that a traceback goes through, as `file.py:23`; empty if there is none.

    Lines of the parts that ship count only where no other author's are there.
    """
    home = _package(part)
    frames = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not _of_engine(frame)
    ]
    outside = [
        _at(frame.f_code, line)
        for frame, line in frames
        if not _is_part(frame) and _is_own(frame, home)
    ]
    shipped = [_at(frame.f_code, line) for frame, line in frames if _is_part(frame)]
    return (outside or shipped or [""])[-1]


def located(error: BaseException, part: object = None) -> str:
    """An exception with the author's line: `er_aug.py:23: ValueError: not enough values to unpack`.

    Where no such line is in its traceback, as of a method that takes other arguments, the line at which the class of a part
    that does not ship begins stands for it.
    """
    where = place(error, part) or (begins(part, _wrongly_called(error)) if _package(part) else "")
    rule = _FROZEN if isinstance(error, dataclasses.FrozenInstanceError) else ""
    return (f"{where}: " if where else "") + described(error) + rule


def _wrongly_called(error: BaseException) -> str:
    """The method that took other arguments than it was given; empty if that is not the error."""
    found = re.match(
        r"[\w.]*\.(\w+)\(\) (?:takes|missing|got)", described(error).removeprefix("TypeError: ")
    )
    return found[1] if found and isinstance(error, TypeError) else ""


_FROZEN = (
    " (a part that is frozen keeps nothing on itself: a strategy's tensors go into state.extra)"
)


def begins(part: object, method: str = "") -> str:
    """The line at which a part's class, or one of its methods, begins, as `file.py:12`; empty where there is no source."""
    kind = part if inspect.isclass(part) else type(part)
    code = (
        getattr(inspect.unwrap(getattr(kind, method, None) or (lambda: None)), "__code__", None)
        if method
        else None
    )
    if isinstance(code, CodeType):
        return _at(code, code.co_firstlineno)
    try:
        _, line = inspect.getsourcelines(kind)
        return f"{Path(inspect.getsourcefile(kind) or '').name}:{line}"
    except (OSError, TypeError):
        return ""


def hook(part: object, method: str) -> str:
    """A method of a part, with its line: `ERAug.predict (er_aug.py:31)`."""
    kind = part if inspect.isclass(part) else type(part)
    where = begins(part, method)
    return f"{kind.__name__}.{method}" + (f" ({where})" if where else "")


@contextmanager
def guarded(what: str, part: object = None, more: str = "") -> Iterator[None]:
    """Raise `UserError`, with the author's line, where the code in here raises.

    It reads "WHAT: mine.py:23: KeyError: 'x'. MORE". An error that is one for people already gets the line alone, if an
    author's own code led to it.
    """
    try:
        yield
    except UserError as error:
        where = place(error, part)
        named = where.partition(":")[0] in str(
            error
        )  # as by the boundary, or where the time was over
        if not where or named or _from_part(error):
            raise
        raise UserError(f"{where}: {error}") from error
    except BaseException as error:
        if stops(error):
            raise
        raise UserError(
            f"{what}: {located(error, part).removesuffix('.')}.{more and ' '}{more}"
        ) from error


def whole(error: BaseException) -> str:
    """The whole traceback, with its causes, for `--traceback`."""
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
    """True if a frame is neither of an installed library nor of code without a file; the part's own package counts as own."""
    file = frame.f_code.co_filename
    if file.startswith("<"):
        return file.startswith(_NOTEBOOK)
    if home and _module(frame).partition(".")[0] == home:
        return True
    path = Path(file)
    return not {"site-packages", "dist-packages"} & {*path.parts} and not path.is_relative_to(
        sysconfig.get_path("stdlib")
    )


def _package(part: object) -> str:
    """The package that a part comes from, where that is not the engine."""
    module = (part if inspect.isclass(part) else type(part)).__module__ if part is not None else ""
    package = module.partition(".")[0]
    return "" if package in (_ENGINE, "builtins") else package


def _from_part(error: BaseException) -> bool:
    """True if the innermost frame outside the engine is one of the parts that ship, whose errors are written for people."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if not _of_engine(frame)]
    return bool(frames) and _is_part(frames[-1])
