"""Find the smallest set of built-in cases for ``birnn verify --quick``, and write it.

    python -m benchmarks.maintain.quick_set

It catches what all built-in cases catch: every known mistake, also in one direction alone, in every cell, with two
directions and with one, and in both lanes that ``verify`` runs by default, and it takes every named path of every
implementation whose environment is there. That is a set cover, solved exactly as an integer program (scipy's HiGHS);
of two covers the one with fewer programs to compile wins, then the one with fewer cases, then the one with less
numbers. With each name stands something that no other case of the set catches or takes, as there must be in a smallest
set, and with the set what it is of: the names of all cases and mistakes. Tests hold both.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import Progress

from backends.pool.pool import Pool
from backends.pool.selection import select
from backends.registry import BUILT_IN
from backends.studies.cases import CaseStudy, Plan
from backends.studies.study import Outcome
from common.case import Case
from common.cases.builtin import CELLS, QUICK_FILE, SIZES, small_cases
from common.errors import InputError
from common.judging.agreement import DISAGREES, judge
from common.judging.mistakes.every import mistakes
from common.judging.mistakes.mistake import DIRECTIONS
from common.judging.yardstick import yardstick
from common.specification import Specification
from common.tensorfile import write_bytes

LANES = ("float32", "float64")
"""The dtypes in which each known mistake is to be caught."""
LONGEST = 100
"""Steps up to which a case's mistakes are looked at: the reference takes seconds for each past that."""
PROGRAM_COST, CASE_COST, NUMBER_COST = 100.0, 1.0, 1e-7
"""What a further program, a further case and a further number cost the smallest set."""


class CaughtMistake(NamedTuple):
    """A mistake of a cell with so many directions, in all of them or the named one, in a lane."""

    cell: str
    reset_after: bool
    num_directions: int
    dtype: str
    mistake: str
    direction: str


class TakenPath(NamedTuple):
    """A part of the path of an implementation (``framework/name``) in a lane."""

    implementation: str
    dtype: str
    part: str


def caught(case: Case) -> set[Hashable]:
    """What the case catches: some of ``CaughtMistake``."""
    cell = (case.spec.cell, case.spec.reset_after, case.spec.num_directions)
    pairs: set[Hashable] = set()
    for dtype in LANES:
        yard = yardstick(case, dtype)
        for mistake in mistakes(case.spec):
            if not mistake.applies(case, dtype):
                continue
            tries: dict[str, Any] = {"": mistake.results(case, dtype)}
            if mistake.in_direction is not None and case.spec.num_directions == len(DIRECTIONS):
                tries |= {name: mistake.in_direction(case, dtype, each) for each, name in DIRECTIONS.items()}
            for direction, results in tries.items():
                if judge(results, yard).status == DISAGREES:
                    pairs.add(CaughtMistake(*cell, dtype, mistake.name, direction))
    return pairs


def taken(cases: Sequence[Case], console: Console) -> dict[str, set[Hashable]]:
    """The parts of the paths that each implementation takes on each case, by case; what a case alone can vary."""
    paths: dict[str, set[Hashable]] = {case.name: set() for case in cases}
    with Pool.open() as pool, Progress(console=console, transient=True) as bar:
        selection = select(pool, [f"{backend.name}/*" for backend in BUILT_IN])
        if selection.broken or selection.missing:
            raise InputError(f"every environment must be there; {next(iter(selection.notes()))}")

        def report(outcome: Outcome) -> None:
            bar.advance(task)
            if not outcome.declined:
                parts = [part for part in outcome.path.split(", ") if part and not part[0].isdigit()]
                paths[outcome.case] |= {TakenPath(outcome.implementation, outcome.dtype, part) for part in parts}

        study = CaseStudy(pool, selection, Plan(cases, LANES, "cpu", 120.0, judged=False), report)
        task = bar.add_task("paths", total=study.size())
        study.run()
    return paths


def smallest_cover(
    covers: Mapping[str, set[Hashable]], programs: Mapping[str, Hashable], sizes: Mapping[str, int]
) -> list[str]:
    """The names whose sets cover all that any covers, in their order, at the least cost."""
    from scipy.optimize import Bounds, LinearConstraint, milp  # dear to import, and only this needs it

    names, groups = list(covers), sorted(set(programs.values()), key=repr)
    elements = sorted(set().union(*covers.values()), key=repr)
    # One variable a case, then one a program, which each of its cases needs.
    cover = np.array(
        [[element in covers[name] for name in names] + [False] * len(groups) for element in elements], float
    )
    needs = np.zeros((len(names), len(names) + len(groups)))
    for row, name in enumerate(names):
        needs[row, row], needs[row, len(names) + groups.index(programs[name])] = -1, 1
    costs = [CASE_COST + NUMBER_COST * sizes[name] for name in names] + [PROGRAM_COST] * len(groups)
    solution = milp(
        costs,
        integrality=np.ones(len(costs)),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(cover, lb=1), LinearConstraint(needs, lb=0)],
    )
    assert solution.success, solution.message
    return [name for name, chosen in zip(names, solution.x, strict=False) if chosen > 0.5]


def program_of(case: Case) -> Hashable:
    """What a framework compiles anew for: specification, batch, steps, and whether there are lengths and states."""
    given = tuple(each is None for each in (case.lengths, case.h_0, case.c_0))
    return (case.spec.model_dump_json(), case.batch, case.seq_len, given)


def quick_set(
    cases: Sequence[Case], paths: Mapping[str, set[Hashable]], caught_by: Iterable[set[Hashable]]
) -> dict[str, dict[str, Any]]:
    """The names of the smallest set, each with something that no other of them catches or takes."""
    covers = {case.name: mistakes | paths[case.name] for case, mistakes in zip(cases, caught_by, strict=True)}
    programs = {case.name: program_of(case) for case in cases}
    names = smallest_cover(covers, programs, {case.name: case.x.size for case in cases})
    reasons = {}
    for name in names:
        alone = covers[name].difference(*(covers[other] for other in names if other != name))
        reasons[name] = min(alone, key=repr)._asdict()  # type: ignore[attr-defined]
    return reasons


def main() -> None:
    """Find the set, and write it."""
    console = Console(stderr=True)
    cases = list(small_cases())
    short = [case for case in cases if case.seq_len < LONGEST]
    with ProcessPoolExecutor() as processes:
        by_name = dict(zip([case.name for case in short], processes.map(caught, short), strict=True))
    smallest = quick_set(cases, taken(cases, console), [by_name.get(case.name, set()) for case in cases])
    content = {"made_by": "python -m benchmarks.maintain.quick_set", "of": described(cases), "alone": smallest}
    write_bytes(QUICK_FILE, (json.dumps(content, indent=1) + "\n").encode())
    console.print(f"{len(smallest)} of {len(cases)} cases: {', '.join(smallest)}")


def described(cases: Sequence[Case]) -> dict[str, Any]:
    """What the set depends on, as far as names tell it: all cases, and the mistakes of each cell."""
    by_cell = {name: [each.name for each in mistakes(Specification(**SIZES, **cell))] for name, cell in CELLS.items()}
    return {"cases": [case.name for case in cases], "mistakes": by_cell}


if __name__ == "__main__":
    main()
