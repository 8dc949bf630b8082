"""The rules of measuring, held against the blocks that a run has left: order, warm-up, end, memory, who is timed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks.analysis.statistics import median_interval
from benchmarks.machine import idleness
from benchmarks.machine.idleness import settle
from benchmarks.measure import contest
from benchmarks.measure.contest import BUDGET, FEWEST_CYCLES, LOOKED_BACK, MOST_CYCLES, NARROW_ENOUGH, NO_LONGER_FALLS
from benchmarks.measure.session import Session
from benchmarks.store.records import Block, Row
from benchmarks.store.store import Store
from tests.benchmarks.made_up import a_run
from tests.benchmarks.measure.paced import BACKEND, BULK, OTHER, SECONDS
from tests.benchmarks.measure.test_session import RAGGED, SILENT, register_paced, settings

NOISY = "paced/noisy"
NAMES = ("paced/steady", "paced/warming", NOISY, "paced/bulky", "paced/peeking", "other/steady")
PROCESSES = 1


@dataclass
class Seen:
    """A session's run: its rows, and in their order the blocks and the frameworks whose worker was waited for."""

    rows: dict[str, Row] = field(default_factory=dict)
    events: list[Block | str] = field(default_factory=list)

    @property
    def blocks(self) -> list[Block]:
        return [event for event in self.events if isinstance(event, Block)]

    def cycles(self, process: int) -> dict[int, list[Block]]:
        """The blocks of a process after the warm-up, by cycle, in the order in which they ran."""
        by_cycle: dict[int, list[Block]] = {}
        for block in self.blocks:
            if block.process == process and block.cycle >= 0:
                by_cycle.setdefault(block.cycle, []).append(block)
        return by_cycle


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """One run of all of these, which every test below asks its own question about."""
    course = Seen()

    class Watched(Session):
        def _keep(self, block: Block) -> None:
            course.events.append(block)
            super()._keep(block)

    def watched(pid: int) -> bool:
        line = Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")
        course.events.append(next(backend.name for backend in (BACKEND, OTHER) if backend.load.encode() in line))
        return settle(pid)

    path = tmp_path_factory.mktemp("rules") / "store.duckdb"
    with pytest.MonkeyPatch.context() as patch, Store.open(path, write=True) as store:
        register_paced(patch, BACKEND, OTHER)
        patch.setattr(contest, "settle", watched)
        store.add_run(a_run())
        wishes = settings(NAMES, (RAGGED,), processes=PROCESSES, budget_seconds=600.0)
        Watched(store, store.runs()[0], wishes, SILENT).measure()
        run = store.runs()[0].run
        course.rows = {row.key.implementation: row for row in store.rows(run)}
        for warmup in (False, True):
            assert store.blocks(run, warmup=warmup) == [block for block in course.blocks if block.warmup is warmup]
        yield course


def test_the_order_of_blocks_is_drawn_anew_in_each_cycle(seen: Seen) -> None:
    """Every implementation has one block in each, and its twin another."""
    timed = [name for name in NAMES if name != "paced/peeking"]
    for process in range(PROCESSES):
        orders = [
            [(block.key.implementation, block.twin) for block in blocks] for blocks in seen.cycles(process).values()
        ]
        assert len(orders) >= FEWEST_CYCLES
        assert all(len(order) == len(set(order)) == len(timed) + 1 for order in orders)
        assert {name for name, _ in orders[0]} == set(timed)
        assert len({tuple(order) for order in orders}) > 1


def test_the_warm_up_lasts_until_calls_take_an_even_time_and_does_not_count(seen: Seen) -> None:
    """Some forty calls, of which a block takes fifteen at most."""
    mine = [block for block in seen.blocks if block.key.implementation == "paced/warming" and block.twin == 0]
    for process in range(PROCESSES):
        warmup, timed = (
            [sample for block in mine if (block.process, block.warmup) == (process, kind) for sample in block.samples]
            for kind in (True, False)
        )
        assert max(warmup) > 1.5 * SECONDS
        assert max(timed) < 1.25 * SECONDS
    row = seen.rows["paced/warming"]
    assert row.samples == sum(len(block.samples) for block in mine if not block.warmup)
    assert all(block.warmup is (block.cycle < 0) for block in seen.blocks)


def test_it_ends_when_the_widest_interval_is_narrow_or_no_longer_falls(seen: Seen) -> None:
    """Half widths over medians are made again from the blocks of the one whose interval is always the widest."""
    process = PROCESSES - 1  # whose reason stays in the rows
    cycles = seen.cycles(process)
    samples: list[float] = []
    widths = []
    for cycle in sorted(cycles):
        samples += [each for block in cycles[cycle] if block.key.implementation == NOISY for each in block.samples]
        interval = median_interval([samples])
        widths.append((interval.high - interval.low) / 2 / float(np.median(samples)))
    stops = []
    for done in range(1, len(widths) + 1):
        narrow = done >= FEWEST_CYCLES and widths[done - 1] <= 0.01
        falls = done < FEWEST_CYCLES + LOOKED_BACK or widths[done - 1] <= 0.9 * widths[done - 1 - LOOKED_BACK]
        stops.append(NARROW_ENOUGH if narrow else "" if falls else NO_LONGER_FALLS)
    if len(widths) == MOST_CYCLES:
        stops[-1] = stops[-1] or f"{MOST_CYCLES} cycles"
    assert not any(stops[:-1])
    assert {row.stop for row in seen.rows.values()} == {stops[-1]}
    assert stops[-1] not in ("", BUDGET)
    assert len(widths) > FEWEST_CYCLES, "the noise is meant to need more cycles than the fewest"


def test_before_each_change_of_framework_the_worker_that_ran_comes_to_rest(seen: Seen) -> None:
    """And nothing else happens in between."""
    waited = 0
    for before, event, after in zip(seen.events, seen.events[1:], seen.events[2:], strict=False):
        if isinstance(event, str):
            assert isinstance(before, Block)
            assert isinstance(after, Block)
            assert event == before.key.framework != after.key.framework
            waited += 1
    assert waited > 2
    assert waited == sum(a.key.framework != b.key.framework for a, b in pairwise(seen.blocks))


def test_memory_at_its_peak_is_in_bytes(seen: Seen) -> None:
    peak = seen.rows["paced/bulky"].peak_host_bytes
    if peak is None:
        pytest.skip("this kernel does not let a process start counting its peak anew")
    assert 0.9 * BULK < peak < 1.1 * BULK
    assert seen.rows["paced/steady"].peak_host_bytes is None, "next to nothing is no number, and never 0"


def test_what_the_padding_has_an_influence_on_is_not_timed(seen: Seen) -> None:
    """Though its results agree: they are held against those with other padding before anything is timed."""
    row = seen.rows["paced/peeking"]
    assert (row.status, row.median_seconds) == ("disagrees", None)
    assert row.reason.startswith("output ")
    assert row.error_max is not None
    assert row.error_max < 10
    assert not [block for block in seen.blocks if block.key.implementation == "paced/peeking"]


@pytest.mark.parametrize(("looks", "rests"), [(6, True), (10**9, False)])
def test_a_process_is_waited_for_until_it_takes_no_cpu_time_or_not_for_ever(
    looks: int, rests: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its CPU clock nothing else is looked at; this one runs for some looks and then stands still."""
    asked: list[float] = []

    def spinning(pid: int) -> float:
        asked.append(1e3 * time.perf_counter() if len(asked) < looks else asked[-1])
        return asked[-1]

    monkeypatch.setattr(idleness, "cpu_seconds", spinning)
    monkeypatch.setattr(idleness, "LONGEST_WAIT", 30.0 if rests else 0.05)
    assert settle(1) is rests
    assert len(asked) >= (looks if rests else 2)
