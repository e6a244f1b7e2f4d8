"""Files of a user's as modules: a plugin, a file of models, and the files that they import.

A file is imported as a module of a package that is made for its folder. It takes the files beside
it with `import helper` or `from .helper import x`, and each folder has modules of its own: two
plugins in different folders may both have a `helper.py`.
"""

import ast
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from retrograde._torchvision import import_torchvision
from retrograde.errors import UserError
from retrograde.parts.author_code import guarded
from retrograde.parts.deadline import within
from retrograde.parts.spec import digest

PLUGIN = "retrograde_plugin_"
"""The beginning of the name of the package that is made for the folder of a plugin."""
MODEL = "retrograde_model_"
"""The same for a file that `model=FILE.py:NAME` names: it is a module apart from a plugin."""
_INSTALLED = {"site-packages", "dist-packages"}


def load_file(path: Path, prefix: str = PLUGIN) -> ModuleType:
    """Import a user's Python file, which may import others from its folder.

    Args:
        path: the file.
        prefix: `PLUGIN` or `MODEL`; only parts of a plugin are found by name.

    Raises:
        UserError: there is no such file, it is no Python file, or its import fails.
    """
    if not path.is_file():
        raise UserError(f"A Python file is wanted; there is none at {path}.")
    if path.suffix not in SOURCE_SUFFIXES:
        raise UserError(f"A Python file (.py) is wanted; {path} is none.")
    name = module_name(path, prefix)
    package = _package(path.parent.resolve(), prefix)
    _forget_edited(package)
    # A module that is loaded again becomes the last one.
    sys.modules.pop(name, None)
    loader = _Loader(name, str(path), package, named=True)
    spec = ModuleSpec(name, loader, origin=str(path))
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # PyTorch takes a second, which a command without files saves.
    from retrograde.randomness import seeded

    # Numbers that are drawn on import would be others in every process.
    with seeded(0), guarded(f"{path} cannot be imported"), within("import", str(path)):
        loader.exec_module(module)
    setattr(package, path.stem, module)
    return module


def module_name(path: Path, prefix: str = PLUGIN) -> str:
    """The name of the module that is made of a user's file."""
    return f"{_package_name(path.parent.resolve(), prefix)}.{path.stem}"


def plugin_modules() -> tuple[ModuleType, ...]:
    """The modules of all plugin files that this process has loaded, in that order.

    The files that they import from their folders are not among them.
    """
    loaded = [item for item in sys.modules.copy().items() if item[0].startswith(PLUGIN)]
    # A module that was sent to this process may have a second name.
    return tuple(module for name, module in loaded if module.__name__ == name and _is_named(module))


def known_as(module: ModuleType, name: str) -> None:
    """Let pickles of another process, in which a file's module has another name, find it here.

    Args:
        module: the module of the file.
        name: the name that `module_name` gave it there.
    """
    here = module.__name__.rpartition(".")[0]
    sys.modules[name.rpartition(".")[0]] = sys.modules[here]
    sys.modules[name] = module


def _is_named(module: ModuleType) -> bool:
    """True for a file that the user named, false for one that another imports."""
    loader = _loader(module)
    return bool(loader and loader.named)


def _loader(module: ModuleType) -> "_Loader | None":
    loader = module.__spec__ and module.__spec__.loader
    return loader if isinstance(loader, _Loader) else None


def _package_name(folder: Path, prefix: str) -> str:
    return f"{prefix}{digest(str(folder))}"


def _package(folder: Path, prefix: str) -> ModuleType:
    """The package of a folder, without code of its own."""
    name = _package_name(folder, prefix)
    if name not in sys.modules:
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        sys.modules[name] = importlib.util.module_from_spec(spec)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        # Before the usual one, which would find the files too, and import them as they are.
        sys.meta_path.insert(0, _Finder())
    return sys.modules[name]


def _forget_edited(package: ModuleType) -> None:
    """Drop the modules of imported files that were edited, so that they are imported anew."""
    inside = f"{package.__name__}."
    for name in [name for name in sys.modules.copy() if name.startswith(inside)]:
        loader = _loader(sys.modules[name])
        if loader and loader.is_stale():
            del sys.modules[name]
            # `from . import helper` would find the attribute before the file.
            vars(package).pop(name.removeprefix(inside), None)


class _Loader(SourceFileLoader):
    """The loader of a file in a user's folder.

    Args:
        fullname: the name of the module.
        path: the file.
        package: the package of the folder.
        named: True if the user named the file; false if another file imports it.
    """

    def __init__(
        self,
        fullname: str,
        path: str,
        package: ModuleType | None = None,
        named: bool = False,
    ) -> None:
        super().__init__(fullname, path)
        root = fullname.partition(".")[0]
        self.package = package or sys.modules[root]
        self.named = named
        self.text = b""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the file; no cache is used, since its imports are not those of the file."""
        self.text = self.get_data(self.path)
        tree = ast.parse(self.text, self.path)
        return compile(_Siblings(self.package).visit(tree), self.path, "exec", dont_inherit=True)

    def is_stale(self) -> bool:
        """True if the file has another content than when it was imported."""
        try:
            return not self.named and self.get_data(self.path) != self.text
        except OSError:
            return True


class _Finder(MetaPathFinder):
    """Finds the files that a user's file imports from its folder."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """The file of a module inside one of the packages; None for any other module."""
        if path is None or not fullname.startswith((PLUGIN, MODEL)):
            return None
        found = (FileFinder(folder, (_Loader, SOURCE_SUFFIXES)) for folder in path)
        return next((spec for f in found if (spec := f.find_spec(fullname))), None)


class _Siblings(ast.NodeTransformer):
    """Rewrites imports of files beside a user's file as imports from their package.

    `import helper` becomes `from PACKAGE import helper`: the plain name would be shared by all
    folders. Lines stay as they are.
    """

    def __init__(self, package: ModuleType) -> None:
        self.package = package.__name__
        self.folder = Path(package.__path__[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        """Rewrite `from helper import x`."""
        if not node.level and node.module:
            _prepare(node.module)
            if self._is_sibling(node.module):
                node.module = f"{self.package}.{node.module}"
        return node

    def visit_Import(self, node: ast.Import) -> list[Any]:
        """Rewrite `import helper`, `import helper as h` and `import folder.helper`."""
        new = [statement for alias in node.names for statement in self._imports(alias)]
        placed = [ast.copy_location(statement, node) for statement in new]
        return [ast.fix_missing_locations(statement) for statement in placed]

    def _imports(self, alias: ast.alias) -> Iterator[ast.stmt]:
        _prepare(alias.name)
        if not self._is_sibling(alias.name):
            yield ast.Import([alias])
            return
        inside, _, last = f"{self.package}.{alias.name}".rpartition(".")
        if alias.asname:
            yield ast.ImportFrom(inside, [ast.alias(last, alias.asname)], 0)
            return
        # `import a.b` imports both and binds `a`.
        first = alias.name.partition(".")[0]
        if first != alias.name:
            yield ast.Import([ast.alias(f"{self.package}.{alias.name}")])
        yield ast.ImportFrom(self.package, [ast.alias(first)], 0)

    def _is_sibling(self, name: str) -> bool:
        first = name.partition(".")[0]
        here = self.folder / first
        exists = here.with_name(f"{first}.py").is_file() or here.is_dir()
        return exists and not _is_library(first)


def _prepare(name: str) -> None:
    """Import torchvision with our remedy before a file imports it without."""
    if name.partition(".")[0] == "torchvision":
        # The file's own import raises the error that its author sees.
        with suppress(ImportError):
            import_torchvision()


# Imports of a file name the same few libraries again and again.
@cache
def _is_library(name: str) -> bool:
    """True for the name of an installed package, which no file of a user hides."""
    if name in sys.stdlib_module_names or name == "retrograde":
        return True
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return bool(spec and spec.origin and not _INSTALLED.isdisjoint(Path(spec.origin).parts))
