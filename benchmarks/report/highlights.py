"""What a run found in three sentences: who is fastest how often, how far apart they are, and how near the limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmarks.analysis.noise import floors_of
from benchmarks.analysis.ranking import ALONE, CLEAR, standings
from benchmarks.analysis.summary import rows_by_job
from benchmarks.report.content import Content
from benchmarks.store.records import TIMED, Row


def highlights(content: Content) -> list[str]:
    """At most three sentences; fewer where there is nothing to compare, and none without a time."""
    rows = [row for row in content.rows if row.status in TIMED and row.median_seconds and not row.under_load]
    return [*_winners(content), *_apart(rows), *_nearest(rows)]


def _winners(content: Content) -> list[str]:
    """Who stands out of the noise at how many jobs."""
    judged = standings(content.rows, content.blocks, floors_of(content.blocks).of_job)
    races = [standing for standing in judged if standing.verdict != ALONE]
    if not races:
        return []
    wins = Counter(standing.key.implementation for standing in races if standing.verdict == CLEAR)
    told = [f"{name} at {count}" for name, count in wins.most_common()]
    open_races = len(races) - wins.total()
    if open_races:
        told.append(f"nobody, beyond the noise, at {open_races}")
    return [f"Fastest of {len(races)} jobs: {', '.join(told)}."]


def _apart(rows: Sequence[Row]) -> list[str]:
    """The job with the largest factor between its slowest and its fastest implementation."""
    jobs = [job for job in rows_by_job(rows).values() if len(job) > 1]
    if not jobs:
        return []
    pairs = [(min(job, key=_seconds), max(job, key=_seconds)) for job in jobs]
    fastest, slowest = max(pairs, key=lambda pair: _seconds(pair[1]) / _seconds(pair[0]))
    factor = _seconds(slowest) / _seconds(fastest)
    names = slowest.key.implementation, fastest.key.implementation
    return [f"Farthest apart: {names[0]} takes {factor:.3g} times as long as {names[1]} at {_job(fastest)}."]


def _nearest(rows: Sequence[Row]) -> list[str]:
    """Who comes nearest to the machine's limit."""
    limited = [row for row in rows if row.fraction_of_limit is not None]
    if not limited:
        return []
    best = max(limited, key=lambda row: row.fraction_of_limit or 0.0)
    share = f"{best.fraction_of_limit:.0%}"
    return [f"Nearest to the machine's limit: {best.key.implementation} with {share} of it at {_job(best)}."]


def _seconds(row: Row) -> float:
    """The median of a row that was timed."""
    assert row.median_seconds is not None
    return row.median_seconds


def _job(row: Row) -> str:
    """A job in words: its case, pass and dtype."""
    return f"{row.key.case}, {row.key.passed}, {row.key.dtype}"
