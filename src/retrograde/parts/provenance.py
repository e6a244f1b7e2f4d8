"""The code behind a record: digests of its parts' files, and changes between two records."""

import ast
import hashlib
import importlib
import os
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import NamedTuple

from retrograde.parts.spec import digest

Files = dict[str, str]
"""Digests of file contents by name: of a part's main file, then of those that it imports."""
Sources = dict[str, Files]
"""The files behind a record, by role: strategy, benchmark and, if it is not the suite's, model."""

DIGEST_DIGITS = 7
"""Number of digits of a digest that reports show."""
INSTALLED = {"site-packages", "dist-packages"}
PARTS = ("strategies", "benchmarks", "models", "datasets")
"""The folders of the suite whose files count as parts, not as the engine."""


def files(path: Path | None) -> Files:
    """The digests of a Python file and of every file that it imports from its folder.

    Indirect imports are included. Names are relative to the file's folder, so that they do not
    depend on its place. A file of an installed package is identified by the version of the package.
    Imports are read, not executed: those that are computed are not seen.
    """
    if path is None or not path.is_file():
        return {}
    installed = _installed(path.resolve())
    if installed:
        return installed
    # A link keeps its own name: the place that it leads to is private.
    main = path.absolute()
    contents = _contents(main)
    others = sorted((_name(file, main), text) for file, text in contents.items() if file != main)
    named = [(main.name, contents[main]), *others]
    return {name: hashlib.sha256(text).hexdigest()[:12] for name, text in named}


def beside(path: Path) -> dict[str, bytes]:
    """The contents of a Python file and of those that it imports from its folder, by their paths.

    Paths are relative to the folder. Files outside of it, such as the suite's, are left out.
    """
    main = path.absolute()
    contents = _contents(main)
    inside = [file for file in contents if file.is_relative_to(main.parent)]
    return {file.relative_to(main.parent).as_posix(): contents[file] for file in inside}


def _contents(main: Path) -> dict[Path, bytes]:
    """The contents of a file and of all that it imports from its folder, with Unix line ends."""
    contents: dict[Path, bytes] = {}
    seen: set[Path] = set()
    todo = [main]
    while todo:
        file = todo.pop()
        if file.resolve() in seen:
            continue
        seen.add(file.resolve())
        # A checkout may change the ends of lines.
        contents[file] = file.read_bytes().replace(b"\r\n", b"\n")
        todo += _imported(file, contents[file], main.parent)
    return contents


def _installed(file: Path) -> Files:
    """The version of the installed package that a file belongs to.

    It is empty for other files and for parts of the suite, which are read one by one.
    """
    places = [number for number, word in enumerate(file.parts[:-1]) if word in INSTALLED]
    if not places or _part_folder(file):
        return {}
    package = file.parts[places[-1] + 1].removesuffix(".py")
    try:
        distributions = packages_distributions().get(package, [])
        # Several distributions may share a package; the first one stands for all.
        return {name: version(name) for name in distributions[:1]}
    except PackageNotFoundError:
        return {}


def _part_folder(file: Path) -> str:
    """The kind of part if a file lies in that kind's folder of the suite; empty if it does not."""
    return next((kind for kind in PARTS if file.parent.resolve() in _folders(kind)), "")


def _folders(kind: str) -> list[Path]:
    package = importlib.import_module(f"retrograde.{kind}")
    return [Path(folder).resolve() for folder in package.__path__]


def _name(file: Path, main: Path) -> str:
    """The name of an imported file, which does not depend on where the suite is installed."""
    kind = _part_folder(file)
    if kind and file.parent != main.parent:
        return f"retrograde/{kind}/{file.name}"
    return Path(os.path.relpath(file, main.parent)).as_posix()


def _imported(
    file: Path,
    text: bytes,
    main_folder: Path,
) -> Iterator[Path]:
    """The files that a file imports from its own folder or from that of the part."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        # The import of the file raises the error that people see.
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            words = node.module.split(".") if node.module else []
            names = [alias.name for alias in node.names]
            for base, rest in _bases(file, node.level, words, main_folder):
                yield from _walked(base, rest, names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                for base, rest in _bases(file, 0, alias.name.split("."), main_folder):
                    yield from _walked(base, rest, [])


def _bases(
    file: Path,
    level: int,
    words: list[str],
    main_folder: Path,
) -> Iterator[tuple[Path, list[str]]]:
    """The folders in which an import may be found, each with the words that lead on from there."""
    if level:
        yield file.parents[min(level, len(file.parents)) - 1], words
    elif words[0] == "retrograde":
        # The engine is no part: records have its version and commit.
        if len(words) > 1 and words[1] in PARTS:
            yield from ((folder, words[2:]) for folder in _folders(words[1]))
    else:
        folders = [folder for folder in (file.parent, main_folder) if folder.name not in INSTALLED]
        top = _top_package(file)
        if top is not None and top.name == words[0]:
            folders.append(top.parent)
        # The folders may be the same; each is searched once.
        yield from ((folder, words) for folder in dict.fromkeys(folders))


def _top_package(file: Path) -> Path | None:
    """The outermost package that a file lies in."""
    packages = []
    for folder in file.parents:
        if not (folder / "__init__.py").is_file():
            break
        packages.append(folder)
    return packages[-1] if packages else None


def _walked(
    base: Path,
    words: list[str],
    names: Iterable[str],
) -> Iterator[Path]:
    """The files below a folder that run when `names` are imported from the module `words`."""
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
        # The name is a module, or something that the package itself defines.
        file = _module(here, name) or _module(here.parent, here.name)
        if file is not None:
            yield file


def _module(folder: Path, name: str) -> Path | None:
    """The file of a package or a module in a folder."""
    candidates = (folder / name / "__init__.py", folder / f"{name}.py")
    return next((file for file in candidates if file.is_file()), None)


class Change(NamedTuple):
    """A file that differs from the one that a record was made with.

    A digest is empty if there is no such file, or if it is not known.
    """

    role: str
    # The part's main file, or the name of the part.
    part: str
    file: str
    old: str
    new: str

    @property
    def what(self) -> str:
        """A description of the file."""
        if self.file == self.part:
            return f"{self.role} {self.file}"
        return f"{self.file} (imported by {self.role} {self.part})"

    @property
    def digests(self) -> str:
        """The old and the new digest, shortened."""
        return f"{short(self.old)} -> {short(self.new)}"


def short(text: str) -> str:
    """The digest as reports show it; the complete version of an installed package."""
    # A digest has no dot, but a version has.
    shortened = text if "." in text else text[:DIGEST_DIGITS]
    return shortened or "none"


def changes(old: Sources, new: Sources) -> list[Change]:
    """The files that changed; none if either side does not know its files."""
    if not (old and new):
        return []
    roles = new | old
    return [change for role in roles for change in _changed(role, old, new)]


def _changed(
    role: str,
    old: Sources,
    new: Sources,
) -> list[Change]:
    """The files of one role that changed."""
    before = old.get(role, {})
    after = new.get(role, {})
    part = next(iter(after or before), "")
    all_changes = [
        Change(role, part, name, before.get(name, ""), after.get(name, ""))
        for name in after | before
        if before.get(name) != after.get(name)
    ]
    # A file that came or went did so because another changed, which says enough.
    return [change for change in all_changes if change.old and change.new] or all_changes


def version_digest(sources: Sources) -> str:
    """Hexadecimal digits that identify the code of a replicate."""
    return digest(sources)[:DIGEST_DIGITS]
