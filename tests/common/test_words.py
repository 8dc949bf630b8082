"""Words: a sentence that stands alone for every name, and a noun for what is held."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.common.test_rooms import LEVELS, ROOT

SAID_ELSEWHERE = ("PROBES.add", "_command", ".command", ".callback", "override")
"""Decorators that carry what a function is, or print its docstring to users: a probe's texts, a command's help."""
BEGINNING = re.compile(r"[A-Z0-9`(]|[\w'./-]*[./_:'][\w'./-]*\b|h_n\b")
"""How a sentence begins: with a capital, or with a name in code or of a package, such as torch.nn.GRU."""
LEANS = re.compile(r"(and|or|but|likewise|the same|as|of|ditto)\b", re.IGNORECASE)
"""How a sentence begins that leans on its neighbour's."""
ENDS = (".", "…", "?", ":", ")")
"""How the first paragraph ends."""
NAMES = ("id", "arg", "attr", "name")
"""Where a node of Python's syntax has a variable's, an argument's, an attribute's or a function's name."""


def named(body: list[ast.stmt], place: str, inherits: bool = False) -> Iterator[tuple[str, str | None, bool]]:
    """Every name with its docstring, and whether it has to have one: a method that a base may explain has not."""
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef):
            yield f"{place}{node.name}", ast.get_docstring(node), True
            yield from named(node.body, f"{place}{node.name}.", inherits=bool(node.bases))
        elif isinstance(node, ast.FunctionDef):
            elsewhere = any(name in ast.unparse(each) for each in node.decorator_list for name in SAID_ELSEWHERE)
            needed = not (inherits or elsewhere or node.name.startswith("__"))
            yield f"{place}{node.name}", ast.get_docstring(node), needed
        elif isinstance(node, ast.Assign | ast.AnnAssign) and not place:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            text = following.value if isinstance(following, ast.Expr) else None
            docstring = text.value if isinstance(text, ast.Constant) and isinstance(text.value, str) else None
            yield f"{place}{ast.unparse(target)}", docstring, ast.unparse(target).lstrip("(")[0].isupper()


def complaint(docstring: str | None) -> str:
    """What is wrong with a docstring; empty where nothing is."""
    if docstring is None:
        return "has no sentence"
    first = " ".join(docstring.strip().split("\n\n")[0].split())
    if LEANS.match(first):
        return f"leans on another: {first[:60]}"
    if not BEGINNING.match(first):
        return f"begins in the middle: {first[:60]}"
    return "" if first.endswith(ENDS) else f"has no end: {first[-60:]}"


def complaints(source: str) -> dict[str, str]:
    """What is wrong with the docstrings of a module, by name."""
    names = named(ast.parse(source).body, "")
    told = {name: complaint(text) for name, text, needed in names if needed or text is not None}
    return {name: what for name, what in told.items() if what}


def called_found(source: str) -> list[int]:
    """The lines of a module on which a variable, an argument or an attribute is called ``found``."""
    nodes = [node for node in ast.walk(ast.parse(source)) if "found" in (getattr(node, key, "") for key in NAMES)]
    return sorted({node.lineno for node in nodes})  # type: ignore[attr-defined]


@pytest.mark.parametrize("level", LEVELS)
def test_every_name_has_a_sentence_that_stands_alone(level: str) -> None:
    files = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / level).rglob("*.py"))]
    told = {file: complaints((ROOT / file).read_text()) for file in files}
    assert {file: what for file, what in told.items() if what} == {}


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_held_is_called_by_a_noun(level: str) -> None:
    lines = {path.relative_to(ROOT): called_found(path.read_text()) for path in sorted((ROOT / level).rglob("*.py"))}
    assert {str(file): where for file, where in lines.items() if where} == {}, "rows, layer, gaps … in place of found"


def test_what_leans_is_seen() -> None:
    source = 'A = 1\n"""Seconds,"""\nB = 2\n"""and later."""\nC = 3\ndef d():\n    """the answer."""\n'
    assert list(complaints(source)) == ["A", "B", "C", "d"]
    assert complaints('def e():\n    """The same of f."""\n') != {}
    assert complaints('def f():\n    """torch.nn.GRU, run twice."""\n') == {}


def test_found_is_seen_as_a_name_and_not_in_a_text() -> None:
    assert called_found("found = 1\n\nx.found\nf(found=2)\ndef g(found): ...\nprint('not found')\n") == [1, 3, 4, 5]
