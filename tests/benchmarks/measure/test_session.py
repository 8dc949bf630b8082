"""Measuring implementations whose times and misdeeds are known, in real worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.registry import Backend
from backends.worker.execution import Unsupported
from backends.worker.messages import CanTrainSystem
from backends.worker.opening import require_system
from benchmarks.analysis.statistics import paired_ratio_interval, verdict
from benchmarks.analysis.summary import by_place
from benchmarks.cases.case import PASSES_OF_SYSTEM, BenchmarkCase, CaseSet
from benchmarks.measure.session import Progress, Session
from benchmarks.measure.settings import Settings
from benchmarks.store.records import TIMED, Block, Row
from benchmarks.store.store import Store
from common.models.specification import SequenceModel
from common.specification import Specification
from tests.benchmarks.made_up import a_run, stand_still
from tests.benchmarks.measure.measurable import Neither
from tests.benchmarks.measure.paced import BACKEND, OTHER, SECONDS
from tests.registered import register

SPEC = Specification(cell="gru", input_size=3, hidden_size=4, num_layers=1, bias=True, merge="concat")
CASE = BenchmarkCase(name="small", spec=SPEC, batch=2, seq_len=5)
RAGGED = BenchmarkCase(name="ragged", spec=SPEC, batch=2, seq_len=5, lengths=(5, 2))
SYSTEM = BenchmarkCase(
    name="system",
    spec=SPEC,
    system=SequenceModel(rnn=SPEC, readout="steps", classes=5),
    batch=2,
    seq_len=5,
    lengths=(5, 2),
    passes=PASSES_OF_SYSTEM,
)
SILENT = Progress(job=lambda *_: None, row=lambda _: None, note=lambda _: None)


@pytest.fixture(autouse=True)
def _register(monkeypatch: pytest.MonkeyPatch) -> None:
    register_paced(monkeypatch, BACKEND, OTHER)


def register_paced(monkeypatch: pytest.MonkeyPatch, *others: Backend) -> None:
    """Backends alone, with a machine that stands still and is measured in a moment."""
    register(monkeypatch, *others)
    stand_still(monkeypatch)
    # Ceilings of a made-up framework need not be exact.
    for name, value in {"SECONDS": 0.01, "BUSY_SECONDS": 0.01, "SMALLEST_COPY": 2**20, "CACHES_COPIED": 0}.items():
        monkeypatch.setattr(f"benchmarks.machine.ceilings.{name}", value)


def settings(names: Iterable[str], cases: tuple[BenchmarkCase, ...] = (CASE,), **changes: Any) -> Settings:
    chosen = CaseSet(
        name="made-up",
        description="",
        implementations=("*/*",),
        passes=("forward",),
        dtypes=("float32",),
        cases=cases,
    )
    usual = Settings.of_set(
        chosen,
        (),
        patterns=tuple(names),
        dtypes=("float32",),
        device="cpu",
        lane="exact",
        threads=(1,),
        processes=2,
        budget_seconds=60.0,
        timeout_seconds=20.0,
    )
    return replace(usual, **changes)


def measured(store: Store, wishes: Settings, **options: Any) -> dict[str, Row]:
    """Rows by implementation after a session on the store's only run, which is made where there is none."""
    if not store.runs():
        store.add_run(a_run())
    run = store.runs()[0]
    Session(store, run, wishes, SILENT, **options).measure()
    rows = store.rows(run.run)
    assert all(row.error_rms is not None for row in rows if row.status in TIMED), "what has a time has been judged"
    return {row.key.implementation: row for row in rows}


@pytest.fixture
def store(tmp_path: Path) -> Iterable[Store]:
    with Store.open(tmp_path / "store.duckdb", write=True) as opened:
        yield opened


def test_medians_are_those_that_were_built_in_and_the_slower_one_is_called_slower(store: Store) -> None:
    rows = measured(store, settings(["paced/steady", "paced/slower", "other/steady"]))
    for name, factor in (("paced/steady", 1.0), ("paced/slower", 1.1), ("other/steady", 1.0)):
        row = rows[name]
        assert (row.status, row.processes) == ("measured", 2)
        assert row.median_seconds == pytest.approx(factor * SECONDS, rel=0.01)
        assert row.low_seconds <= row.median_seconds <= row.high_seconds  # type: ignore[operator]
        assert row.fraction_of_limit is not None
        assert row.kernels == ["busy loop for forward"]
    run = store.runs()[0]
    blocks = {row.key.implementation: by_place(store.blocks(run.run, row.key)) for row in rows.values()}
    floor = run.noise_floor
    assert floor is not None
    assert floor < 0.05
    assert verdict(paired_ratio_interval(blocks["paced/steady"], blocks["paced/slower"]), floor) == "slower"
    assert verdict(paired_ratio_interval(blocks["paced/steady"], blocks["other/steady"]), floor) == "same"
    assert run.finished is not None


def test_compilation_stands_in_its_own_column(store: Store) -> None:
    row = measured(store, settings(["paced/compiling"]))["paced/compiling"]
    assert row.first_call_seconds == pytest.approx(0.2, rel=0.05)
    assert row.median_seconds == pytest.approx(SECONDS, rel=0.01)
    assert row.import_seconds is not None
    assert row.build_seconds is not None
    assert row.build_seconds < 0.1
    # The twin is an object of its own: this implementation is slower by a twentieth when it is built a second time.
    assert store.runs()[0].noise_floor == pytest.approx(0.05, rel=0.3)


def test_a_fence_that_is_left_out_is_noticed(store: Store) -> None:
    rows = measured(store, settings(["paced/leaky", "paced/fenced"]))
    assert rows["paced/leaky"].status == "failed"
    assert "synchronise must return when the results are there" in rows["paced/leaky"].reason
    assert rows["paced/leaky"].median_seconds is None
    assert rows["paced/fenced"].median_seconds == pytest.approx(10 * SECONDS, rel=0.01)


def test_two_modes_and_calls_that_get_slower_for_ever_are_flagged(store: Store) -> None:
    rows = measured(store, settings(["paced/steady", "paced/bimodal", "paced/drifting"]))
    assert not rows["paced/steady"].bimodal
    assert rows["paced/bimodal"].bimodal
    assert rows["paced/drifting"].status == "never steady"


def test_failures_are_rows_with_reasons_and_end_nothing(store: Store) -> None:
    names = ["wrong", "crashing", "hanging", "hungry", "incapable", "outpaced", "steady"]
    rows = measured(store, settings([f"paced/{name}" for name in names], timeout_seconds=2.0, processes=1))
    by_name = {name: rows[f"paced/{name}"] for name in names}
    assert {name: row.status for name, row in by_name.items()} == {
        "wrong": "disagrees",
        "crashing": "crashed",
        "hanging": "timed out",
        "hungry": "out of memory",
        "incapable": "unsupported",
        "outpaced": "not offered",
        "steady": "measured",
    }
    assert "times the plain loops' error away" in by_name["wrong"].reason
    assert by_name["wrong"].error_rms is not None
    assert by_name["wrong"].error_rms > 100
    assert "SIGSEGV" in by_name["crashing"].reason
    assert "Segmentation fault" in by_name["crashing"].log
    assert "no answer within 2 s" in by_name["hanging"].reason
    assert [by_name[name].reason for name in ("incapable", "outpaced")] == ["it was made for this", "it was slow"]
    assert all(row.median_seconds is None for name, row in by_name.items() if name != "steady")


def test_what_cannot_be_told_is_not_timed_as_if_it_agreed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is told where every limit would have to lie infinitely far below the answer."""
    monkeypatch.setattr("common.judging.agreement.TELLING", float("inf"))
    row = measured(store, settings(["paced/steady"], processes=1))["paced/steady"]
    assert (row.status, row.median_seconds) == ("not judged", None)
    assert row.reason.startswith("nothing can be told on this case in float32; of output: ")
    assert store.blocks(store.runs()[0].run) == []


def test_only_what_agrees_is_timed_and_unjudged_passes_are_unsupported(store: Store) -> None:
    wishes = settings(["paced/wrong", "paced/backward-less", "paced/steady"])
    both = replace(wishes, passes={CASE.name: ("forward", "forward_backward", "train_step")})
    measured(store, both)
    run = store.runs()[0].run
    rows = {(row.key.implementation.partition("/")[2], row.key.passed): row for row in store.rows(run)}
    assert {passed: rows["backward-less", passed].status for passed in ("forward", "forward_backward")} == {
        "forward": "measured",
        "forward_backward": "unsupported",
    }
    assert rows["steady", "train_step"].reason == "Steady has no train step"
    assert not [block for block in store.blocks(run) if block.key.implementation == "paced/wrong"]


def test_a_systems_train_step_is_judged_and_timed(store: Store) -> None:
    names = ["steady", "wrong", "misled", "diverging", "leaky", "incapable"]
    rows = measured(store, settings([f"paced/{name}" for name in names], (SYSTEM,), processes=1))
    by_name = {name: rows[f"paced/{name}"] for name in names}
    assert {name: row.status for name, row in by_name.items()} == {
        "steady": "measured",
        "wrong": "disagrees",
        "misled": "disagrees",
        "diverging": "failed",
        "leaky": "failed",
        "incapable": "unsupported",
    }
    steady = by_name["steady"]
    assert steady.key.passed == "train_step"
    assert steady.median_seconds == pytest.approx(SECONDS, rel=0.01)
    assert (steady.cell, steady.seq_len, steady.batch, steady.input_size, steady.hidden_size) == ("gru", 5, 2, 3, 4)
    assert steady.path == "NumPy operations in a Python loop over time"
    assert (steady.microseconds_per_step, steady.limit_seconds, steady.fraction_of_limit) == (None, None, None)
    assert by_name["wrong"].reason.startswith("logits is")
    assert by_name["misled"].reason.startswith("loss is")
    assert by_name["diverging"].reason == "FloatingPointError: the loss of every step must be finite; got nan"
    assert "synchronise must return when the results are there" in by_name["leaky"].reason
    assert by_name["incapable"].reason == "it was made for this"


def test_a_framework_without_models_says_so() -> None:
    assert SYSTEM.system is not None
    sizes: dict[str, Any] = {"batch": 2, "seq_len": 5, "lengths": (5, 2)}
    request = CanTrainSystem(implementation="loop", dtype="float32", device="cpu", system=SYSTEM.system, **sizes)
    with pytest.raises(Unsupported, match=r"^neither has no models$"):
        require_system(Neither(), request)


def test_a_thread_that_spins_between_blocks_is_seen(store: Store) -> None:
    measured(store, settings(["paced/spinning", "other/busy"], processes=1))
    run = store.runs()[0].run
    beside = {
        name: max(block.others_cpu for block in store.blocks(run) if block.key.framework == name)
        for name in ("paced", "other")
    }
    # What is timed in the other process had company: a core's where the machine is idle, a part of one where it is not.
    assert beside["other"] > 0.1
    assert beside["other"] > 3 * beside["paced"]


def test_a_run_goes_on_where_it_stopped_and_failures_only_when_asked(store: Store) -> None:
    wishes = settings(["paced/steady", "paced/crashing"], (CASE, RAGGED), timeout_seconds=5.0)
    first = measured(store, replace(wishes, budget_seconds=0.001))
    assert {row.status for row in first.values()} <= {"not reached"}
    assert store.runs()[0].finished is None
    measured(store, wishes)
    run = store.runs()[0].run
    assert {row.key.case for row in store.rows(run) if row.status == "measured"} == {"small", "ragged"}
    count = len(store.blocks(run))
    assert store.runs()[0].finished is not None
    again = measured(store, wishes)
    assert len(store.blocks(run)) == count
    assert again["paced/crashing"].status == "crashed"
    tried: list[Row] = []
    progress = replace(SILENT, row=tried.append)
    Session(store, store.runs()[0], wishes, progress, retry_failed=True).measure()
    assert {row.key.implementation for row in tried} == {"paced/crashing"}
    assert tried[-1].status == "crashed"


KILLED = """
import sys
from pathlib import Path
import pytest
from tests.benchmarks.measure import test_session as here
from benchmarks.store.store import Store

with pytest.MonkeyPatch.context() as patch, Store.open(Path(sys.argv[1]), write=True) as store:
    here.register_paced(patch, here.BACKEND, here.OTHER)
    told = []
    def row(changed):
        told.append(changed)
        if sum(each.median_seconds is not None for each in told) == 1:
            print("one row has times", flush=True)
    store.add_run(here.a_run())
    wishes = here.settings(["paced/steady"], (here.CASE, here.RAGGED))
    session = here.Session(store, store.runs()[0], wishes, here.SILENT)
    session.progress = here.replace(here.SILENT, row=row)
    session.measure()
"""


def test_a_killed_run_keeps_all_but_the_block_in_flight(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "one row has times\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    with Store.open(path, write=True) as store:
        run = store.runs()[0].run
        before = store.blocks(run)
        assert before
        assert sum(row.median_seconds is not None for row in store.rows(run)) >= 1
        measured(store, settings(["paced/steady"], (CASE, RAGGED)))
        after = store.blocks(run)
        assert after[: len(before)] == before
        assert all(row.processes == 2 for row in store.rows(run))


class Interrupted(Session):
    """Stopped right after the first timed block of this process."""

    process = 0

    def _keep(self, block: Block) -> None:
        super()._keep(block)
        if not block.warmup and block.process == self.process:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("processes", "process"), [(1, 0), (2, 1)])
def test_a_process_that_was_cut_off_is_measured_again(store: Store, processes: int, process: int) -> None:
    wishes = settings(["paced/steady"], processes=processes)
    store.add_run(a_run())
    session = Interrupted(store, store.runs()[0], wishes, SILENT)
    session.process = process
    with pytest.raises(KeyboardInterrupt):
        session.measure()
    run = store.runs()[0]
    assert run.finished is None
    assert [row.processes for row in store.rows(run.run)] == [process]
    half = store.blocks(run.run)
    row = measured(store, wishes)["paced/steady"]
    assert (row.status, row.processes, row.reason) == ("measured", processes, "")
    blocks = store.blocks(run.run)
    assert all(block in blocks for block in half), "what was there is kept"
    whole = [each for each in {block.process for block in blocks} if each != process]
    assert all(len({block.cycle for block in blocks if block.process == each}) >= 3 for each in whole)
    assert len(whole) == processes
    assert store.runs()[0].finished is not None


def test_a_broken_environment_is_noted_and_the_rest_is_measured(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    register_paced(monkeypatch, BACKEND, Backend(name="broken", load="tests.workers.misbehaving:fail_to_load"))
    notes: list[str] = []
    store.add_run(a_run())
    progress = replace(SILENT, note=notes.append)
    Session(store, store.runs()[0], settings(["paced/steady", "broken"], processes=1), progress).measure()
    assert "libfoo.so.3" in notes[0]
    assert [row.status for row in store.rows(store.runs()[0].run)] == ["measured"]
