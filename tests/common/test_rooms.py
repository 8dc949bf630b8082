"""The rooms: none too full, none in a circle, dependencies one way; the four frameworks' folders read side by side."""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cache
from pathlib import Path

import pytest

from backends.registry import BUILT_IN

ROOT = Path(__file__).resolve().parents[2]
LEVELS = ("common", "backends", "benchmarks", "birnn")
"""What each may import is itself and what stands before it."""
FULL = 13
"""Files of a room, ``__init__.py`` not counted."""
LONG = 400
"""Lines of a file; a longer one wants to be two."""
IN_ONE_PIECE = {"backends/worker/messages.py"}
"""What is longer all the same: both sides import every message from one module."""
FOLDERS = [backend.load.partition(":")[0].rpartition(".")[2] for backend in BUILT_IN]
FRAMEWORKS = {
    "pytorch": {"torch"},
    "jax_flax": {"jax", "flax"},
    "tensorflow_keras": {"tensorflow", "keras"},
    "mxnet_gluon": {"mxnet"},
}
OF_SOME = {"layer/tuned.py", "layer/fused.py", "layer/programs.py"}
"""Where nothing faster was found there is no tuned.py; a long one may have a second file; only what is slow to trace
or to compile is kept in programs."""
INTERFACE = (
    "load_weights",
    "move_inputs",
    "forward",
    "forward_backward",
    "load_training",
    "train_step",
    "synchronise",
    "extract",
    "summed_gates",
    "path",
    "kernels",
)


def modules() -> dict[str, Path]:
    """Every module of the suite by its dotted name."""
    files = [path.relative_to(ROOT) for level in LEVELS for path in (ROOT / level).rglob("*.py")]
    return {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in files}


@cache
def imported(path: Path) -> frozenset[str]:
    """Modules that a file of the root's imports, whole names; of ``from package import name`` both that there may be.

    Statements alone are walked: no expression imports anything.
    """
    names: set[str] = set()
    for node in statements(ast.parse((ROOT / path).read_text()).body):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def statements(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """All statements, and what holds some, depth first."""
    for each in body:
        yield each
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(each, name, ())
            yield from statements(inner if isinstance(inner, list) else ())


def circle_in(graph: Mapping[str, Set[str]]) -> list[str]:
    """Modules that import each other in a circle, in its order; none where there is no circle."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def files_of(folder: str) -> set[str]:
    """The files of a framework, with the room that each is in."""
    base = ROOT / "backends" / folder
    return {path.relative_to(base).as_posix() for path in base.rglob("*.py")}


def tree(folder: str, file: str) -> ast.Module:
    return ast.parse((ROOT / "backends" / folder / file).read_text())


def imports(path: Path) -> set[str]:
    """Top-level packages that a file imports."""
    return {name.partition(".")[0] for name in imported(path)}


@pytest.mark.parametrize("top", [*LEVELS, "tests"])
def test_no_room_is_too_full(top: str) -> None:
    for room in {path.parent for path in (ROOT / top).rglob("*.py")}:
        files = [path.name for path in room.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= FULL, (room, sorted(files))


@pytest.mark.parametrize("top", [*LEVELS, "tests", "examples"])
def test_no_file_is_too_long(top: str) -> None:
    lines = {path.relative_to(ROOT).as_posix(): path.read_text().count("\n") for path in (ROOT / top).rglob("*.py")}
    assert {file for file, count in lines.items() if count > LONG} <= IN_ONE_PIECE


def test_every_room_says_what_it_is_in_a_line() -> None:
    for path in modules().values():
        docstring = ast.get_docstring(ast.parse((ROOT / path.parent / "__init__.py").read_text())) or ""
        assert re.match(r"[A-Z][^\n]{15,}\.(\n|$)", docstring), path.parent


def test_no_module_imports_itself_by_way_of_others() -> None:
    known = modules()
    graph = {
        name: (imported(path) & known.keys()) - {name} for name, path in known.items() if path.name != "__init__.py"
    }
    assert circle_in(graph) == []
    assert circle_in({"a": {"b"}, "b": {"a"}}) != []


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_has_the_same_files(folder: str) -> None:
    assert files_of(folder) - OF_SOME == files_of("pytorch") - OF_SOME


def test_the_page_on_adding_a_backend_names_every_file() -> None:
    page = (ROOT / "docs" / "adding-a-backend.md").read_text().partition("## A backend inside this repository")[2]
    named = set(re.findall(r"`([\w/]+\.py)`", page.partition("| file |")[2].partition("\n\n")[0]))
    rooms = {file for file in files_of("pytorch") | OF_SOME if file.endswith("/__init__.py")}
    assert named == (files_of("pytorch") | OF_SOME) - rooms


@pytest.mark.parametrize("file", ["layer/implementation.py", "layer/native.py", "layer/manual.py", "layer/scratch.py"])
@pytest.mark.parametrize("folder", FOLDERS)
def test_methods_of_the_interface_come_in_its_order(folder: str, file: str) -> None:
    for node in tree(folder, file).body:
        if isinstance(node, ast.ClassDef):
            names = [part.name for part in node.body if isinstance(part, ast.FunctionDef) and part.name in INTERFACE]
            assert names == sorted(names, key=INTERFACE.index), (folder, file, node.name)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_backend_imports_no_other_framework_and_its_gaps_none(folder: str) -> None:
    every = set().union(*FRAMEWORKS.values())
    for path in (ROOT / "backends" / folder).rglob("*.py"):
        assert not imports(path) & (every - FRAMEWORKS[folder]), path
    assert not imports(ROOT / "backends" / folder / "gaps.py") & every


def test_dependencies_point_one_way() -> None:
    every = set().union(*FRAMEWORKS.values())
    for level, room in enumerate(LEVELS):
        for path in (each.relative_to(ROOT) for each in (ROOT / room).rglob("*.py")):
            assert not imports(path) & set(LEVELS[level + 1 :]), path
            if not set(path.parts) & {*FOLDERS, "keras2", "onnx_runtime"}:
                assert not imports(path) & every, path
