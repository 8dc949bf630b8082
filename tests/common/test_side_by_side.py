"""The four frameworks' folders read side by side: what two of them share comes in one order, and is called alike."""

from __future__ import annotations

import ast
import itertools
from functools import cache

import pytest

from tests.common.test_rooms import FOLDERS, ROOT, files_of, tree

OWN_NAMES = {
    "pytorch": ("PyTorch", "Torch"),
    "jax_flax": ("Jax",),
    "tensorflow_keras": ("TensorFlow", "Tensorflow"),
    "mxnet_gluon": ("MXNet", "Mxnet"),
}
"""How the names of a framework's own classes begin."""
CARRIED = {"F", "spec", "program", "parameters", "weights", "affine"}
"""What some frameworks hand on from function to function, for they trace them, and others keep in an object."""
BUILT_FROM = {"LayerTrainer.__init__", "Optimizer.__init__"}
"""What is made of whatever its framework holds: no two are called alike."""
CLASS = ("class",)
"""What stands for a class's parameters."""
BASES = {
    "framework.py": ("framework.py", "Framework"),
    "layer/implementation.py": ("layer.py", "Implementation"),
    "models/network.py": ("network.py", "Network"),
}
"""The file and the class of the interface that each file's class has for its base."""
EVERY = sorted({file for folder in FOLDERS for file in files_of(folder)})
Signatures = dict[str, tuple[str, ...]]


@cache
def signatures(folder: str, file: str) -> Signatures:
    """The public classes, functions and methods of a file in order, without the framework's own name, with what they
    are called with; nothing where there is no such file.
    """
    if file not in files_of(folder):
        return {}
    every: Signatures = {}
    for node in tree(folder, file).body:
        if isinstance(node, ast.FunctionDef):
            every[node.name] = parameters(node)
        elif isinstance(node, ast.ClassDef):
            name = without_own_name(folder, node.name)
            every[name] = CLASS
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            every |= {f"{name}.{method.name}": parameters(method) for method in methods}
    return {name: value for name, value in every.items() if is_public(name)}


def without_own_name(folder: str, name: str) -> str:
    """A class's name without that of its framework; of the framework itself, what it is."""
    for own in OWN_NAMES[folder]:
        name = name.removeprefix(own)
    return name or "Framework"


def is_public(name: str) -> bool:
    """Whether a class, a function or a method is for others; how an object is made is."""
    return name.endswith(".__init__") or not any(part.startswith("_") for part in name.split("."))


def parameters(function: ast.FunctionDef) -> tuple[str, ...]:
    """The names of a function's parameters."""
    given = function.args
    every = [*given.posonlyargs, *given.args, *([given.vararg] if given.vararg else []), *given.kwonlyargs]
    return tuple(each.arg for each in every if each.arg not in ("self", "cls"))


def in_another_order(one: Signatures, other: Signatures) -> list[tuple[str, str]]:
    """The names that both have where they come in another order."""
    firsts, seconds = ([name for name in names if name in one and name in other] for names in (one, other))
    return [(a, b) for a, b in zip(firsts, seconds, strict=True) if a != b]


@pytest.mark.parametrize("file", EVERY)
def test_what_two_frameworks_share_comes_in_one_order(file: str) -> None:
    for one, other in itertools.combinations(FOLDERS, 2):
        assert in_another_order(signatures(one, file), signatures(other, file)) == [], (one, other)


def test_another_order_is_seen() -> None:
    assert in_another_order({"a": (), "b": (), "c": ()}, {"b": (), "a": ()}) == [("a", "b"), ("b", "a")]


@pytest.mark.parametrize("file", [file for file in EVERY if not file.startswith("probes/")])
def test_what_all_frameworks_have_is_called_with_the_same(file: str) -> None:
    """But for what some hand on and others keep; a probe's behaviour is its framework's own."""
    of_folder = [signatures(folder, file) for folder in FOLDERS]
    for name in of_folder[0]:
        if name not in BUILT_FROM and all(name in each for each in of_folder):
            calls = {tuple(each for each in names[name] if each not in CARRIED) for names in of_folder}
            assert len(calls) == 1, (name, calls)


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("file", BASES)
def test_methods_of_the_interface_are_called_as_the_interface_says(folder: str, file: str) -> None:
    module, name = BASES[file]
    room = ast.parse((ROOT / "backends" / "interface" / module).read_text()).body
    (base,) = [node for node in room if isinstance(node, ast.ClassDef) and node.name == name]
    wanted = {part.name: parameters(part) for part in base.body if isinstance(part, ast.FunctionDef)}
    of_class = {each: names for each, names in signatures(folder, file).items() if each.startswith(f"{name}.")}
    own = {each.partition(".")[2]: names for each, names in of_class.items()}
    shared = wanted.keys() & own.keys() - {"__init__"}
    assert len(shared) > 3
    assert {name: own[name] for name in shared} == {name: wanted[name] for name in shared}
