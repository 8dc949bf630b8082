"""The sample of single mistakes, for `tox run -e mutation`: drawn alike from a seed, and none that is no mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray", reason="what makes the mistakes is in tox's environment mutation alone")

from benchmarks.maintain.mutation.__main__ import Suite, clones, read_rooms
from benchmarks.maintain.mutation.mutants import Mutant, program, sampled

SOURCE = '''"""Text."""

def total(values: list[float] | None, start: float = 0.0) -> float | None:
    """More text."""
    for value in values:
        start = start + value * 2
    return start if start > 1 else -start
'''


@pytest.fixture
def room(tmp_path: Path) -> Path:
    (tmp_path / "total.py").write_text(SOURCE)
    return tmp_path


def test_the_same_seed_draws_the_same_mutants_and_another_one_others(room: Path) -> None:
    drawn = [sampled(room, {"room": ["total.py"]}, 8, seed)["room"] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_lines_above_move_no_mutant_to_another_place(room: Path) -> None:
    before = sampled(room, {"room": ["total.py"]}, 8, 0)["room"]
    (room / "total.py").write_text(f"FIRST = SECOND = None\n{SOURCE}")
    after = sampled(room, {"room": ["total.py"]}, 8, 0)["room"]
    assert [(each.line + 1, each.operator) for each in before] == [(each.line, each.operator) for each in after]


def test_every_mutant_is_another_program(room: Path) -> None:
    mutants = sampled(room, {"room": ["total.py"]}, 50, 0)["room"]
    assert len(mutants) > 8
    codes = [mutant.code(SOURCE) for mutant in mutants]
    assert all(code is not None and program(code) != program(SOURCE) for code in codes)
    assert not any(mutant.line == 3 and "BinaryOperator" in mutant.operator for mutant in mutants)  # annotations


def test_a_change_is_told_by_its_lines(room: Path) -> None:
    mutant = Mutant("total.py", 6, "core/ReplaceBinaryOperator_Add_Sub", 0)
    mutated = mutant.code(SOURCE)
    assert mutated is not None
    assert mutant.change(SOURCE, mutated) == ("start = start + value * 2", "start = start - value * 2")


def test_every_room_has_files_and_tests_that_are_there() -> None:
    for room in read_rooms():
        assert room.files, room.name
        for tests in room.tests:
            assert isinstance(tests, Suite)
            assert all(Path(path).exists() for path in tests.paths if not path.startswith("--")), tests.paths


def test_a_clone_is_a_checkout_of_its_own() -> None:
    with clones(1) as (folder,):
        assert (folder / "common" / "judging" / "agreement.py").exists()
    assert not folder.exists()
