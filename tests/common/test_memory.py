"""How much memory is left: the least that the kernel and the control groups say, and a sentence for what is more."""

from __future__ import annotations

from pathlib import Path

import pytest

from common import memory
from common.errors import InputError
from common.memory import check_room, free_bytes

KILOBYTES = 5_000


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up kernel's files, without a control group yet; the folder of the groups."""
    (tmp_path / "meminfo").write_text(f"MemTotal: 9000 kB\nMemAvailable:    {KILOBYTES} kB\n")
    (tmp_path / "cgroup").write_text("0::/outer/inner\n")
    groups = tmp_path / "groups"
    (groups / "outer" / "inner").mkdir(parents=True)
    for name, path in (("MEMINFO", "meminfo"), ("OWN_CGROUP", "cgroup"), ("CGROUPS", "groups")):
        monkeypatch.setattr(memory, name, tmp_path / path)
    return groups


def test_without_a_group_it_is_what_the_kernel_has(kernel: Path) -> None:
    assert free_bytes() == 1024 * KILOBYTES


@pytest.mark.parametrize("place", [".", "outer", "outer/inner"])
def test_a_group_around_the_process_bounds_it(kernel: Path, place: str) -> None:
    (kernel / place / "memory.max").write_text("3000\n")
    (kernel / place / "memory.current").write_text("1000\n")
    assert free_bytes() == 2000
    (kernel / place / "memory.max").write_text("max\n")
    assert free_bytes() == 1024 * KILOBYTES


def test_a_group_of_version_1_bounds_it_too_and_what_is_over_is_none_left(kernel: Path) -> None:
    (kernel / "memory").mkdir()
    (kernel / "memory" / "memory.limit_in_bytes").write_text("3000")
    (kernel / "memory" / "memory.usage_in_bytes").write_text("3001")
    assert free_bytes() == 0


def test_where_nobody_says_nothing_is_refused(kernel: Path) -> None:
    memory.MEMINFO.unlink()
    assert free_bytes() is None
    check_room(10**15, 1, "the case")


def test_a_number_takes_eight_bytes_in_each_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 8 * 7 * 3)
    check_room(7, 3, "the case")
    monkeypatch.setattr(memory, "free_bytes", lambda: 8 * 7 * 3 - 1)
    with pytest.raises(InputError, match="the case must fit into memory"):
        check_room(7, 3, "the case")
