"""The four frameworks' folders read side by side: the same files, with the same names in the same order."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from backends.registry import BUILT_IN

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = [backend.load.partition(":")[0].rpartition(".")[2] for backend in BUILT_IN]
FRAMEWORKS = {
    "pytorch": {"torch"},
    "jax_flax": {"jax", "flax"},
    "tensorflow_keras": {"tensorflow", "keras"},
    "mxnet_gluon": {"mxnet"},
}
TUNED = {"tuned.py", "fused.py"}
"""Where nothing faster was found there is no tuned.py; a long one may have a second file."""
INTERFACE = (
    "load_weights",
    "move_inputs",
    "forward",
    "forward_backward",
    "load_training",
    "train_step",
    "synchronise",
    "extract",
    "path",
    "kernels",
)


def tree(folder: str, file: str) -> ast.Module:
    return ast.parse((ROOT / "backends" / folder / file).read_text())


def functions(folder: str, file: str) -> list[str]:
    """Public functions of a file, in order."""
    return [node.name for node in tree(folder, file).body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"]


def imports(path: Path) -> set[str]:
    """Top-level packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_has_the_same_files(folder: str) -> None:
    expected = {path.name for path in (ROOT / "backends" / "pytorch").glob("*.py")} - TUNED
    assert {path.name for path in (ROOT / "backends" / folder).glob("*.py")} - TUNED == expected


@pytest.mark.parametrize("folder", FOLDERS)
def test_sequence_has_the_same_functions_in_the_same_order(folder: str) -> None:
    names = [name for name in functions(folder, "sequence.py") if name in functions("pytorch", "sequence.py")]
    assert names == functions("pytorch", "sequence.py")


@pytest.mark.parametrize("file", ["implementation.py", "native.py", "manual.py", "scratch.py"])
@pytest.mark.parametrize("folder", FOLDERS)
def test_methods_of_the_interface_come_in_its_order(folder: str, file: str) -> None:
    for node in tree(folder, file).body:
        if isinstance(node, ast.ClassDef):
            names = [part.name for part in node.body if isinstance(part, ast.FunctionDef) and part.name in INTERFACE]
            assert names == sorted(names, key=INTERFACE.index), (folder, file, node.name)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_backend_imports_no_other_framework_and_its_gaps_none(folder: str) -> None:
    every = set().union(*FRAMEWORKS.values())
    for path in (ROOT / "backends" / folder).glob("*.py"):
        assert not imports(path) & (every - FRAMEWORKS[folder]), path
    assert not imports(ROOT / "backends" / folder / "gaps.py") & every


def test_dependencies_point_one_way() -> None:
    rooms = ("common", "backends", "benchmarks", "birnn")
    every = set().union(*FRAMEWORKS.values())
    for level, room in enumerate(rooms):
        for path in (ROOT / room).rglob("*.py"):
            assert not imports(path) & set(rooms[level + 1 :]), path
            if path.parent.name not in FOLDERS:
                assert not imports(path) & every, path
