"""Docstrings: a sentence that stands alone for every name, in the rooms that are written so far."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.common.test_rooms import LEVELS, ROOT

NOT_WRITTEN = tuple(
    f"common/checkpoints/{name}.py"
    for name in ("containers/archive", "formats/mxnet", "formats/onnx", "formats/safetensors", "told")
)
"""Where some names have no sentence yet; those that are there are held everywhere."""
SAID_ELSEWHERE = ("PROBES.add", "_command", ".command", ".callback", "override")
"""Decorators that carry what a function is, or print its docstring to users: a probe's texts, a command's help."""
BEGINNING = re.compile(r"[A-Z0-9`(]|[\w'./-]*[./_:'][\w'./-]*\b|h_n\b")
"""How a sentence begins: with a capital, or with a name in code or of a package, such as torch.nn.GRU."""
LEANS = re.compile(r"(and|or|but|likewise|the same|as above|ditto)\b", re.IGNORECASE)
"""How a sentence begins that leans on its neighbour's."""
ENDS = (".", "…", "?", ":", ")")
"""How the first paragraph ends."""


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


def complaints(source: str, written: bool) -> dict[str, str]:
    """What is wrong in a module, by name; only ``written`` ones must have a sentence for every name."""
    body = ast.parse(source).body
    told = {name: complaint(text) for name, text, needed in named(body, "") if text is not None or (needed and written)}
    return {name: what for name, what in told.items() if what}


@pytest.mark.parametrize("level", LEVELS)
def test_every_name_has_a_sentence_that_stands_alone(level: str) -> None:
    files = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / level).rglob("*.py"))]
    told = {file: complaints((ROOT / file).read_text(), not file.startswith(NOT_WRITTEN)) for file in files}
    assert {file: what for file, what in told.items() if what} == {}


def test_what_is_not_written_yet_is_there() -> None:
    assert all((ROOT / name).exists() for name in NOT_WRITTEN)


def test_what_leans_is_seen() -> None:
    source = 'A = 1\n"""Seconds,"""\nB = 2\n"""and later."""\nC = 3\ndef d():\n    """the answer."""\n'
    assert list(complaints(source, written=True)) == ["A", "B", "C", "d"]
    assert list(complaints(source, written=False)) == ["A", "B", "d"]
    assert complaints('def e():\n    """The same of f."""\n', written=False) != {}
    assert complaints('def f():\n    """torch.nn.GRU, run twice."""\n', written=True) == {}
