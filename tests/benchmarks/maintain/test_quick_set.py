"""The set of ``verify --quick`` is what its command gives: as small as it can be, and of what is there."""

from __future__ import annotations

import json
from collections.abc import Hashable

import pytest

from benchmarks.maintain.quick_set import LONGEST, described, smallest_cover
from common.cases.builtin import QUICK_FILE, alone_in_quick, quick_cases, small_cases
from common.judging.agreement import DISAGREES, judge
from common.judging.mistakes.every import mistakes
from common.judging.mistakes.mistake import DIRECTIONS
from common.judging.yardstick import yardstick

CASES = {case.name: case for case in quick_cases() if case.seq_len < LONGEST}
"""Those whose mistakes the command looks at."""
OF_MISTAKES = {name: reason for name, reason in alone_in_quick().items() if "mistake" in reason}


def test_the_set_is_of_the_cases_and_mistakes_that_there_are() -> None:
    """Whoever adds or renames one runs python -m benchmarks.maintain.quick_set, which takes some minutes."""
    assert json.loads(QUICK_FILE.read_text())["of"] == described(list(small_cases()))


@pytest.mark.parametrize("name", OF_MISTAKES)
def test_a_case_catches_what_no_other_of_the_set_does(name: str) -> None:
    """So none can be left out; what is there for a path, tests/frameworks/test_implementations.py holds."""
    reason, catching = OF_MISTAKES[name], []
    kind = {"cell": reason["cell"], "reset_after": reason["reset_after"], "num_directions": reason["num_directions"]}
    for other, case in CASES.items():
        if not kind.items() <= case.spec.model_dump().items():
            continue
        (mistake,) = [each for each in mistakes(case.spec) if each.name == reason["mistake"]]
        dtype = reason["dtype"]
        if not mistake.applies(case, dtype):
            continue
        if reason["direction"]:
            assert mistake.in_direction is not None
            (number,) = [each for each, direction in DIRECTIONS.items() if direction == reason["direction"]]
            results = mistake.in_direction(case, dtype, number)
        else:
            results = mistake.results(case, dtype)
        if judge(results, yardstick(case, dtype)).status == DISAGREES:
            catching.append(other)
    assert catching == [name]


def test_the_smallest_set_has_the_fewest_programs_then_cases_then_numbers() -> None:
    covers: dict[str, set[Hashable]] = {"a": {1, 2}, "b": {3}, "c": {1}, "d": {2, 3}, "e": {1}}
    programs = dict.fromkeys("abcde", "one")
    sizes = dict.fromkeys("abcde", 5)
    assert smallest_cover(covers, programs, sizes | {"c": 4}) == ["c", "d"]
    assert smallest_cover(covers, programs, sizes | {"e": 4}) == ["d", "e"]
    alike = programs | {"d": "two"}
    assert smallest_cover(covers, alike, sizes | {"b": 900}) == ["a", "b"]
