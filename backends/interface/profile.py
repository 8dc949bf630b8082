"""What ran in a pass, as a profiler counts it: the parts with most time, in short texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

MOST_TEXTS = 8
"""How many kernels are told at most."""
LONGEST_NAME = 80
"""Characters of a kernel's name that are told at most."""
SMALLEST_SHARE = 0.005
"""Parts below it are left out."""


class Spent(NamedTuple):
    """How often a part ran, and its own time in any unit."""

    calls: int
    time: float


def added_up(parts: Iterable[tuple[str, float]]) -> dict[str, Spent]:
    """Single runs, each a name and its time, by name."""
    totals: dict[str, Spent] = {}
    for name, time in parts:
        calls, total = totals.get(name, Spent(0, 0.0))
        totals[name] = Spent(calls + 1, total + time)
    return totals


def most_important(spent: Mapping[str, Spent], most: int = MOST_TEXTS) -> list[str]:
    """The ``most`` parts with most time, each as ``name ×calls, share %`` of all parts' time."""
    total = sum(part.time for part in spent.values())
    largest = sorted(spent.items(), key=lambda item: item[1].time, reverse=True)[:most]
    return [
        f"{_shortened(name)} ×{part.calls}, {part.time / total:.0%}"
        for name, part in largest
        if part.time > SMALLEST_SHARE * total
    ]


def _shortened(name: str) -> str:
    """``name`` without its end where it is long, as a C++ kernel's with its template arguments is."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
