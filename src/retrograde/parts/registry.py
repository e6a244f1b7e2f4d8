"""A name -> a part: built in, from an entry point, or from a file of the user's."""

import importlib
import importlib.util
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
from retrograde.parts.deadline import within
from retrograde.parts.declaration import check_class, check_recorded
from retrograde.parts.part import Part
from retrograde.parts.provenance import Files, class_digest, files, source_digest
from retrograde.parts.spec import digest

P = TypeVar("P", bound=Part)
KINDS = {
    "benchmarks": ("Benchmark", "Episodic"),
    "strategies": ("Strategy", "Learner", "MetaStrategy"),
    "results": ("Result", "Drawing"),
}
"""The kinds of part, and the classes of which one is derived."""


class Registry:
    """The parts that one process can name; each plugin file adds its own."""

    def __init__(self, plugins: tuple[Path, ...] = ()) -> None:
        self.plugins = plugins
        self.own: dict[str, ModuleType] = {}
        self.found: dict[
            tuple[str, str], type[Part]
        ] = {}  # to look in every folder and package takes milliseconds
        self.named: dict[tuple[str, type[Part]], str] = {}
        self.read: dict[Path | None, tuple[Files, str]] = {}
        for path in plugins:
            if path.stem in self.own:
                raise UserError(
                    f"Plugins have names of their own; two files are called {path.name}. Rename one."
                )
            if taken := [kind for kind in KINDS if path.stem in _built_in(kind)]:
                raise UserError(
                    f"{path.stem} is the name of one of the built-in {taken[0]}. Rename {path}."
                )
            self.digests(
                path
            )  # as they are when they are loaded: they may be edited while this process goes on
            self.own[path.stem] = load_file(path)
            if not _parts_of(self.own[path.stem]):
                raise UserError(
                    f"{path} defines no part: a public class derived from {_bases(*KINDS)}, "
                    "with its settings as dataclass fields. `retrograde new strategy NAME` writes one."
                )

    def names(self, kind: str) -> list[str]:
        """All names of one kind, sorted."""
        own = {
            name
            for name, module in self.own.items()
            if any(p.kind == kind for p in _parts_of(module))
        }
        return sorted({*_built_in(kind), *_entry_points(kind), *own})

    def kinds_of(self, name: str) -> set[str]:
        """The kinds of part that a plugin file defines."""
        return {part.kind for part in _parts_of(self.own[name])}

    def find(self, kind: str, name: str) -> type[Part]:
        """The part of that kind and name; an unknown name raises `UserError` with the nearest known ones."""
        if (kind, name) not in self.found:
            found = self._look_up(kind, name)
            with guarded(f"{name} cannot be used", found):
                check_class(found)
            self.found[kind, name] = found
        return self.found[kind, name]

    def _look_up(self, kind: str, name: str) -> type[Part]:
        if kind not in KINDS:
            raise UserError(f"There is no kind of part {kind!r}. {nearest(kind, KINDS)}")
        if name not in self.names(kind):
            raise UserError(f"There is no {_one(kind)} {name!r}. {nearest(name, self.names(kind))}")
        if name in self.own and kind in self.kinds_of(name):
            return _only_part(self.own[name], kind)
        if name in _built_in(kind):
            return _only_part(importlib.import_module(f"retrograde.{kind}.{name}"), kind)
        return _from_entry_point(kind, name)

    def get(self, kind: str, name: str, settings: dict[str, str] | None = None) -> Part:
        """The part of that kind and name with the settings given."""
        part = self.find(kind, name)
        with guarded(f"{name} cannot be made of its settings", part):
            made = part.configured(settings or {})
            check_recorded(made)
            return made

    def name_of(self, part: Part) -> str:
        """The name of a part that is at hand: as it was found, else its class's in snake_case.

        Raises `UserError` where the class cannot be a part, or bears the name of another.
        """
        cls = type(part)
        if (cls.kind, cls) not in self.named:
            with guarded(f"{cls.__name__} cannot be used", cls):
                check_class(cls)
                check_recorded(part)
            self.named[cls.kind, cls] = self._name(cls)
        return self.named[cls.kind, cls]

    def _name(self, cls: type[Part]) -> str:
        own = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()
        module = cls.__module__.rpartition(".")
        candidates = (
            [module[2]]
            if module[0] == f"retrograde.{cls.kind}"
            else [own, *self.own, *_entry_points(cls.kind)]
        )
        for name in candidates:
            if name in self.names(cls.kind) and self.find(cls.kind, name) is cls:
                return name
        if own in self.names(cls.kind):
            raise UserError(
                f"Each {_one(cls.kind)} has a name of its own; {cls.__name__} of {cls.__module__} would be called {own}, as "
                "another one is. Rename the class."
            )
        return own

    def code(self, cls: type[Part]) -> tuple[Files, str]:
        """The files of a part and its `source_digest`; of a class that is in no file, such as a notebook's, its own text."""
        path = source_of(cls)
        return class_digest(cls) if path is None else self.digests(path)

    def digests(self, path: Path | None) -> tuple[Files, str]:
        """The files of a part and its `source_digest`, as they were when they were first asked for."""
        key = path and path.absolute()
        if key not in self.read:
            self.read[key] = files(key), source_digest(key)
        return self.read[key]


def source_of(cls: type[Part]) -> Path | None:
    """The file in which the class of a part is written; None for one of a notebook."""
    try:
        file = inspect.getsourcefile(cls)
    except TypeError:
        return None
    return Path(file) if file and Path(file).is_file() else None


def missing(kind: str, name: str) -> str:
    """The remedy where a record names a part that is not known here: most often its plugin was not given again."""
    return (
        f"no {kind} is called {name!r} here. Its records are shown all the same; if a file or a package defines it, "
        "give that file again with --plugin FILE.py, or install the package."
    )


def _one(kind: str) -> str:
    return {"strategies": "strategy"}.get(kind, kind.removesuffix("s"))


def _bases(*kinds: str) -> str:
    """The classes of which a part of one of these kinds is derived."""
    *others, last = (base for kind in kinds for base in KINDS[kind])
    return f"{', '.join(others)} or {last}"


def _built_in(kind: str) -> list[str]:
    package = importlib.import_module(f"retrograde.{kind}")
    return [
        module.name
        for module in pkgutil.iter_modules(package.__path__)
        if not module.name.startswith("_")
    ]


def _entry_points(kind: str) -> list[str]:
    return [point.name for point in entry_points(group=f"retrograde.{kind}")]


def _from_entry_point(kind: str, name: str) -> type[Part]:
    point = next(p for p in entry_points(group=f"retrograde.{kind}") if p.name == name)
    what = f"The entry point {name} = {point.value!r}"
    with guarded(f"{what} cannot be imported"), within("import", what):
        found = point.load()
    if isinstance(found, ModuleType):
        return _only_part(found, kind)
    if not (inspect.isclass(found) and issubclass(found, Part) and found.kind == kind):
        raise UserError(
            f"The entry point {name} = {point.value!r} is no part of {kind}; it is {found!r}."
        )
    return found


def module_name(path: Path) -> str:
    """The name of the module that a file of the user's becomes."""
    return f"retrograde_plugin_{path.stem}_{digest(str(path.resolve()))}"


def load_file(path: Path) -> ModuleType:
    """Import a Python file of the user's, which may import others beside it; raises `UserError` where that fails."""
    if not path.is_file():
        raise UserError(f"A Python file is wanted; there is none at {path}.")
    name = module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"A Python file (.py) is wanted; {path} is none.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.append(folder)  # last: no file of it hides a library's
    with guarded(f"{path} cannot be imported"), within("import", str(path)):
        spec.loader.exec_module(module)
    return module


def _parts_of(module: ModuleType) -> list[type[Part]]:
    classes = [
        value
        for name, value in vars(module).items()
        if inspect.isclass(value) and not name.startswith("_")
    ]
    return [c for c in classes if c.__module__ == module.__name__ and issubclass(c, Part)]


def _only_part(module: ModuleType, kind: str) -> type[Part]:
    parts = [part for part in _parts_of(module) if part.kind == kind]
    if len(parts) != 1:
        names = ", ".join(p.__name__ for p in parts) or "none"
        raise UserError(
            f"A file of {kind} defines exactly one public class derived from {_bases(kind)}; {module.__file__} defines {names}."
        )
    return parts[0]
