"""Who is fastest at each job, and whether that stands out of the noise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.analysis.noise import Floor
from benchmarks.analysis.statistics import SAME_SPEED, SLOWER, Interval, paired_ratio_interval, ratio_interval, verdict
from benchmarks.analysis.summary import Job, by_place, by_process, rows_by_job
from benchmarks.store.records import TIMED, Block, Key, Row

ALONE, TIE, AMBIGUOUS, CLEAR, NO_FLOOR = "alone", "tie", "ambiguous", "clear", "no noise floor"
"""How the fastest stands to the others."""
UNDER_LOAD = "under load"
"""How it stands where others were at work while it was measured."""


@dataclass(frozen=True)
class Standing:
    """The fastest implementation of one job, and how sure that is.

    ``ratio`` is the runner-up's time over the fastest's, from blocks of the same cycles (``paired``), None without a
    runner-up or with too few calls. ``verdict``: clear, when the runner-up is slower beyond the noise floor; tie, when
    the two are the same for practical purposes; ambiguous; alone, without a runner-up; no noise floor, when no A/A
    pair was measured; or under load, when either was measured while others took the machine.
    ``level`` are all that could not be told from the fastest, in order of their medians; ``floor`` is the job's.
    """

    key: Key
    runner_up: str = ""
    ratio: Interval | None = None
    paired: bool = True
    verdict: str = ALONE
    level: list[str] = field(default_factory=list)
    floor: Floor | None = None


def standings(rows: Sequence[Row], blocks: Iterable[Block], floors: Mapping[Job, Floor]) -> list[Standing]:
    """One standing for each job with at least one time, in the order of ``rows``.

    ``floors`` are the jobs' noise floors; a job without one is not judged.
    """
    of: dict[Key, list[Block]] = defaultdict(list)
    for block in blocks:
        of[block.key].append(block)
    timed = [row for row in rows if row.status in TIMED and row.median_seconds is not None and by_process(of[row.key])]
    return [
        _standing(sorted(job, key=lambda row: row.median_seconds or 0), of, floors)
        for job in rows_by_job(timed).values()
    ]


def _standing(ordered: Sequence[Row], of: Mapping[Key, Sequence[Block]], floors: Mapping[Job, Floor]) -> Standing:
    """``ordered`` by median, the fastest first; ``of`` has each one's blocks."""
    first, *others = [row.key for row in ordered]
    loaded = {row.key for row in ordered if row.under_load}
    floor = floors.get(first.job)
    nearest = None
    level: list[str] = []
    for other in others:
        ratio, paired = _ratio(of[first], of[other])
        judged = NO_FLOOR if floor is None else verdict(ratio, floor.part)
        if loaded & {first, other}:
            judged = UNDER_LOAD
        if nearest is None:
            # Called faster, a runner-up's pooled median and the comparison cycle by cycle contradict each other.
            words = {SLOWER: CLEAR, SAME_SPEED: TIE, NO_FLOOR: NO_FLOOR, UNDER_LOAD: UNDER_LOAD}
            known = ratio if np.isfinite(ratio.high) else None  # of too few calls there is no interval
            nearest = Standing(first, other.implementation, known, paired, words.get(judged, AMBIGUOUS), level, floor)
        if judged in (SLOWER, NO_FLOOR):
            break
        level.append(other.implementation)
    return nearest or Standing(first, verdict=UNDER_LOAD if loaded else ALONE, floor=floor)


def _ratio(a: Sequence[Block], b: Sequence[Block]) -> tuple[Interval, bool]:
    """B over a, and whether from pairs: two that never ran in the same cycle have none."""
    places = by_place(a), by_place(b)
    if places[0].keys() & places[1].keys():
        return paired_ratio_interval(*places), True
    return ratio_interval(by_process(a), by_process(b)), False
