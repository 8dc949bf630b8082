"""The source that computes something: a hash of its files and of what they import of ours, read and never run.

Versions tell frameworks apart, and a commit tells checkouts apart; neither tells two edits of one working tree apart.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from backends.pool.environments import ROOT
from backends.pool.selection import Selection
from backends.registry import Backend, backends

OURS = ("backends", "benchmarks", "birnn", "common")
"""The suite's packages."""
WORKER = "backends.worker.__main__"
"""What every implementation runs in."""
TABLE = "implementations"
"""The attribute of a ``Framework`` that names its implementations' classes."""
DIGITS = 16
"""Hexadecimal digits of a hash that are kept."""


@dataclass(frozen=True)
class _Module:
    """A file of ours: the modules that it may import, and for each implementation that it names those of its class."""

    content: bytes
    imports: frozenset[str] = frozenset()
    classes: Mapping[str, frozenset[str]] = field(default_factory=dict)


class Sources:
    """Reads each file once; make a new one to see what has changed since."""

    def __init__(self) -> None:
        self._modules: dict[str, _Module | None] = {}

    def of(self, backend: Backend, implementation: str) -> str:
        """The first digits of the SHA-256 of all files that compute ``backend.name/implementation``.

        They are those of the worker, of what loads the backend, and of what these import, of this repository and of
        the plug-in's own package; of the framework's implementations this one's alone, as far as the others are not
        imported elsewhere, and the backend's own ``files``. A plug-in whose files cannot be found counts by its name.
        """
        top = backend.load.partition(":")[0].partition(".")[0]
        digest = self._digest([WORKER, backend.load.partition(":")[0]], {*OURS, top}, implementation)
        if not backend.files:
            return digest
        contents = [hashlib.sha256(file.read_bytes()).hexdigest() for file in backend.files]
        return hashlib.sha256("\n".join([digest, *contents]).encode()).hexdigest()[:DIGITS]

    def of_module(self, name: str) -> str:
        """The hash of the sources that a module of the suite depends on."""
        return self._digest([name], set(OURS), None)

    def _digest(self, roots: Iterable[str], tops: set[str], implementation: str | None) -> str:
        """The hash of all that is reached from the roots by imports among the packages ``tops``."""
        contents: dict[str, bytes] = {}
        waiting = [*roots]
        while waiting:
            name = waiting.pop()
            if name in contents:
                continue
            module = self._module(name)
            if module is None:
                continue
            contents[name] = module.content
            others: set[str] = set()
            if implementation is not None and implementation in module.classes:
                others = set().union(*module.classes.values()) - module.classes[implementation]
            waiting += [each for each in module.imports - others if each.partition(".")[0] in tops]
        parts = [f"{name} {hashlib.sha256(contents[name]).hexdigest()}" for name in sorted(contents)]
        return hashlib.sha256("\n".join([*sorted(roots), *parts]).encode()).hexdigest()[:DIGITS]

    def _module(self, name: str) -> _Module | None:
        """The module of a name; None where it has no file of Python."""
        if name not in self._modules:
            file = _file_of(name)
            self._modules[name] = None if file is None else _read(name, file)
        return self._modules[name]


def sources_of(selection: Selection) -> dict[str, str]:
    """``Sources.of`` for each implementation that was chosen, by framework/name."""
    sources, known = Sources(), backends()
    return {
        f"{framework}/{name}": sources.of(known[framework], name)
        for framework, group in selection.implementations.items()
        for name in group
    }


def _file_of(name: str) -> Path | None:
    """The file of a module, found without importing it or its packages."""
    top, *rest = name.split(".")
    for folder in _folders_of(top):
        path = folder.joinpath(*rest)
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file():
                return file
    return None


def _folders_of(top: str) -> list[Path]:
    """The folders of a top-level package."""
    if top in OURS:
        return [ROOT / top]
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is None:  # a single file
        return [Path(spec.origin).with_suffix("")] if spec.origin else []
    return [Path(folder) for folder in spec.submodule_search_locations]


def _read(name: str, file: Path) -> _Module:
    """What a file says that it imports."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    return _parsed(name, package, file.read_bytes())


@cache
def _parsed(name: str, package: str, content: bytes) -> _Module:
    """What a source imports, by the parts of it."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):  # it cannot be run either
        return _Module(content)
    named: dict[str, frozenset[str]] = {}
    imports: set[str] = set(_parents(name))
    for node in ast.walk(tree):
        for alias, modules in _imported(node, package):
            named[alias] = frozenset(modules)
            imports.update(modules)
    classes = {implementation: named.get(class_name, frozenset()) for implementation, class_name in _table(tree)}
    return _Module(content, frozenset(imports), classes)


def _imported(node: ast.AST, package: str) -> Iterator[tuple[str, list[str]]]:
    """Each name that an import statement binds, with the modules that it may load."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.asname or alias.name, [alias.name, *_parents(alias.name)]
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        source = ".".join([*above, *([node.module] if node.module else [])])
        for alias in node.names:
            yield alias.asname or alias.name, [source, f"{source}.{alias.name}", *_parents(source)]


def _parents(name: str) -> list[str]:
    """The packages that a module is in, the outermost first."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _table(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """The implementations that a class of this file names, each with the name of its class."""
    for node in ast.walk(tree):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(each, ast.Name) and each.id == TABLE for each in targets):
            value = getattr(node, "value", None)
            if isinstance(value, ast.Dict):
                for key, each in zip(value.keys, value.values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(key.value, str) and isinstance(each, ast.Name):
                        yield key.value, each.id
