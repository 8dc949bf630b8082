"""Who else is at work: counted, waited for, stored, said above the tables, and no reason for a win."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks.analysis.comparison import UNDER_LOAD, compare
from benchmarks.analysis.noise import Floor
from benchmarks.analysis.ranking import standings
from benchmarks.machine import company
from benchmarks.machine.company import CROWDED, Watch, unfit, usable_cores, wait_for_rest, with_company
from benchmarks.report.page import render
from benchmarks.report.table import cell_text, grids
from benchmarks.store.records import Key, Look
from benchmarks.store.schema import TABLES
from benchmarks.store.store import Store
from birnn.commands.bench import Wishes, bench
from tests.benchmarks.made_up import (
    JAX,
    LINEN,
    NATIVE,
    NOBODY,
    START,
    TORCH,
    a_block,
    a_process,
    a_row,
    a_run,
    put_all,
    stand_still,
)
from tests.benchmarks.made_up_run import made_up_content
from tests.benchmarks.measure.paced import BACKEND, OTHER
from tests.benchmarks.measure.test_session import CASE, RAGGED, measured, register_paced, settings

RUN = a_run().run
SOMEBODY = replace(NOBODY, others_cpu=2 * CROWDED * usable_cores())
FLOORS = {NATIVE.job: Floor(0.01, 0.005, 0.02, 3)}


@pytest.fixture
def store(tmp_path: Path) -> Iterable[Store]:
    with Store.open(tmp_path / "store.duckdb", write=True) as opened:
        yield opened


def test_others_are_what_the_machine_has_worked_less_what_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's count stands still but for what is added here, and the clock goes on by two seconds."""
    times = iter([100.0, 102.0])
    ticks = iter([(50.0, 1.0), (53.0 + company.SLACK_SECONDS, 1.5)])
    own = iter([5.0, 6.0])
    monkeypatch.setattr("benchmarks.machine.company.time.perf_counter", lambda: next(times))
    monkeypatch.setattr("benchmarks.machine.company.time.process_time", lambda: 0.0)
    monkeypatch.setattr("benchmarks.machine.company.machine_seconds", lambda: next(ticks))
    monkeypatch.setattr("benchmarks.machine.company.total_cpu_seconds", lambda _: next(own))
    seen = Watch(lambda: {"torch": 7}).company()
    assert (seen.seconds, seen.others_cpu, seen.stolen_cpu) == pytest.approx((2.0, 1.0, 0.25))
    assert seen.taken == pytest.approx(1.25)


def test_what_the_kernel_does_not_count_or_a_dead_worker_took_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.machine.company.machine_seconds", lambda: (0.0, 0.0))
    own = iter([0.0, 1.0])
    monkeypatch.setattr("benchmarks.machine.company.time.process_time", lambda: next(own))
    assert Watch(dict).company().taken is None
    pids = [{"torch": os.getpid()}, {"torch": os.getppid()}]
    monkeypatch.undo()
    assert Watch(lambda: pids.pop(0)).company().taken is None


def test_the_kernels_line_is_read_in_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    numbers = [each * ticks for each in (1, 2, 4, 1000, 2000, 8, 16, 32, 500, 600)]
    (tmp_path / "stat").write_text(f"cpu  {' '.join(map(str, numbers))}\ncpu0 1 1 1 1\n")
    monkeypatch.setattr("benchmarks.machine.company.STAT", tmp_path / "stat")
    assert company.machine_seconds() == (31.0, 32.0), "idle and waiting are no work, and guests are counted as users"
    monkeypatch.setattr("benchmarks.machine.company.STAT", tmp_path / "none")
    assert company.machine_seconds() == (0.0, 0.0)


def test_rest_is_waited_for_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    stand_still(monkeypatch, SOMEBODY, SOMEBODY, NOBODY)
    assert wait_for_rest(dict, 60.0, told.append) == NOBODY
    assert len(told) == 1
    assert told[0].startswith("waiting for the machine to come to rest, at most 60 s: other processes take ")
    stand_still(monkeypatch, SOMEBODY)
    monkeypatch.setattr("benchmarks.machine.company.LOOK_SECONDS", 0.01)
    assert wait_for_rest(dict, 0.05, told.append) == SOMEBODY
    assert told[-1].startswith("the machine has not come to rest within 0 s: other processes take ")
    before = list(told)
    assert wait_for_rest(dict, 0.0, told.append) == SOMEBODY
    assert told == before, "who does not want to wait is not told of waiting"


def test_cores_taken_are_the_mean_over_a_rows_processes_and_a_fallen_clock_counts() -> None:
    row = with_company(a_row(RUN, processes=1), SOMEBODY, 0.0)
    assert (row.others_cpu, row.under_load) == (SOMEBODY.others_cpu, True)
    row = with_company(replace(row, processes=2), NOBODY, 0.0)
    row = with_company(replace(row, processes=3), NOBODY, 0.0)
    assert row.others_cpu == pytest.approx(SOMEBODY.others_cpu / 3)  # type: ignore[operator]
    assert row.under_load is False
    slow = replace(NOBODY, clock_mhz=1900.0)
    assert with_company(a_row(RUN), slow, 2000.0).under_load is False
    assert with_company(a_row(RUN), slow, 3000.0).under_load is True
    assert with_company(a_row(RUN), replace(NOBODY, others_cpu=None), 0.0).under_load is None


def test_a_session_looks_at_the_start_and_over_every_job_and_marks_its_rows(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_paced(monkeypatch, BACKEND, OTHER)
    stand_still(monkeypatch, NOBODY, NOBODY, SOMEBODY)
    measured(store, settings(["paced/steady", "paced/slower"], (CASE, RAGGED), processes=1))
    looks = store.looks(RUN)
    assert [look.what == "" for look in looks] == [True, False, False]
    rest, busy = (look.what.partition(",")[0] for look in looks[1:])
    assert {rest, busy} == {"small", "ragged"}
    assert {row.key.case: row.under_load for row in store.rows(RUN)} == {rest: False, busy: True}
    floor = Floor(0.01, 0.0, 0.02, 1)
    floors = {row.key.job: floor for row in store.rows(RUN)}
    by_case = {each.key.case: each.verdict for each in standings(store.rows(RUN), store.blocks(RUN), floors)}
    assert by_case == {rest: "clear", busy: "under load"}


def test_bench_says_that_it_waits_and_what_spoilt_its_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    register_paced(monkeypatch, BACKEND)
    stand_still(monkeypatch, SOMEBODY)
    monkeypatch.setattr("benchmarks.machine.company.LOOK_SECONDS", 0.01)
    file = tmp_path / "mine.toml"
    file.write_text('[[case]]\ncell = "gru"\nseq_len = 3\nbatch = 2\ninput_size = 2\nhidden_size = 2\n')
    wishes = Wishes(
        cases=str(file),
        case_patterns=[],
        patterns=["paced/steady", "paced/slower"],
        passes="forward",
        dtypes=[],
        device="cpu",
        lane="exact",
        threads=[1],
        processes=1,
        budget="1m",
        timeout_seconds=60.0,
        wait_seconds=0.02,
    )
    assert bench(wishes, tmp_path / "r.duckdb", label="", seed=1, again=False, retry_failed=False) == 0
    out, err = capsys.readouterr()
    assert "birnn: waiting for the machine to come to rest, at most 0 s: other processes take " in err
    assert "birnn: the machine has not come to rest within 0 s: other processes take " in err
    assert out.startswith("The machine was not fit to measure on: other processes took up to ")
    assert "All rows were measured under load, are marked ! and win nothing: paced/s" in out
    assert re.search(r"│ !2\.\d+ ±", out) or re.search(r"│ +!2(\.\d+)? ±", out), out


def race(*loaded: Key) -> tuple[list, list]:
    rows, blocks = [], []
    for key, seconds in ((NATIVE, 0.1), (LINEN, 0.2)):
        rows.append(a_row(RUN, key, median_seconds=seconds, under_load=key in loaded))
        blocks += [a_block(RUN, key, (seconds,) * 3, cycle=cycle) for cycle in range(3)]
    return rows, blocks


@pytest.mark.parametrize("loaded", [(NATIVE,), (LINEN,), (NATIVE, LINEN)])
def test_what_was_measured_under_load_wins_nothing(loaded: tuple[Key, ...]) -> None:
    rows, blocks = race()
    assert [each.verdict for each in standings(rows, blocks, FLOORS)] == ["clear"]
    assert any(cell.fastest for grid in grids(rows, blocks, FLOORS) for _, cells, _ in grid.lines for cell in cells)
    rows, blocks = race(*loaded)
    assert [each.verdict for each in standings(rows, blocks, FLOORS)] == ["under load"]
    assert not any(cell.fastest for grid in grids(rows, blocks, FLOORS) for _, cells, _ in grid.lines for cell in cells)
    assert [cell_text(row).startswith("!") for row in rows] == [row.key in loaded for row in rows]
    assert [each.verdict for each in standings(rows[:1], blocks, FLOORS)] == [
        "under load" if NATIVE in loaded else "alone"
    ]


def test_compare_cannot_tell_what_was_measured_under_load(store: Store) -> None:
    rows, blocks = race(LINEN)
    store.add_run(a_run())
    for row in rows:
        store.put_row(row)
    put_all(store, [*blocks, *(replace(each, twin=1) for each in blocks)])
    (each,) = compare(store, "torch/native", "jax/native-linen").compared
    assert (each.verdict, each.slower_by_more_than(0.05)) == (UNDER_LOAD, False)
    store.put_row(replace(rows[1], under_load=False))
    (each,) = compare(store, "torch/native", "jax/native-linen").compared
    assert each.verdict == "slower"


def test_the_reasons_and_the_rows_are_named_and_a_fit_machine_is_not_spoken_of() -> None:
    rows, _ = race(LINEN)
    processes = [a_process(RUN, TORCH), replace(a_process(RUN, JAX), busy_threads=0.8)]
    looks = [Look(RUN, 0, 2, "", START, 1.0, 7.25, 1.75, 0.05, clock) for clock in (3000.0, 2100.0)]
    text = unfit(rows, processes, looks)
    assert text == (
        "The machine was not fit to measure on: other processes took up to 1.8 cores (load up to 7.2); 1 of 2 worker "
        "processes got 40% to 40% of their threads; the clock fell from 3000 to 2100 MHz. 1 of 2 "
        "rows were measured under load, are marked ! and win nothing: jax/native-linen gru-100-64-123-320 "
        "forward_backward."
    )
    rows, _ = race()
    assert unfit(rows, processes[:1], looks) == ""
    assert "1 of 2 worker processes" in unfit(rows, processes, [])


def test_the_page_has_a_banner_when_the_machine_was_not_fit() -> None:
    content = made_up_content()
    assert 'role="alert"' not in render([content])
    loaded = [replace(row, under_load=row.median_seconds is not None) for row in content.rows]
    page = render([replace(content, rows=loaded)])
    assert '<p class="unfit" role="alert">The machine was not fit to measure on: ' in page
    assert "rows were measured under load, are marked ! and win nothing: " in page


def test_version_2_knew_nothing_of_load(tmp_path: Path) -> None:
    path = tmp_path / "results.duckdb"
    with Store.open(path, write=True) as opened:
        opened.add_run(a_run())
        opened.put_row(a_row(RUN, under_load=True))
        opened.execute("DROP TABLE looks")
        for column in ("others_cpu", "under_load"):
            opened.execute(f"ALTER TABLE rows DROP {column}")
        opened.execute("UPDATE store SET schema_version = 2")
    look = Look(RUN, 0, 2, "", START + timedelta(seconds=1), 1.0, 0.5, None, None, 2000.0)
    with Store.open(path, write=True) as opened:
        assert opened.rows(RUN) == [a_row(RUN)]
        opened.add_look(look)
        assert opened.looks(RUN) == [look]
        assert "looks" in TABLES


def test_a_process_that_is_not_ours_is_counted_for_real() -> None:
    watch = Watch(dict)
    burn = "import time\nwhile time.process_time() < 0.4: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    company = watch.company()
    if company.others_cpu is None:
        pytest.skip("this kernel does not count the machine's CPU time")
    assert company.others_cpu * company.seconds > 0.3
