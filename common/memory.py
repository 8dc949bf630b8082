"""How much memory is left, and a sentence instead of more than that: the kernel ends who takes too much, unasked."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

from common.errors import InputError

MEMINFO = Path("/proc/meminfo")
"""The kernel's file on the machine's memory."""
CGROUPS = Path("/sys/fs/cgroup")
"""The folder of the kernel's control groups."""
OWN_CGROUP = Path("/proc/self/cgroup")
"""The kernel's file that names this process's control group."""
LIMITS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
"""A control group's limit and use, in version 2 and 1."""


def free_bytes() -> int | None:
    """Bytes that can still be had, by the kernel's word and that of the process's memory control groups; None where
    neither says.
    """
    match = re.search(r"^MemAvailable:\s+(\d+) kB$", _read(MEMINFO), re.MULTILINE)
    left = [int(match[1]) * 1024] if match else []
    for folder in _cgroups():
        for limit, used in LIMITS:
            numbers = [_read(folder / name).strip() for name in (limit, used)]
            if all(number.isdigit() for number in numbers):
                left.append(max(0, int(numbers[0]) - int(numbers[1])))
    return min(left, default=None)


def numbers_in(shapes: Iterable[Iterable[int]]) -> int:
    """How many numbers arrays of these shapes hold together."""
    return sum(math.prod(shape) for shape in shapes)


def check_room(numbers: int, copies: int, what: str) -> None:
    """Raise an ``InputError`` when ``copies`` times so many float64 do not fit into the memory that is left."""
    needed, free = 8 * numbers * copies, free_bytes()
    if free is not None and needed > free:
        raise InputError(
            f"{what} must fit into memory; it needs about {needed / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB are "
            "free"
        )


def _cgroups() -> list[Path]:
    """The process's group and those around it, as they are mounted here; a container sees its own at the root."""
    path = re.search(r"^0::/(.*)$", _read(OWN_CGROUP), re.MULTILINE)
    own = CGROUPS / (path[1] if path and ".." not in path[1] else "")
    return [folder for folder in (own, *own.parents) if folder == CGROUPS or CGROUPS in folder.parents]


def _read(path: Path) -> str:
    """The text of a file; empty where it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
