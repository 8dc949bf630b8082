"""How long a study takes still: by how long each backend's outcomes have taken so far."""

from __future__ import annotations

import os
from collections.abc import Mapping

from backends.pool.schedule import MOST_WORKERS

Group = tuple[str, str, str]
"""What one worker runs, case after case: a backend, one of its implementations, and a dtype."""


class Pace:
    """What is left of a study, and how long it takes.

    Parameters
    ----------
    left
        The number of outcomes that each group is to have.
    """

    def __init__(self, left: Mapping[Group, int]) -> None:
        self._left = dict(left)
        self._taken: dict[str, tuple[float, int]] = {}

    def note(self, group: Group, seconds: float) -> None:
        """Note that a group has one outcome more, and how long it took."""
        self._left[group] -= 1
        total, count = self._taken.get(group[0], (0.0, 0))
        self._taken[group[0]] = total + seconds, count + 1

    def seconds_left(self) -> float | None:
        """About how long the rest takes on as many cores as are used, or None before the first outcome.

        An outcome of a backend takes what its others took in the mean; of one that has none yet, what all took. A group
        stays in one worker, so the rest takes no less than the longest one of them.
        """
        if not self._taken:
            return None
        totals, counts = zip(*self._taken.values(), strict=True)
        rests = []
        for (name, *_), left in self._left.items():
            total, count = self._taken.get(name, (sum(totals), sum(counts)))
            rests.append(left * total / count)
        return max(sum(rests) / min(os.cpu_count() or 1, MOST_WORKERS), *rests)
