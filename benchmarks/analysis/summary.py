"""From blocks of samples to the numbers of a row."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.analysis.statistics import is_bimodal, is_drifting, median_interval
from benchmarks.cases.case import BenchmarkCase
from benchmarks.machine.ceilings import BARRIER, COPY, ON_CHIP, PRODUCT
from benchmarks.machine.limit import Ceilings, limit
from benchmarks.store.records import MEASURED, NEVER_STEADY, NOT_REACHED, Block, Ceiling, Key, Row
from common.judging.precision import numpy_dtype

TAILS = {95: "p95_seconds", 99: "p99_seconds"}
"""The column of each percentile."""
Job = tuple[str, str, str, str, str, int]
"""What implementations compete in: case, pass, dtype, device, lane and threads."""


def new_row(run: str, key: Key, case: BenchmarkCase, command: str) -> Row:
    """A row of which nothing has been measured."""
    return Row(
        run=run,
        key=key,
        cell=case.spec.cell,
        seq_len=case.seq_len,
        batch=case.batch,
        input_size=case.spec.input_size,
        hidden_size=case.spec.hidden_size,
        num_layers=case.spec.num_layers,
        ragged=case.ragged,
        status=NOT_REACHED,
        reason="the budget ended first",
        command=command,
    )


def by_process(blocks: Iterable[Block], twin: int = 0) -> list[list[float]]:
    """The samples of the steady state, one list a process."""
    samples_by_process: dict[int, list[float]] = defaultdict(list)
    for block in blocks:
        if not block.warmup and block.twin == twin:
            samples_by_process[block.process] += block.samples
    return list(samples_by_process.values())


def by_place(blocks: Iterable[Block], twin: int = 0) -> dict[tuple[int, int], list[float]]:
    """The samples of the steady state by process and cycle, for paired ratios."""
    samples_by_place: dict[tuple[int, int], list[float]] = defaultdict(list)
    for block in blocks:
        if not block.warmup and block.twin == twin:
            samples_by_place[block.process, block.cycle] += block.samples
    return dict(samples_by_place)


def with_times(
    row: Row, blocks: Sequence[Block], case: BenchmarkCase, ceilings: Ceilings | None, unsteady: int, rounds: int
) -> Row:
    """The row with what its blocks say; ``unsteady`` is in how many processes the warm-up never got steady.

    It is ``never steady`` when that is all of them, or when the samples after the warm-up still go one way in each.
    ``rounds`` is how many processes went to the end; blocks of one that was killed count as samples, not as a process.
    """
    groups = by_process(blocks)
    if not groups:
        return row
    interval = median_interval(groups)
    drifting = unsteady >= rounds or all(is_drifting(group) for group in groups)
    times: dict[str, Any] = {
        "status": NEVER_STEADY if drifting else MEASURED,
        "reason": "the calls did not come to take an even time" if drifting else "",
        "bimodal": any(is_bimodal(group) for group in groups),
        "median_seconds": interval.median,
        "low_seconds": interval.low if np.isfinite(interval.high) else None,
        "high_seconds": interval.high if np.isfinite(interval.high) else None,
        "samples": sum(len(group) for group in groups),
        "processes": rounds,
    }
    samples = np.concatenate([np.asarray(group) for group in groups])
    for percent, name in TAILS.items():
        # With fewer calls it would be the slowest call, whatever that was.
        known = len(samples) * (100 - percent) >= 100
        times[name] = float(np.percentile(samples, percent)) if known else None
    if interval.median > 0:
        times["rows_per_second"] = case.batch / interval.median
    if case.system is not None:
        return replace(row, **times)  # a time per step and a limit are defined for the layer alone
    if interval.median > 0:
        times["steps_per_second"] = case.real_steps() / interval.median
    times["microseconds_per_step"] = interval.median * 1e6 / (case.longest() * case.spec.num_layers)
    if ceilings is not None:
        bound = limit(case, row.key.passed, numpy_dtype(row.key.dtype).itemsize, ceilings)
        times |= {
            "limit_seconds": bound.seconds,
            "fraction_of_limit": bound.seconds / interval.median,
            "binding": bound.binding,
        }
    return replace(row, **times)


def ceilings_of(ceilings: Iterable[Ceiling], key: Key) -> Ceilings | None:
    """The ceilings that hold for a row: those of its device, dtype and threads; None when some were not measured."""
    values = {
        each.name: each.value
        for each in ceilings
        if (each.device, each.dtype, each.threads) == (key.device, key.dtype, key.threads)
    }
    if not values.keys() >= {PRODUCT, COPY}:
        return None
    # A CPU without a measured barrier gets none, which only makes the limit lower; a GPU has published ones.
    barrier = None if key.device == "gpu" else values.get(BARRIER, 0.0)
    return Ceilings(values[PRODUCT], values[COPY], barrier, values.get(ON_CHIP, math.inf))


def rows_by_job(rows: Iterable[Row]) -> dict[Job, list[Row]]:
    """Rows of the same job, which compete, together; in their order."""
    by_job: dict[Job, list[Row]] = defaultdict(list)
    for row in rows:
        by_job[row.key.job].append(row)
    return by_job
