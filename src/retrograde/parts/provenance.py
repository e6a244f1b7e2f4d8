"""The code that made a record: the files of its parts by content, and what changed between two of them."""

import ast
import hashlib
import importlib
import inspect
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import NamedTuple

from retrograde.parts.spec import digest

Files = dict[str, str]
"""A part's own file first, then those that it imports from beside it: name -> digest of the content."""
Sources = dict[str, Files]
"""The files behind a record, by role: strategy, benchmark and, where it is not one of the suite's, model."""

SHORT = 7
"""Digits of a digest that people are shown."""
INSTALLED = {"site-packages", "dist-packages"}
PARTS = ("strategies", "benchmarks")
"""The folders of the suite whose files count as parts, not as the engine."""


def files(path: Path | None) -> Files:
    """The digests of a Python file and of every file that it imports from beside it, directly or not.

    Names are as seen from the file's folder, so that they do not depend on where it lies. A file of an installed package is
    identified by the version of the package. Imports are read, not executed: those that are computed are not seen.
    """
    if path is None or not path.is_file():
        return {}
    if installed := _installed(path.resolve()):
        return installed
    main = path.absolute()  # a link is named as it lies: where it leads is nobody's business
    found: dict[Path, bytes] = {}
    seen: set[Path] = set()
    todo = [main]
    while todo:
        file = todo.pop()
        if file.resolve() not in seen:
            seen.add(file.resolve())
            found[file] = file.read_bytes().replace(
                b"\r\n", b"\n"
            )  # a checkout may change the ends of lines
            todo += _imported(file, found[file], main.parent)
    beside = sorted((_name(file, main), text) for file, text in found.items() if file != main)
    return {
        name: hashlib.sha256(text).hexdigest()[:12]
        for name, text in [(main.name, found[main]), *beside]
    }


def _installed(file: Path) -> Files:
    """The version of the package to which a file belongs, unless it is followed file by file."""
    places = [number for number, word in enumerate(file.parts[:-1]) if word in INSTALLED]
    if not places or _part_folder(file):
        return {}
    package = file.parts[places[-1] + 1].removesuffix(".py")
    try:
        return {name: version(name) for name in packages_distributions().get(package, [])[:1]}
    except PackageNotFoundError:
        return {}


def _part_folder(file: Path) -> str:
    """The kind of part whose folder in the suite a file lies in; empty if none."""
    return next((kind for kind in PARTS if file.parent.resolve() in _folders(kind)), "")


def _folders(kind: str) -> list[Path]:
    return [
        Path(folder).resolve() for folder in importlib.import_module(f"retrograde.{kind}").__path__
    ]


def _name(file: Path, main: Path) -> str:
    kind = _part_folder(file)
    if kind and file.parent != main.parent:
        return f"retrograde/{kind}/{file.name}"
    return Path(os.path.relpath(file, main.parent)).as_posix()


def _imported(file: Path, text: bytes, beside: Path) -> Iterator[Path]:
    """The files beside a file, or beside the part that it belongs to, that it imports."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # importing it says so
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            words = node.module.split(".") if node.module else []
            names = [alias.name for alias in node.names]
            for base, rest in _bases(file, node.level, words, beside):
                yield from _walked(base, rest, names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                for base, rest in _bases(file, 0, alias.name.split("."), beside):
                    yield from _walked(base, rest, [])


def _bases(
    file: Path, level: int, words: list[str], beside: Path
) -> Iterator[tuple[Path, list[str]]]:
    """The folders from which an import may be found, and the words that lead on from there."""
    if level:
        yield file.parents[min(level, len(file.parents)) - 1], words
    elif words[0] == "retrograde":
        # The engine is no part: records have its version and commit.
        if len(words) > 1 and words[1] in PARTS:
            yield from ((folder, words[2:]) for folder in _folders(words[1]))
    else:
        top = _top_package(file)
        own = [top.parent] if top is not None and top.name == words[0] else []
        folders = [folder for folder in (file.parent, beside) if folder.name not in INSTALLED]
        yield from ((folder, words) for folder in dict.fromkeys([*folders, *own]))


def _top_package(file: Path) -> Path | None:
    """The outermost package that a file lies in."""
    packages = []
    for folder in file.parents:
        if not (folder / "__init__.py").is_file():
            break
        packages.append(folder)
    return packages[-1] if packages else None


def _walked(base: Path, words: list[str], names: Iterable[str]) -> Iterator[Path]:
    """The files that importing `names` from the module `words` runs, as far as they lie under a folder."""
    here = base
    for word in words:
        file = _module(here, word)
        if file is None and not (here / word).is_dir():
            return
        if file is not None:
            yield file
            if file.name != "__init__.py":
                return
        here /= word
    for name in names:
        file = _module(here, name) or _module(
            here.parent, here.name
        )  # a module, or what the package itself defines
        if file is not None:
            yield file


def _module(folder: Path, name: str) -> Path | None:
    """The file of a package or a module in a folder."""
    candidates = (folder / name / "__init__.py", folder / f"{name}.py")
    return next((file for file in candidates if file.is_file()), None)


def source_digest(path: Path | None) -> str:
    """Twelve hexadecimal digits that identify a strategy's file, and the private files beside it that it imports.

    Records before schema 6 have nothing else of their code; `files` sees more.
    """
    if not path or not path.is_file():
        return ""
    text, beside = path.read_bytes(), sorted(path.parent.glob("_*.py"))
    for _ in beside:  # a private file may import another
        added = [
            file
            for file in beside
            if f"from .{file.stem} import".encode() in text and file.read_bytes() not in text
        ]
        text += b"".join(file.read_bytes() for file in added)
    return hashlib.sha256(text).hexdigest()[:12]


def class_digest(cls: type) -> tuple[Files, str]:
    """The digest of a class that lies in no file, from the text of its methods, under its name; nothing where that is lost."""
    texts = []
    for function in filter(inspect.isfunction, vars(cls).values()):
        with suppress(OSError):  # what `dataclass` has written
            texts.append(inspect.getsource(function))
    if not texts:
        return {}, ""
    found = hashlib.sha256("".join(texts).encode()).hexdigest()[:12]
    return {cls.__name__: found}, found


class Change(NamedTuple):
    """A file that is not the one that a record was made with; empty digests: there is none, or none is known."""

    role: str
    part: str  # the part's own file, or what it is called
    file: str
    old: str
    new: str

    @property
    def what(self) -> str:
        """The file in words."""
        return (
            f"{self.role} {self.file}"
            if self.file == self.part
            else f"{self.file} (imported by {self.role} {self.part})"
        )

    @property
    def digests(self) -> str:
        """Both digests, short."""
        return f"{short(self.old)} -> {short(self.new)}"


def short(text: str) -> str:
    """The digest as people are shown it; of an installed package, the whole version."""
    return (text if "." in text else text[:SHORT]) or "none"


class Code(NamedTuple):
    """The code of a replicate: its files, and the digest that was all that records had before schema 6."""

    sources: Sources
    source: str
    strategy: str  # the name of the strategy


def changes(old: Code, new: Code) -> list[Change]:
    """The files that changed; where either side does not know its files, the digest of the strategy's alone is compared."""
    if old.sources and new.sources:
        return [
            change
            for role in new.sources | old.sources
            for change in _changed(role, old.sources, new.sources)
        ]
    if not (old.source and new.source) or old.source == new.source:
        return []
    own = next(iter(new.sources.get("strategy") or old.sources.get("strategy", {})), new.strategy)
    return [Change("strategy", own, own, old.source, new.source)]


def _changed(role: str, old: Sources, new: Sources) -> list[Change]:
    before, after = old.get(role, {}), new.get(role, {})
    part = next(iter(after or before), "")
    found = [
        Change(role, part, name, before.get(name, ""), after.get(name, ""))
        for name in after | before
        if before.get(name) != after.get(name)
    ]
    # A file that came or went did so because another changed, which says enough.
    return [change for change in found if change.old and change.new] or found


def version_digest(code: Code) -> str:
    """Digits that identify the code of a replicate."""
    return digest(code.sources)[:SHORT] if code.sources else code.source[:SHORT]
