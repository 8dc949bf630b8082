"""What the built-in cases would not see without one class of them: wrong there and nowhere else, and caught."""

from __future__ import annotations

from functools import cache

import pytest

from common.case import Case
from common.cases.builtin import CELLS, small_cases
from common.judging.agreement import judge
from common.judging.yardstick import Yardstick, yardstick
from tests.common.judging.blind_spots import BLIND_SPOTS, BlindSpot

CASES = list(small_cases())


@cache
def yard(number: int, dtype: str) -> Yardstick:
    return yardstick(CASES[number], dtype)


def is_cell(case: Case, cell: str) -> bool:
    change = CELLS[cell]
    return (case.spec.cell, case.spec.reset_after) == (change["cell"], change.get("reset_after", True))


@pytest.mark.parametrize(
    ("spot", "cell"),
    [
        pytest.param(spot, cell, id=f"{cell}, {spot.name}")
        for cell in CELLS  # one after the other: a process that has one's yardsticks needs few of another's
        for spot in BLIND_SPOTS
        if cell in spot.cells
    ],
)
def test_the_builtin_cases_see(spot: BlindSpot, cell: str) -> None:
    """Each cell and lane by itself: a kernel is a cell's, and often a precision's, own."""
    concerned = [number for number, case in enumerate(CASES) if is_cell(case, cell) and spot.where(case)]
    assert concerned, "no built-in case is of the class"
    for dtype in spot.dtypes:
        yards = (yard(number, dtype) for number in concerned)
        assert any(not judge(spot.results(each.case, dtype), each).agrees for each in yards), dtype
