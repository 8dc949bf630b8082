"""Medians and ratios with intervals, and what may be concluded from them.

Times within one process resemble each other more than times of two processes do (memory layout, code alignment, the
order of allocation), so intervals come from a bootstrap on two levels: processes are drawn with replacement, then
samples within each drawn process (Kalibera and Jones 2013, "Rigorous benchmarking in reasonable time", section 7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

RESAMPLES = 1000
"""Resamples from which an interval is taken."""
COVERAGE = 0.95
"""The coverage of an interval."""
FEWEST = 3
"""Samples in all below which there is no interval: it is infinitely wide."""
DRAWN = 200
"""Samples at most that are drawn from a process in one resample."""
KEPT = 4
"""How many shapes of samples have their random numbers kept, some megabytes each at most."""
SAME = 0.05
"""Ratios within this of 1 are the same for practical purposes, when the noise floor is below half of it."""
GAP = 5.0
"""How many times the spread within two groups of samples their distance is, at least, when they are two modes."""
GAP_OVER_MEDIAN = 0.03
"""The part of the median that the distance of two modes is, at least."""
GROUP = 0.15
"""The part of the samples that each of two modes holds, at least."""
FEWEST_FOR_MODES = 20
"""Samples below which modes are not looked for."""
STEADY = 0.05
"""The part by which the medians of the last two windows differ, at most, when samples are steady."""
LONGEST_WINDOW = 5
"""Samples of such a window, at most; it is a third of those there are where these are few."""

FASTER, SLOWER, SAME_SPEED, AMBIGUOUS = "faster", "slower", "same", "ambiguous"
"""The verdicts on a ratio."""
Groups = Sequence[Sequence[float]]
"""Samples by process."""
Place = tuple[int, int]
"""A process and a cycle in it."""


@dataclass(frozen=True)
class Interval:
    """A median with its 95 % interval; seconds, or a ratio without unit."""

    median: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the interval's width over the median."""
        return (self.high - self.low) / 2 / self.median


def median_interval(samples: Groups, seed: int = 0) -> Interval:
    """The median of all samples, a sequence for each process, with its two-level bootstrap interval."""
    median = float(np.median(np.concatenate(_arrays(samples))))
    if _too_few(samples):
        return Interval(median, 0.0, np.inf)
    (drawn,) = _resampled_medians([samples], seed)
    return _interval(median, drawn)


def ratio_interval(a: Groups, b: Groups, seed: int = 0) -> Interval:
    """B's median over a's, when the two were measured apart; each a sequence of samples for each process."""
    if _too_few(a) or _too_few(b):
        return Interval(_ratio(a, b), 0.0, np.inf)
    of_b, of_a = _resampled_medians([b, a], seed)
    return _interval(_ratio(a, b), of_b / of_a)


def paired_ratio_interval(
    a: Mapping[Place, Sequence[float]], b: Mapping[Place, Sequence[float]], seed: int = 0
) -> Interval:
    """B over a, from blocks that ran next to each other: what changed the machine's speed changed both.

    Every sample is divided by its cycle's level, the geometric mean of the two blocks' medians; then medians are taken
    as in ``ratio_interval``. ``a`` and ``b`` hold samples by (process, cycle); only places that both have count, and
    ``ValueError`` is raised when there is none.
    """
    return ratio_interval(*_levelled(a, b), seed)


def _levelled(
    a: Mapping[Place, Sequence[float]], b: Mapping[Place, Sequence[float]]
) -> tuple[list[list[float]], list[list[float]]]:
    """The samples of both by process, each over its cycle's level."""
    levelled: tuple[dict[int, list[float]], dict[int, list[float]]] = ({}, {})
    for place in a:
        if place in b:
            level = np.sqrt(middle(a[place]) * middle(b[place]))
            for groups, samples in zip(levelled, (a[place], b[place]), strict=True):
                groups.setdefault(place[0], []).extend(sample / level for sample in samples)
    if not levelled[0]:
        raise ValueError("a and b must have a cycle in common; got none")
    return list(levelled[0].values()), list(levelled[1].values())


def _ratio(a: Groups, b: Groups) -> float:
    """The median of b over that of a."""
    return float(np.median(np.concatenate(_arrays(b))) / np.median(np.concatenate(_arrays(a))))


def verdict(ratio: Interval, floor: float, same: float = SAME) -> str:
    """What a ratio of b over a says of b: ``faster``, ``slower``, ``same`` or ``ambiguous``.

    Parameters
    ----------
    ratio
        b's time over a's.
    floor
        The difference, as a part, that pairs of one and the same thing stay within in 95 of 100 cases: faster or slower
        needs the whole interval beyond 1 + floor, or below 1 / (1 + floor).
    same
        The relative difference that does not matter; twice the floor counts when it is more.
    """
    with np.errstate(divide="ignore"):  # an interval without end is ambiguous
        low, high = np.log(ratio.low), np.log(ratio.high)
    noise = np.log1p(floor)
    if low > noise:
        return SLOWER
    if high < -noise:
        return FASTER
    margin = max(np.log1p(same), 2 * noise)
    return SAME_SPEED if -margin <= low and high <= margin else AMBIGUOUS


def is_steady(samples: Sequence[float]) -> bool:
    """Whether warm-up has ended: the last two windows of samples have about the same median."""
    window = min(LONGEST_WINDOW, len(samples) // 3)
    if window == 0:
        return False
    last, before = np.median(samples[-window:]), np.median(samples[-2 * window : -window])
    return bool(abs(last - before) <= STEADY * before)


def is_drifting(samples: Sequence[float]) -> bool:
    """Whether the samples after the warm-up still go one way: the thirds' medians rise or fall by more than thrice
    ``STEADY`` from the first to the last, and hardly overlap.
    """
    third = len(samples) // 3
    if third < 3:
        return False
    first, last = np.asarray(samples[:third]), np.asarray(samples[-third:])
    change = np.median(last) / np.median(first) - 1
    if abs(change) <= 3 * STEADY:
        return False
    above = np.mean(last[:, None] > first[None, :])
    return bool(above > 0.95 or above < 0.05)


def is_bimodal(samples: Sequence[float]) -> bool:
    """Whether the samples fall into two groups, as when an implementation takes one of two paths.

    The cut is where the groups' summed squared deviations are least (Otsu 1979); the spread within a group is its
    median absolute deviation. Outliers are no group: each needs ``GROUP`` of the samples.
    """
    ordered = np.sort(np.asarray(samples, float))
    count = len(ordered)
    if count < FEWEST_FOR_MODES:
        return False
    cuts = np.arange(max(2, int(np.ceil(GROUP * count))), count - max(2, int(np.ceil(GROUP * count))) + 1)
    sums, squares = np.cumsum(ordered), np.cumsum(ordered**2)
    below = squares[cuts - 1] - sums[cuts - 1] ** 2 / cuts
    above = squares[-1] - squares[cuts - 1] - (sums[-1] - sums[cuts - 1]) ** 2 / (count - cuts)
    cut = int(cuts[np.argmin(below + above)])
    low, high = ordered[:cut], ordered[cut:]
    distance = np.median(high) - np.median(low)
    spread = max(np.median(np.abs(group - np.median(group))) for group in (low, high))
    gap = high[0] - low[-1]
    return bool(distance > GAP * spread and distance > GAP_OVER_MEDIAN * np.median(ordered) and gap > distance / 4)


def _resampled_medians(of: Sequence[Groups], seed: int) -> list[np.ndarray]:
    """(RESAMPLES,) medians of two-level resamples of each of several groups."""
    arrays = [_arrays(samples) for samples in of]
    draws = _draws(tuple(tuple(map(len, each)) for each in arrays), seed)
    tables = map(table_of, arrays)
    return [medians(table[drawn].reshape(RESAMPLES, -1)) for table, drawn in zip(tables, draws, strict=True)]


def medians(samples: np.ndarray) -> np.ndarray:
    """The medians of the last axis, which is sorted in place, as NumPy has them but for NaN: its partition takes five
    times as long as its sort (NumPy 2.4, AMD EPYC).
    """
    samples.sort(axis=-1)
    half = samples.shape[-1] // 2
    return samples[..., half] if samples.shape[-1] % 2 else (samples[..., half - 1] + samples[..., half]) / 2


@lru_cache(KEPT)
def _draws(counts_of: tuple[tuple[int, ...], ...], seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Which processes (RESAMPLES, processes, 1) and samples (RESAMPLES, processes, drawn) of them the resamples have,
    for each of several groups by the numbers of their samples: most rows of a run have the same.
    """
    rng = np.random.default_rng(seed)
    draws = []
    for counts in map(np.array, counts_of):
        process = rng.integers(len(counts), size=(RESAMPLES, len(counts), 1))
        drawn = min(DRAWN, int(np.ceil(counts.mean())))
        uniform = rng.random((RESAMPLES, len(counts), drawn))
        draws.append((process, (uniform * counts[process]).astype(int)))
    return draws


def table_of(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The arrays, one a row, with zeros behind the shorter ones."""
    table = np.zeros((len(arrays), max(map(len, arrays))))
    for row, array in zip(table, arrays, strict=True):
        row[: len(array)] = array
    return table


def middle(samples: Sequence[float]) -> float:
    """The median of a few samples, as NumPy has it but for NaN: that takes 30 µs for four."""
    ordered, half = sorted(samples), len(samples) // 2
    return ordered[half] if len(samples) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _interval(median: float, drawn: np.ndarray) -> Interval:
    """The interval of what was drawn, around the median."""
    outside = (1 - COVERAGE) / 2
    low, high = np.quantile(drawn, [outside, 1 - outside])
    # The medians of resamples need not surround the median of the samples; an interval must.
    return Interval(median, min(float(low), median), max(float(high), median))


def _too_few(samples: Groups) -> bool:
    """Whether there are too few samples for an interval."""
    return sum(len(group) for group in samples) < FEWEST


def _arrays(samples: Groups) -> list[np.ndarray]:
    """The groups that hold samples, as arrays."""
    arrays = [np.asarray(group, float) for group in samples if len(group)]
    if not arrays:
        raise ValueError("there must be samples; got none")
    return arrays
