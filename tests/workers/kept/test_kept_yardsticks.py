"""Yardsticks on disk: the same bits without running the reference, and never those of anything else."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.pool.pool import Pool
from backends.pool.selection import select
from backends.studies import kept_yardsticks
from backends.studies.cases import CaseStudy, Plan
from backends.studies.kept_yardsticks import PARTS, KeptYardsticks, kept_folder, key_of
from backends.studies.study import Outcome
from common.case import Case, read_case, write_case
from common.judging.yardstick import Yardstick, yardstick
from tests.cases import a_case
from tests.workers.misbehaving import BACKEND

RELU = a_case("rnn_relu", lengths=(5, 0, 3))
"""A case whose yardstick has all there may be, ambiguity too."""


class Computing:
    """Stands for ``Pool.compute``, and counts."""

    def __init__(self, folder: Path | None) -> None:
        self.count = 0
        self._kept = KeptYardsticks(self._compute, folder)

    def __call__(self, case: Case = RELU, dtype: str = "float64", tf32: bool = False) -> Yardstick:
        return self._kept.compute(1.0, yardstick, case, dtype, tf32)

    def _compute(self, timeout_seconds: float, function: Callable[..., Any], *arguments: Any) -> Any:
        self.count += 1
        return function(*arguments)


def same(one: Yardstick, other: Yardstick) -> bool:
    """Whether two yardsticks are of the same dtypes, and the same bits but for what pads a longdouble."""
    groups = [(getattr(one, part), getattr(other, part)) for part in PARTS]
    return all(
        a.keys() == b.keys()
        and all(a[name].dtype == b[name].dtype and np.array_equal(a[name], b[name], equal_nan=True) for name in a)
        for a, b in groups
    )


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_a_kept_yardstick_is_the_computed_one(tmp_path: Path, dtype: str) -> None:
    computing = Computing(tmp_path)
    first, again = computing(dtype=dtype), computing(dtype=dtype)
    assert computing.count == 1
    assert same(first, again)
    assert same(again, yardstick(RELU, dtype))
    assert again.case.as_bytes() == first.case.as_bytes()
    assert all(getattr(again, part) for part in PARTS)
    assert again.truth["output"].flags.writeable


def test_other_cases_precisions_and_surroundings_have_yardsticks_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computing = Computing(tmp_path)
    moved = replace(RELU, x=np.nextafter(RELU.x, np.inf))
    for case, dtype, tf32 in ((RELU, "float64", False), (moved, "float64", False), (RELU, "float32", False)):
        computing(case, dtype, tf32)
    computing(RELU, "float32", True)
    monkeypatch.setattr(kept_yardsticks, "surroundings", lambda: "changed")
    computing()
    assert computing.count == len(list(tmp_path.iterdir())) == 5


def test_a_file_of_which_less_is_asked_has_another_yardstick(tmp_path: Path) -> None:
    """Its hash stays the file's, so that results can name it."""
    write_case(RELU, tmp_path / "case.safetensors")
    case = read_case(tmp_path / "case.safetensors")
    less = case.without_gradients()
    assert less.sha256() == case.sha256()
    assert key_of(less, "float64", False) != key_of(case, "float64", False) == key_of(RELU, "float64", False)


def test_the_sources_are_all_of_common(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_yardsticks, "ROOT", tmp_path)
    hashes = {kept_yardsticks._sources()}
    for name, text in (
        ("common/a.py", "1"),
        ("common/room/b.py", "1"),
        ("common/room/b.py", "2"),
        ("common/c.json", ""),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        hashes.add(kept_yardsticks._sources())
    (tmp_path / "common" / "room" / "b.py").rename(tmp_path / "common" / "room" / "d.py")
    hashes.add(kept_yardsticks._sources())
    assert len(hashes) == 6


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    ],
)
def test_a_damaged_file_is_computed_and_written_anew(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    computing = Computing(tmp_path)
    computing()
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert same(computing(), yardstick(RELU, "float64"))
    assert computing.count == 2
    assert len(file.read_bytes()) == len(whole)
    computing()
    assert computing.count == 2


def test_a_file_under_another_ones_name_is_not_taken_for_it(tmp_path: Path) -> None:
    computing = Computing(tmp_path)
    computing(dtype="float64")
    (file,) = tmp_path.iterdir()
    file.rename(tmp_path / key_of(RELU, "float32", False)[:32])
    assert same(computing(dtype="float32"), yardstick(RELU, "float32"))


def test_a_folder_that_cannot_be_written_or_is_not_there_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", None):
        computing = Computing(folder)
        assert same(computing(), computing())
        assert computing.count == 2
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]


def test_what_is_no_yardstick_is_computed(tmp_path: Path) -> None:
    kept = KeptYardsticks(lambda timeout, function, *arguments: function(*arguments), tmp_path)
    assert kept.compute(1.0, max, 3, 4) == 4
    assert not [*tmp_path.iterdir()]


def test_a_yardstick_takes_the_place_of_those_unused_for_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computing = Computing(tmp_path)
    computing(dtype="float64")
    (first,) = tmp_path.iterdir()
    os.utime(first, (9, 9))
    monkeypatch.setattr(kept_yardsticks, "MOST_BYTES", first.stat().st_size + 99)
    computing(dtype="float32")
    (second,) = tmp_path.iterdir()
    assert second != first


def test_a_study_takes_them_from_beside_toxs_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registered: Callable[..., None]
) -> None:
    """What is right agrees and what is wrong disagrees, twice; the explanation alone is computed again."""
    registered(BACKEND)
    monkeypatch.setenv("TOX_WORK_DIR", str(tmp_path / "tox"))
    assert kept_folder() is None
    (tmp_path / "tox").mkdir()
    computed: list[str] = []
    compute = Pool.compute

    def noted(self: Pool, timeout_seconds: float, function: Callable[..., Any], *arguments: Any) -> Any:
        computed.append(function.__name__)
        return compute(self, timeout_seconds, function, *arguments)

    monkeypatch.setattr(Pool, "compute", noted)
    statuses: list[tuple[str, str]] = []

    def told(outcome: Outcome) -> None:
        statuses.append((outcome.implementation, outcome.status))

    with Pool.open() as pool:
        selection = select(pool, ["misbehaving/well", "misbehaving/swapped"])
        for _ in range(2):
            CaseStudy(pool, selection, Plan([a_case("gru")], ["float32"], "cpu", timeout_seconds=30), told).run()
    assert computed == ["yardstick", "explained", "explained"]
    right, wrong = ("misbehaving/well", "agrees"), ("misbehaving/swapped", "disagrees")
    assert sorted(statuses) == sorted([right, wrong] * 2)
