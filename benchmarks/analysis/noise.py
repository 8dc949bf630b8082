"""How far one and the same thing comes out from itself: noise floors from A/A pairs, each with an interval.

A floor is a difference as a part, exp(|log ratio|) − 1: with 0.03 the slower half of a pair takes up to 3 % longer. It
is what 95 of 100 resampled ratios of A/A pairs stay within, by the bootstrap on two levels that all ratios here have
(processes, then cycles), and so never smaller than the pairs' own scatter: halves that agree by chance make no floor.
Its interval comes from resampling the resamples (Efron and Tibshirani 1993, chapter 17).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from benchmarks.analysis.statistics import COVERAGE, KEPT, medians, middle, table_of
from benchmarks.analysis.summary import Job, by_place
from benchmarks.store.records import Block, Key

FEWEST_CYCLES = 3
"""A pair that was cut off before it had so many cycles in all says nothing."""
NEAREST = 3
"""So many pairs, those nearest in time per call, stand in for a case that has none of its own."""
OUTER, INNER, DRAWN = 60, 100, 20
"""Resamples of a pair, resamples of each of those, and cycles drawn from a process at most."""
DRAWS = 1000
"""Resamples of a job's processes."""


@dataclass(frozen=True)
class Floor:
    """A noise floor: ``part`` with its 95 % interval from ``low`` to ``high``, and how many ``pairs`` it is from."""

    part: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class Floors:
    """A run's noise floors: ``of_run`` over all of its A/A pairs, ``of_job`` of each job that has one."""

    of_run: Floor | None = None
    of_job: dict[Job, Floor] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """One job's A/A pair: ``draws``, (DRAWS,), and ``again``, (OUTER, INNER), are resampled |log ratios| of it."""

    job: Job
    draws: np.ndarray
    again: np.ndarray


def floors_of(blocks: Iterable[Block]) -> Floors:
    """The floors of a run's blocks.

    A job's is from the pairs of its case under the same setting, whatever the pass; where the case has none, from those
    of the ``NEAREST`` jobs in time per call that have the same dtype, device, lane and threads; else it has none.
    """
    by_key: dict[Key, list[Block]] = defaultdict(list)
    for block in blocks:
        if not block.warmup:
            by_key[block.key].append(block)
    seconds: dict[Job, list[float]] = defaultdict(list)
    pairs: list[Pair] = []
    for key, mine in by_key.items():
        seconds[key.job].append(middle([sample for block in mine for sample in block.samples]))
        if pair := _pair(key.job, mine):
            pairs.append(pair)
    if not pairs:
        return Floors()
    levels = {job: math.log(max(float(np.median(floors)), 1e-12)) for job, floors in seconds.items()}
    floors: dict[tuple[int, ...], Floor] = {}
    of_job = {}
    for job in levels:
        chosen = _like(job, pairs, levels)
        if chosen:
            if chosen not in floors:
                floors[chosen] = _floor([pairs[index] for index in chosen])
            of_job[job] = floors[chosen]
    return Floors(_floor(pairs), of_job)


def _like(job: Job, pairs: Sequence[Pair], levels: dict[Job, float]) -> tuple[int, ...]:
    """Which pairs judge a job."""
    case, _, *setting = job
    same_setting = [index for index, pair in enumerate(pairs) if list(pair.job[2:]) == setting]
    own = [index for index in same_setting if pairs[index].job[0] == case]
    nearest = sorted(same_setting, key=lambda index: abs(levels[pairs[index].job] - levels[job]))[:NEAREST]
    return tuple(own or sorted(nearest))


def _pair(job: Job, blocks: Sequence[Block]) -> Pair | None:
    """The times of the implementation that ran twice; None where one of the two has none."""
    first, second = by_place(blocks), by_place(blocks, twin=1)
    processes: dict[int, list[float]] = defaultdict(list)
    for place in first.keys() & second.keys():
        a, b = middle(first[place]), middle(second[place])
        if a > 0 and b > 0:  # a clock that does not go on says nothing
            processes[place[0]].append(math.log(b / a))
    if sum(map(len, processes.values())) < FEWEST_CYCLES:
        return None
    groups = [np.sort(processes[name]) for name in sorted(processes)]
    table, draws = table_of(groups), _draws(tuple(map(len, groups)))
    once = np.abs(medians(table[draws.process, draws.cycle].reshape(DRAWS, -1)))
    outer = table[draws.outer_process, draws.outer_cycle]
    inner = outer[np.arange(OUTER)[:, None, None, None], draws.inner_process, draws.inner_cycle]
    return Pair(job, once, np.abs(medians(inner.reshape(OUTER, INNER, -1))))


class Draws(NamedTuple):
    """Which processes, with replacement, and which cycles of each the resamples have: DRAWS of them, and INNER of each
    of OUTER.
    """

    process: np.ndarray
    cycle: np.ndarray
    outer_process: np.ndarray
    outer_cycle: np.ndarray
    inner_process: np.ndarray
    inner_cycle: np.ndarray


@lru_cache(KEPT)
def _draws(sizes: tuple[int, ...]) -> Draws:
    """What is drawn of processes with so many cycles each; most pairs of a run have the same."""
    counts = np.array(sizes)
    rng = np.random.default_rng(0)
    number, drawn = len(counts), min(DRAWN, math.ceil(counts.mean()))

    def resampled(resamples: int) -> tuple[np.ndarray, np.ndarray]:
        """Processes (resamples, number, 1) and cycles (resamples, number, drawn)."""
        process = rng.integers(number, size=(resamples, number, 1))
        return process, (rng.random((resamples, number, drawn)) * counts[process]).astype(int)

    return Draws(
        *resampled(DRAWS),
        *resampled(OUTER),
        rng.integers(number, size=(OUTER, INNER, number, 1)),
        rng.integers(drawn, size=(OUTER, INNER, number, drawn)),
    )


def _floor(pairs: Sequence[Pair]) -> Floor:
    """The noise floor of some pairs, with its interval."""
    part = float(np.quantile(np.concatenate([pair.draws for pair in pairs]), COVERAGE))
    again = np.stack([pair.again for pair in pairs])  # (pairs, OUTER, INNER)
    chosen = np.random.default_rng(0).integers(len(pairs), size=(OUTER, len(pairs)))
    drawn = again[chosen, np.arange(OUTER)[:, None]].reshape(OUTER, -1)
    outside = (1 - COVERAGE) / 2
    low, high = np.quantile(np.quantile(drawn, COVERAGE, axis=1), [outside, 1 - outside])
    ends = min(float(low), part), max(float(high), part)
    return Floor(math.expm1(part), math.expm1(ends[0]), math.expm1(ends[1]), len(pairs))


def in_percent(floor: Floor) -> str:
    """``3.1 % (2.2 to 5.0 %)``."""
    return f"{percent(floor.part)} ({100 * floor.low:.1f} to {percent(floor.high)})"


def percent(part: float) -> str:
    """A part as ``3.1 %``, as it stands in every table and sentence."""
    return f"{100 * part:.1f} %"


def noise_sentence(floors: Floors) -> str:
    """What stands below a run's tables."""
    if floors.of_run is None:
        return "No A/A pair was measured, so that nothing is called fastest."
    parts = [floor.part for floor in floors.of_job.values()]
    return (
        f"A/A pairs differ by up to {in_percent(floors.of_run)} over the run, by case {percent(min(parts))} to "
        f"{percent(max(parts))}; bold: fastest by more than its case's pairs differ."
    )
