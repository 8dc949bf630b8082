"""A budget: what comes first, where it ends, and what is said of it meanwhile."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.cases.case import BenchmarkCase
from benchmarks.measure import contest
from benchmarks.measure.budget import in_turn, require_room, time_left
from benchmarks.measure.session import Session
from benchmarks.measure.settings import Job
from benchmarks.store.records import Block, Row
from benchmarks.store.store import Store
from birnn.commands.bench_progress import LINE_SECONDS, ProgressBar
from common.errors import InputError
from tests.benchmarks.made_up import a_run
from tests.benchmarks.measure.paced import BACKEND
from tests.benchmarks.measure.test_session import CASE, RAGGED, SILENT, measured, register_paced, settings

PASSES = ("forward", "forward_backward", "train_step")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterable[Store]:
    register_paced(monkeypatch, BACKEND)
    with Store.open(tmp_path / "store.duckdb", write=True) as opened:
        yield opened


def jobs(case: str) -> list[Job]:
    return [Job(named(case), passed, "float32", "cpu", "exact", 1) for passed in PASSES]


def named(case: str) -> BenchmarkCase:
    return CASE.model_copy(update={"name": case})


def names(jobs: Iterable[Job]) -> list[str]:
    return [f"{job.case.name} {PASSES.index(job.passed)}" for job in jobs]


def test_what_has_nothing_yet_comes_first_and_each_case_once_where_time_is_short() -> None:
    a, b = jobs("a"), jobs("b")
    known = [a[0], a[1], b[2]]

    def is_new(job: Job) -> bool:
        return job not in known

    assert names(in_turn([a, b], is_new, True)) == ["a 2", "b 0", "b 1", "a 0", "a 1", "b 2"]
    assert names(in_turn([a, b], lambda _: True, True)) == ["a 0", "a 1", "a 2", "b 0", "b 1", "b 2"]
    assert names(in_turn([a, b], lambda _: True, False)) == ["a 0", "b 0", "a 1", "a 2", "b 1", "b 2"]
    assert names(in_turn([a, b], is_new, False)) == ["a 2", "b 0", "b 1", "a 0", "a 1", "b 2"]


def test_a_session_takes_the_jobs_that_have_nothing_first(store: Store) -> None:
    """One case was measured before, in one process of two; of five it is the last now, though not as drawn."""
    measured(store, settings(["paced/steady"], (CASE,), processes=1))
    told: list[str] = []

    def tell(text: str, done: int, total: int, left: float) -> None:
        told.append(text)
        if len(told) == total:
            raise KeyboardInterrupt

    cases = (CASE, *(named(f"new-{number}") for number in range(4)))
    session = Session(store, store.runs()[0], settings(["paced/steady"], cases), replace(SILENT, job=tell))
    with pytest.raises(KeyboardInterrupt):
        session.measure()
    assert ["small" in text for text in told] == [False, False, False, False, True]


def test_the_end_of_the_budget_ends_a_job_before_it_has_its_cycles(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an end of its own this job would go on for a million cycles."""
    monkeypatch.setattr(contest, "FEWEST_CYCLES", 10**6)
    monkeypatch.setattr(contest, "MOST_CYCLES", 300)
    rows: list[Row] = []

    class Hasty(Session):
        """Whose budget is over after the fifth block that counts."""

        def _keep(self, block: Block) -> None:
            super()._keep(block)
            if len(self._blocks[block.key]) == 5:
                contest_end.append(True)
                self._deadline = 0.0

    contest_end: list[bool] = []
    monkeypatch.setattr(contest.Contest, "_is_over", lambda self: is_over(self, contest_end))
    store.add_run(a_run())
    wishes = settings(["paced/steady"], (CASE, RAGGED), processes=1)
    Hasty(store, store.runs()[0], wishes, replace(SILENT, row=rows.append)).measure()
    assert len(store.blocks(a_run().run)) == 5
    timed = [row for row in store.rows(a_run().run) if row.median_seconds is not None]
    assert [(row.stop, row.processes) for row in timed] == [("budget", 1)]
    # The other case was not even opened, and nothing is said to be known of it.
    (other,) = (row for row in store.rows(a_run().run) if row.median_seconds is None)
    assert (other.status, other.processes, other.error_rms) == ("not reached", 0, None)


def is_over(self: contest.Contest, ended: list[bool]) -> bool:
    self._end = 0.0 if ended else self._end
    return ORIGINAL(self)


ORIGINAL = contest.Contest._is_over


def test_a_budget_that_cannot_hold_a_block_is_refused_at_once() -> None:
    wishes = settings(["paced/steady"])
    require_room(wishes, 5e10)
    with pytest.raises(InputError, match=r"^--budget must hold at least one block, which takes 2\.\d s with the start"):
        require_room(replace(wishes, budget_seconds=1.0), 5e10)
    slow = CASE.model_copy(update={"seq_len": 10**6})
    with pytest.raises(InputError, match=r"^--budget must hold at least one block, which takes \d\d\d\.\d s"):
        require_room(settings(["paced/steady"], (slow,)), 5e10)


def test_the_time_left_counts_down_in_a_line_every_ten_seconds_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("birnn.commands.bench_progress.time.monotonic", lambda: now[0])
    out = io.StringIO()
    with ProgressBar(Console(file=out)) as told:
        told.job("process 1: small forward float32", 2, 7, 95.0)
        for _ in range(25):
            now[0] += 1.0
            told.left(195.0 - now[0])
    lines = out.getvalue().splitlines()
    start = "birnn: process 1: small forward float32, job 3 of 7, "
    assert lines == [f"{start}1.4 min left at most", f"{start}1.2 min left at most"]
    assert LINE_SECONDS == 10
    assert time_left(59.6) == "60 s left at most"
