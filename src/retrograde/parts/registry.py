"""The registry of parts by name: built in, from entry points, and from files of the user's."""

import importlib
import inspect
import pkgutil
import re
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from retrograde.errors import UserError, nearest
from retrograde.parts.author_code import guarded
from retrograde.parts.class_code import code_digest
from retrograde.parts.deadline import within
from retrograde.parts.declaration import check_class, check_recorded
from retrograde.parts.kinds import KINDS
from retrograde.parts.part import Part
from retrograde.parts.plugins import load_file, plugin_modules
from retrograde.parts.provenance import Files, files

P = TypeVar("P", bound=Part)


class Registry:
    """The parts that one process can name; each plugin file adds its own.

    Args:
        plugins: Python files that define parts.

    Raises:
        UserError: a plugin cannot be imported, defines no part, or has a name that is taken.
    """

    def __init__(self, plugins: tuple[Path, ...] = ()) -> None:
        self.plugins = plugins
        self.own: dict[str, ModuleType] = {}
        # Kept, since a search in every folder and package takes milliseconds.
        self.found: dict[tuple[str, str], type[Part]] = {}
        self.named: dict[tuple[str, type[Part]], str] = {}
        self.read: dict[Path | None, Files] = {}
        for path in plugins:
            self._add(path)

    def _add(self, path: Path) -> None:
        """Load a plugin file."""
        if path.stem in self.own:
            raise UserError(
                f"Plugins have names of their own; two files are called {path.name}. Rename one."
            )
        taken = [kind for kind in KINDS if path.stem in _built_in(kind)]
        if taken:
            raise UserError(
                f"{path.stem} is the name of one of the built-in {taken[0]}. Rename {path}."
            )
        # Digests are of the files as they are loaded: they may be edited while this process runs.
        self.digests(path)
        self.own[path.stem] = load_file(path)
        if not _parts_of(self.own[path.stem]):
            raise UserError(
                f"{path} defines no part: a public class derived from {_bases(*KINDS)}, "
                "with its settings as dataclass fields. "
                "`retrograde new strategy NAME` writes one."
            )

    def names(self, kind: str) -> list[str]:
        """All names of one kind, sorted."""
        own = [name for name in self.own if kind in self.kinds_of(name)]
        return sorted({*_built_in(kind), *_entry_points(kind), *own})

    def knows(self, kind: str, name: str) -> bool:
        """True if a part of this kind has this name."""
        # Entry points come last, since the search goes through every installed package.
        return self._is_own(kind, name) or name in _built_in(kind) or name in _entry_points(kind)

    def check_name(self, kind: str, name: str) -> None:
        """Raise `UserError` if no part of this kind has this name; no part is imported."""
        if not self.knows(kind, name):
            own = "" if self.own else " One of your own needs --plugin FILE.py."
            known = nearest(name, self.names(kind))
            raise UserError(f"There is no {_one(kind)} {name!r}. {known}{own}")

    def _is_own(self, kind: str, name: str) -> bool:
        """True if a plugin file defines a part of this kind and name."""
        return name in self.own and kind in self.kinds_of(name)

    def kinds_of(self, name: str) -> set[str]:
        """The kinds of part that a plugin file defines."""
        return {part.kind for part in _parts_of(self.own[name])}

    def find(
        self,
        kind: str,
        name: str,
    ) -> type[Part]:
        """The class of the part with a name.

        Args:
            kind: a kind of part, such as "benchmarks".
            name: name of the part.

        Raises:
            UserError: the name is unknown (the error lists the nearest known ones), or the class
                cannot be a part.
        """
        if (kind, name) not in self.found:
            found = self._look_up(kind, name)
            with guarded(f"{name} cannot be used", found):
                check_class(found)
            self.found[kind, name] = found
        return self.found[kind, name]

    def _look_up(
        self,
        kind: str,
        name: str,
    ) -> type[Part]:
        if kind not in KINDS:
            raise UserError(f"There is no kind of part {kind!r}. {nearest(kind, KINDS)}")
        self.check_name(kind, name)
        # A plugin comes before an entry point with the same name.
        if self._is_own(kind, name):
            return _only_part(self.own[name], kind)
        if name in _built_in(kind):
            return _only_part(importlib.import_module(f"retrograde.{kind}.{name}"), kind)
        return _from_entry_point(kind, name)

    def get(
        self,
        kind: str,
        name: str,
        settings: dict[str, str] | None = None,
    ) -> Part:
        """The part with a name and settings.

        Args:
            kind: a kind of part, such as "benchmarks".
            name: name of the part.
            settings: settings as text; the others have their defaults.

        Raises:
            UserError: the name is unknown, or a setting is not valid.
        """
        cls = self.find(kind, name)
        with guarded(f"{name} cannot be made of its settings", cls):
            part = cls.configured(settings or {})
            check_recorded(part)
            return part

    def name_of(self, part: Part) -> str:
        """The name of a part: as it was found, otherwise its class's name in snake_case.

        Raises:
            UserError: the class cannot be a part, or has the name of another.
        """
        cls = type(part)
        if (cls.kind, cls) not in self.named:
            with guarded(f"{cls.__name__} cannot be used", cls):
                check_class(cls)
                check_recorded(part)
            self.named[cls.kind, cls] = self._name(cls)
        return self.named[cls.kind, cls]

    def _name(self, cls: type[Part]) -> str:
        registered = self.registered(cls)
        if registered:
            return registered
        own = _snake_case(cls.__name__)
        if not own.isidentifier():
            raise UserError(
                f"A part is called by its class, in letters, digits and underscores; the class is "
                f"called {cls.__name__!r}. Rename it."
            )
        if own in self.names(cls.kind):
            raise UserError(
                f"Each {_one(cls.kind)} has a name of its own; {cls.__name__} of {cls.__module__} "
                f"would be called {own}, as another one is. Rename the class."
            )
        return own

    def registered(self, cls: type[Part]) -> str:
        """The name by which a text finds a class; empty if none does."""
        if is_built_in(cls):
            return cls.__module__.rpartition(".")[2]
        plugins = [name for name, own in self.own.items() if own.__name__ == cls.__module__]
        points = [
            point.name
            for point in entry_points(group=f"retrograde.{cls.kind}")
            if point.value in (cls.__module__, f"{cls.__module__}:{cls.__qualname__}")
        ]
        return next(iter([*plugins, *points]), "")

    def code(self, cls: type[Part]) -> Files:
        """The digests of a part's files.

        A class that no text finds lies in a script or a notebook, which changes without it: the
        digest of its compiled code stands in place of that of the file.
        """
        path = source_of(cls)
        found = self.digests(path)
        if self.registered(cls):
            return found
        others = {name: text for name, text in found.items() if path and name != path.name}
        return {f"class {cls.__name__}": code_digest(cls), **others}

    def digests(self, path: Path | None) -> Files:
        """The digests of a part's files, as of the first call."""
        key = path and path.absolute()
        if key not in self.read:
            self.read[key] = files(key)
        return self.read[key]


def is_built_in(cls: type[Part]) -> bool:
    """True if a class is a part that ships with the suite."""
    package, _, module = cls.__module__.rpartition(".")
    return package == f"retrograde.{cls.kind}" and not module.startswith("_")


def loaded() -> Registry:
    """A registry of all plugin files that this process has loaded.

    It is for code that is handed no registry. Of two files of one name, the one loaded last counts.
    """
    registry = Registry()
    registry.own = {Path(str(module.__file__)).stem: module for module in plugin_modules()}
    return registry


def _snake_case(name: str) -> str:
    # An underscore goes before a capital that follows a small letter or precedes one: `gem_v2`.
    boundary = r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
    return re.sub(boundary, "_", name).lower()


def source_of(cls: type[Part]) -> Path | None:
    """The file that defines the class of a part; None for one of a notebook or of a function."""
    module = sys.modules.get(cls.__module__)
    # Python names a module for classes that were made by a call, and their code is elsewhere.
    if getattr(module, cls.__qualname__, None) is not cls:
        return None
    try:
        file = inspect.getsourcefile(cls)
    except (TypeError, OSError):
        return None
    return Path(file) if file and Path(file).is_file() else None


def missing(kind: str, name: str) -> str:
    """The remedy if a record names an unknown part.

    Most often its plugin was not given again.
    """
    return (
        f"no {kind} is called {name!r} here. Its records are shown all the same; "
        "if a file or a package defines it, "
        "give that file again with --plugin FILE.py, or install the package."
    )


def _one(kind: str) -> str:
    """The singular of a kind."""
    return {"strategies": "strategy"}.get(kind, kind.removesuffix("s"))


def _bases(*kinds: str) -> str:
    """The classes that parts of these kinds derive from, as text."""
    *others, last = (base for kind in kinds for base in KINDS[kind])
    return f"{', '.join(others)} or {last}"


def _built_in(kind: str) -> list[str]:
    package = importlib.import_module(f"retrograde.{kind}")
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return [name for name in names if not name.startswith("_")]


def _entry_points(kind: str) -> list[str]:
    return [point.name for point in entry_points(group=f"retrograde.{kind}")]


def _from_entry_point(kind: str, name: str) -> type[Part]:
    points = entry_points(group=f"retrograde.{kind}")
    point = next(point for point in points if point.name == name)
    what = f"The entry point {name} = {point.value!r}"
    with guarded(f"{what} cannot be imported"), within("import", what):
        found = point.load()
    if isinstance(found, ModuleType):
        return _only_part(found, kind)
    if not (inspect.isclass(found) and issubclass(found, Part) and found.kind == kind):
        raise UserError(f"{what} is no part of {kind}; it is {found!r}.")
    return found


def _parts_of(module: ModuleType) -> list[type[Part]]:
    """The public classes of parts that a module defines, not those that it imports."""
    public = [value for name, value in vars(module).items() if not name.startswith("_")]
    classes = [value for value in public if inspect.isclass(value)]
    return [cls for cls in classes if cls.__module__ == module.__name__ and issubclass(cls, Part)]


def _only_part(module: ModuleType, kind: str) -> type[Part]:
    parts = [part for part in _parts_of(module) if part.kind == kind]
    if len(parts) != 1:
        names = ", ".join(p.__name__ for p in parts) or "none"
        raise UserError(
            f"A file of {kind} defines exactly one public class derived from {_bases(kind)}; "
            f"{module.__file__} defines {names}."
        )
    return parts[0]
