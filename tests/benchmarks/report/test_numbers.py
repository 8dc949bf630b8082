"""From stored blocks to printed numbers: each is computed again here in other code, units and all."""

from __future__ import annotations

import random
import re
import statistics
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from benchmarks.analysis.noise import floors_of
from benchmarks.analysis.summary import new_row, with_times
from benchmarks.cases.case import BenchmarkCase
from benchmarks.cases.files import load_set
from benchmarks.machine.limit import Ceilings, limit
from benchmarks.maintain.publish import table
from benchmarks.report.summary import summary
from benchmarks.report.table import as_markdown, cell_text, grids, in_order, milliseconds, place_of, quantity_grids
from benchmarks.store.records import MEASURED, NEVER_STEADY, TIMED, Block, Key, Row
from benchmarks.store.store import Store
from common.specification import Specification
from tests.benchmarks.made_up import a_block, a_row, put_all
from tests.benchmarks.made_up_run import made_up_content

SPEC = Specification(cell="gru", input_size=3, hidden_size=4, num_layers=2, bias=True, merge="concat")
CASE = BenchmarkCase(name="a-case", spec=SPEC, batch=2, seq_len=7, lengths=(5, 3))
KEY = Key("torch/native", "a-case", "forward", "float32", "cpu", "exact", 2)
CEILINGS = Ceilings(product=1e9, copy=1e9, barrier=1e-5)
PROCESSES, CYCLES, SAMPLES = 3, 4, 6
RESAMPLES = 1000


def some_blocks(slope: Sequence[float] = (0.0,) * PROCESSES, skew: float = 0.5) -> list[Block]:
    """Blocks whose mean is far from their median, with a warm-up ten times as slow and a twin half as slow again;
    within a process all gets slower by its ``slope`` from one cycle to the next.
    """
    rng = np.random.default_rng(1)
    blocks = []
    for process in range(PROCESSES):
        for cycle in range(-1, CYCLES):
            for twin, factor in enumerate((1.0, 1.5)):
                level = 0.002 * factor * (10 if cycle < 0 else 1 + slope[process] * cycle)
                samples = tuple((level * (1 + skew * rng.exponential(size=SAMPLES) ** 2)).tolist())
                kinds = {"process": process, "cycle": cycle, "twin": twin, "warmup": cycle < 0}
                blocks.append(a_block("a run", KEY, samples, **kinds))
    return blocks


def a_summary(blocks: Sequence[Block], unsteady: int = 0) -> Row:
    return with_times(new_row("a run", KEY, CASE, ""), blocks, CASE, CEILINGS, unsteady, PROCESSES)


def interval_again(processes: Sequence[Sequence[float]]) -> tuple[float, float]:
    """The two-level bootstrap's 95 % interval of the median, with Python's own generator and no array."""
    rng = random.Random(1)
    medians = []
    for _ in range(RESAMPLES):
        drawn = rng.choices(processes, k=len(processes))
        medians.append(statistics.median(chain.from_iterable(rng.choices(each, k=len(each)) for each in drawn)))
    medians.sort()
    return medians[round(0.025 * RESAMPLES)], medians[round(0.975 * RESAMPLES) - 1]


def test_a_rows_times_are_those_of_its_blocks_after_the_warm_up_and_without_the_twin() -> None:
    blocks = some_blocks()
    processes = [
        [sample for block in blocks if (block.process, block.twin) == (each, 0) and block.cycle >= 0
         for sample in block.samples]
        for each in range(PROCESSES)
    ]  # fmt: skip
    samples = sorted(chain.from_iterable(processes))
    row = a_summary(blocks)
    assert (row.status, row.samples, row.processes) == (MEASURED, len(samples), PROCESSES)
    assert row.median_seconds == pytest.approx(statistics.median(samples), rel=1e-12)
    assert statistics.mean(samples) > 1.3 * statistics.median(samples), "else a mean would do"
    low, high = interval_again(processes)
    assert row.low_seconds == pytest.approx(low, abs=0.15 * (high - low))
    assert row.high_seconds == pytest.approx(high, abs=0.15 * (high - low))


def test_a_rows_limit_and_time_a_step_are_in_their_units() -> None:
    """A call at the machine's limit has the fraction 1, one that takes four times as long a quarter."""
    row = a_summary(some_blocks())
    assert row.median_seconds is not None
    assert row.microseconds_per_step == pytest.approx(1e6 * row.median_seconds / (5 * 2), rel=1e-9), (
        "5 steps in each of 2 layers"
    )
    least = limit(CASE, "forward", 4, CEILINGS)
    assert (row.limit_seconds, row.binding) == (least.seconds, least.binding)
    for factor in (1, 4):
        even = a_summary([a_block("a run", KEY, (factor * least.seconds,) * 9)])
        assert even.fraction_of_limit == pytest.approx(1 / factor)


@pytest.mark.parametrize(
    ("slope", "unsteady", "status"),
    [
        ((0.0, 0.0, 0.0), 0, MEASURED),
        ((0.2, 0.2, 0.2), 0, NEVER_STEADY),
        ((-0.2, 0.2, -0.2), 0, NEVER_STEADY),
        ((0.2, 0.0, 0.2), 0, MEASURED),
        ((0.0, 0.0, 0.0), 2, MEASURED),
        ((0.0, 0.0, 0.0), 3, NEVER_STEADY),
    ],
)
def test_times_that_go_on_to_drift_after_a_steady_warm_up_are_flagged(
    slope: tuple[float, ...], unsteady: int, status: str
) -> None:
    """In every process; one in which they stay is enough to have a time."""
    row = a_summary(some_blocks(slope, skew=0.001), unsteady)
    assert row.status == status
    assert row.reason == ("" if status == MEASURED else "the calls did not come to take an even time")
    assert row.median_seconds is not None


def test_the_twin_is_held_against_its_like_cycle_by_cycle_and_without_the_warm_up() -> None:
    blocks = [
        replace(block, samples=CYCLES * 2 * tuple((1 + 99 * block.twin) * sample for sample in block.samples))
        if block.warmup
        else block
        for block in some_blocks(skew=0.001)
    ]
    floors = floors_of(blocks)
    assert floors.of_run == floors.of_job[KEY.job]
    assert floors.of_run is not None
    assert (floors.of_run.part, floors.of_run.low, floors.of_run.high) == pytest.approx((0.5, 0.5, 0.5), abs=0.01)


# What is printed.


@pytest.mark.parametrize("seconds", [2.345e-6, 1.234e-5, 0.00012345, 0.0012345, 0.012345, 0.12345, 1.2345, 12.345])
def test_milliseconds_are_a_thousand_times_the_seconds(seconds: float) -> None:
    text = milliseconds(seconds)
    assert "e" not in text
    assert float(text) == pytest.approx(1e3 * seconds, rel=0.005, abs=5e-5)


def test_a_cell_has_half_its_interval_in_percent() -> None:
    row = a_row("a run", median_seconds=0.2, low_seconds=0.18, high_seconds=0.24)
    assert cell_text(row) == "200 ±15.0%"
    assert cell_text(replace(row, bimodal=True)) == "~200 ±15.0%"
    assert cell_text(replace(row, low_seconds=None, high_seconds=None)) == "200 ±?"


def test_every_number_of_a_runs_tables_is_the_stored_one_in_its_unit() -> None:
    content = made_up_content(cases=load_set("laptop").cases[3:5])
    of = {(row.key.case, row.key.implementation, row.key.passed, row.key.lane, row.key.threads): row
          for row in content.rows}  # fmt: skip
    limits = times = 0
    for grid in grids(in_order(content.rows, content.run), content.blocks, floors_of(content.blocks).of_job):
        passed, _, _, lane, rest = grid.heading.split(", ")
        assert rest.endswith(": ms a call")
        for case, cells, limit_text in grid.lines:
            for name, cell in zip(grid.implementations, cells, strict=True):
                row = of[case, name, passed, lane.removesuffix(" lane"), int(rest.split()[0])]
                if row.status not in TIMED:
                    assert cell.text == row.status
                    continue
                median, low, high = row.median_seconds, row.low_seconds, row.high_seconds
                assert median is not None
                match = re.fullmatch(r"~?([\d.]+) ±([\d.]+%|\?)", cell.text)
                assert match is not None, cell.text
                assert float(match[1]) == pytest.approx(1e3 * median, rel=0.005)
                if low is not None and high is not None:
                    assert float(match[2][:-1]) == pytest.approx(100 * (high - low) / 2 / median, abs=0.051)
                if limit_text:
                    assert row.limit_seconds is not None
                    assert float(limit_text) == pytest.approx(1e3 * row.limit_seconds, rel=0.006)
                    limits += 1
                times += 1
        (first, *_), header = grid.lines, as_markdown(grid).splitlines()[0]
        assert header.split(" | ")[1:-1] == grid.implementations
        assert as_markdown(grid).splitlines()[2].endswith(f" | {first[2]} |")
    assert times > 20
    assert limits > 20


def test_every_pass_has_its_columns_in_the_same_order_whatever_was_measured_first() -> None:
    content = made_up_content(cases=load_set("laptop").cases[3:5])
    rows = in_order(content.rows, content.run)
    orders = {tuple(grid.implementations) for grid in grids(rows[::-1], content.blocks, {})}
    assert orders == {tuple(sorted({row.key.implementation for row in rows}, key=place_of))}
    (order,) = orders
    assert order[:3] == ("torch/native", "torch/manual", "jax/native-linen")
    assert order[-1] == "numpy_loop/plain", "what is not known comes last"


def test_the_readme_and_the_page_count_the_same_combinations(tmp_path: Path) -> None:
    """One of them never got steady; it has a time all the same."""
    content = made_up_content(cases=load_set("laptop").cases[3:5])
    assert NEVER_STEADY in {row.status for row in content.rows}
    run = replace(content.run, machine=content.run.machine | {"usable_cores": 2})
    with Store.open(tmp_path / "store.duckdb", write=True) as store, store.transaction():
        store.add_run(run)
        put_all(store, content.rows)
        text = table(store, run)
    counted = f"{sum(row.median_seconds is not None for row in content.rows)} of {len(content.rows)} combinations have"
    assert counted in text
    assert counted in " ".join(summary(content))


def test_tails_and_throughput_are_of_all_calls_and_of_the_real_steps() -> None:
    blocks = [replace(block, warmup=False, twin=0) for block in some_blocks()]
    samples = sorted(chain.from_iterable(block.samples for block in blocks))
    row = with_times(new_row("a run", KEY, CASE, ""), blocks, CASE, CEILINGS, 0, PROCESSES)
    assert len(samples) >= 100
    assert row.median_seconds is not None
    for percent, seconds in ((95, row.p95_seconds), (99, row.p99_seconds)):
        below = sum(sample <= seconds for sample in samples) / len(samples)  # type: ignore[operator]
        assert percent / 100 - 1 / len(samples) <= below <= percent / 100 + 1 / len(samples)
    assert row.rows_per_second == pytest.approx(2 / row.median_seconds)
    assert row.steps_per_second == pytest.approx((5 + 3) / row.median_seconds)
    few = with_times(new_row("a run", KEY, CASE, ""), blocks[:4], CASE, CEILINGS, 0, PROCESSES)
    assert 20 <= few.samples < 100
    assert (few.p95_seconds is None, few.p99_seconds) == (False, None)
    fewer = with_times(new_row("a run", KEY, CASE, ""), blocks[:2], CASE, CEILINGS, 0, PROCESSES)
    assert (fewer.p95_seconds, fewer.p99_seconds) == (None, None)


def test_what_is_asked_for_besides_has_its_own_tables_in_its_unit() -> None:
    rows = [
        a_row("a run", KEY, peak_host_bytes=3 * 2**20, rows_per_second=1234.5, p95_seconds=0.0123),
        a_row("a run", replace(KEY, implementation="jax/tuned")),
    ]
    tables = quantity_grids(rows, ["memory", "throughput", "tails"])
    assert [grid.heading for grid in tables] == [
        f"forward, float32, cpu, exact lane, 2 threads: {unit}"
        for unit in ("MiB of a call at its peak", "rows a second", "ms that 95 of 100 calls stay within")
    ]
    assert [[cell.text for cell in grid.lines[0][1]] for grid in tables] == [["3", ""], ["1,234", ""], ["12.3", ""]]
