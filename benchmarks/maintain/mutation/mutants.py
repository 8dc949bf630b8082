"""Single mistakes made by a program in our own code: which there can be, and a fair sample of them.

Cosmic Ray says where its operators apply and writes the mutated code; what is drawn, and what is no mistake at all
because it changes annotations alone, is decided here.
"""

from __future__ import annotations

import ast
import difflib
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

WITHOUT = ("NoOp", "VariableInserter", "VariableReplacer")
"""Operators that are left out: one changes nothing, two want the names of variables."""
ABSURD = ("_BitAnd", "_BitOr", "_BitXor", "_LShift", "_RShift", "_Is", "_IsNot")
"""What nobody writes by mistake for arithmetic on arrays, and what every test would notice: they would flatter."""


@dataclass(frozen=True, order=True)
class Mutant:
    """One mistake: ``occurrence`` is the number of the place in ``file`` among those where ``operator`` applies."""

    file: str
    line: int
    operator: str
    occurrence: int

    def code(self, source: str) -> str | None:
        """The file's text with the mistake; None where it would be the same program (annotations apart)."""
        text = mutate_code(source, get_operator(self.operator)(), self.occurrence)
        return None if text is None or program(text) == program(source) else text

    def change(self, source: str, mutated: str) -> tuple[str, str]:
        """The lines that differ, before and after, without their indentation."""
        lines = list(difflib.ndiff(source.splitlines(), mutated.splitlines()))
        before, after = ([line[2:].strip() for line in lines if line.startswith(sign)] for sign in ("- ", "+ "))
        return " ".join(before), " ".join(after)


def program(source: str) -> str:
    """What a file says to Python at run time: its syntax tree without annotations, docstrings and zip's ``strict``; ""
    if it has none.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
        if isinstance(node, ast.Call):  # zip's strict only says when something else is wrong
            node.keywords = [each for each in node.keywords if each.arg != "strict"]
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [each for each in body if not _is_text(each)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a text alone, such as a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def places(root: Path, file: str) -> dict[str, list[Mutant]]:
    """All mutants of a file by place: the kind of operator, the text of the line, and the how-manieth such place it is.

    A place with a ``+`` has six mutants and one with a ``not`` has one; who draws a place first draws both alike. The
    names of places stay what they are when other lines change.
    """
    source = (root / file).read_text()
    lines, nodes = source.splitlines(), list(ast_nodes(get_ast(source)))
    at: dict[tuple[str, int, int], list[Mutant]] = {}
    for name in operator_names():
        kind = name.partition("/")[2].partition("_")[0]
        if kind in WITHOUT or name.endswith(ABSURD) or get_operator(name).arguments():
            continue
        operator = get_operator(name)()
        positions = (start for node in nodes for start, _ in operator.mutation_positions(node))
        for occurrence, (line, column) in enumerate(positions):
            at.setdefault((kind, line, column), []).append(Mutant(file, line, name, occurrence))
    by_file: dict[str, list[Mutant]] = {}
    seen: Counter[str] = Counter()
    for (kind, line, _), mutants in sorted(at.items()):
        text = f"{file} {kind} {lines[line - 1].strip()}"
        seen[text] += 1
        by_file[f"{text} {seen[text]}"] = mutants
    return by_file


def sampled(root: Path, rooms: Mapping[str, Sequence[str]], count: int, seed: int) -> dict[str, list[Mutant]]:
    """``count`` mutants by room, shared out by how many places each room has, but at least eight a room.

    Parameters
    ----------
    root
        The checkout.
    rooms
        The files of each room, relative to ``root``.
    count
        How many in all, about: shares are rounded.
    seed
        The same seed draws the same mutants from the same code, and mostly the same ones after a small change of it.
    """
    of = {
        room: {place: mutants for file in files for place, mutants in places(root, file).items()}
        for room, files in rooms.items()
    }
    total = sum(len(groups) for groups in of.values())
    return {
        room: list(_first_real(root, groups, max(8, round(count * len(groups) / total)), seed))
        for room, groups in of.items()
    }


def _first_real(root: Path, groups: Mapping[str, list[Mutant]], count: int, seed: int) -> Iterable[Mutant]:
    """One mutant of each place until there are enough; places whose mutant is no mistake are passed over."""
    taken = 0
    for place in sorted(groups, key=lambda place: sha256(f"{seed} {place}".encode()).digest()):
        if taken == count:
            return
        mutant = random.Random(f"{seed} {place}").choice(groups[place])
        if mutant.code((root / mutant.file).read_text()) is not None:
            taken += 1
            yield mutant
