"""Why a ratio of calls that ran next to each other may lie far from the ratio of the two medians beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.analysis.statistics import Groups, Interval, Place

APART = 0.1
"""The part by which one of two ratios exceeds the other when they differ much."""
UNEVEN = 1.5
"""How many times as long the slowest tenth of the cycles takes as the fastest when the machine's speed was uneven."""


def why_apart(
    ratio: Interval,
    a: Groups,
    b: Groups,
    a_places: Mapping[Place, Sequence[float]],
    b_places: Mapping[Place, Sequence[float]],
) -> str:
    """One sentence where ``ratio``, from pairs, and the ratio of the medians of ``a`` and ``b`` differ much, else "".

    ``a`` and ``b`` hold the samples by process, ``a_places`` and ``b_places`` by (process, cycle).
    """
    apart = float(np.median(np.concatenate([*map(np.asarray, b)])) / np.median(np.concatenate([*map(np.asarray, a)])))
    if not (ratio.median > 0 and apart > 0) or abs(math.log(apart / ratio.median)) <= math.log1p(APART):
        return ""
    reasons = []
    both = a_places.keys() & b_places.keys()
    for name, places in (("A", a_places), ("B", b_places)):
        if alone := len(places) - len(both):
            reasons.append(f"{alone} of {len(places)} cycles of {name} ran without the other")
    slowdown = _slowdown([math.sqrt(np.median(a_places[place]) * np.median(b_places[place])) for place in both])
    if slowdown >= UNEVEN:
        reasons.append(f"calls took up to {slowdown:.1f} times as long in some cycles as in others")
    lean = [_calls_in(places, both) for places in (a_places, b_places)]
    if abs(lean[0] - lean[1]) > APART:
        reasons.append(f"{lean[0]:.0%} of A's calls and {lean[1]:.0%} of B's fell into the faster half of the cycles")
    return (
        f"the ratio of the medians is {apart:.3f}, that of calls in the same cycles {ratio.median:.3f}, which counts: "
        f"{' and '.join(reasons) or 'within the cycles the two do not slow down alike'}"
    )


def _slowdown(levels: Sequence[float]) -> float:
    """How many times as long the slowest tenth takes as the fastest."""
    low, high = np.quantile(levels, [0.1, 0.9])
    return float(high / low) if low > 0 else math.inf


def _calls_in(places: Mapping[Place, Sequence[float]], both: set[Place]) -> float:
    """The part of the calls that were made in the faster half of the common cycles."""
    ordered = sorted(both, key=lambda place: float(np.median(places[place])))
    counts = [len(places[place]) for place in ordered]
    return sum(counts[: len(counts) // 2]) / sum(counts)
