"""The three sentences follow from the run's rows and blocks."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from backends.interface.gaps import UNSUPPORTED
from benchmarks.analysis.summary import rows_by_job
from benchmarks.report.content import Content
from benchmarks.report.highlights import highlights
from tests.benchmarks.made_up_run import made_up_content


@pytest.fixture(scope="module")
def content() -> Content:
    return made_up_content()


def test_every_job_has_a_winner_or_nobody(content: Content) -> None:
    jobs = [job for job in rows_by_job(content.rows).values() if sum(row.median_seconds is not None for row in job) > 1]
    counts = [int(count) for count in re.findall(r" at (\d+)", highlights(content)[0])]
    assert sum(counts) == len(jobs)
    assert f"of {len(jobs)} jobs" in highlights(content)[0]


def test_the_farthest_and_the_nearest_are_the_rows_own(content: Content) -> None:
    rows = [row for row in content.rows if row.median_seconds is not None]
    slow = max(rows, key=lambda row: row.median_seconds or 0)
    slowest = replace(slow, median_seconds=1000 * (slow.median_seconds or 0), fraction_of_limit=9.87)
    changed = replace(content, rows=[slowest if row is slow else row for row in content.rows])
    rivals = [row.median_seconds for row in rows if row.key.job == slow.key.job and row is not slow]
    factor = (slowest.median_seconds or 0) / min(seconds for seconds in rivals if seconds is not None)
    apart, nearest = highlights(changed)[1:]
    assert apart.startswith(f"Farthest apart: {slow.key.implementation} takes {factor:.3g} times as long as ")
    assert slow.key.case in apart
    assert f"{slow.key.implementation} with 987% of it at {slow.key.case}" in nearest
    loaded = replace(content, rows=[replace(slowest, under_load=True) if row is slow else row for row in content.rows])
    assert highlights(loaded)[1:] != [apart, nearest], "what was measured under load tells nothing"


def test_without_a_time_there_is_nothing_to_say(content: Content) -> None:
    rows = [replace(row, status=UNSUPPORTED, median_seconds=None) for row in content.rows]
    assert highlights(replace(content, rows=rows, blocks=[])) == []
