"""Workers that are killed again and again, are stopped, hold the interpreter's lock, or answer for another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.pool import waiting
from backends.pool.environments import worker_environment
from backends.pool.pool import Pool
from backends.pool.selection import select
from backends.studies.cases import CaseStudy, Plan
from backends.studies.probes import run_probes
from backends.studies.study import Outcome
from backends.studies.training import Course, Learner
from backends.worker.messages import Done, NotDone, OtherResults, Ping
from benchmarks.machine.ceilings import busy_threads
from benchmarks.measure.session import environments_of
from benchmarks.store.store import Store
from common.judging.exact import differing
from common.models.optimizers import OptimizerSettings
from common.tasks.building import build_task
from common.tasks.task import Options
from tests.benchmarks.measure import test_session as measuring
from tests.benchmarks.measure.paced import BACKEND as PACED
from tests.benchmarks.measure.paced import STOPPING
from tests.cases import a_case
from tests.numpy_loop.birnn_numpy_loop import BACKEND as NUMPY
from tests.registered import register as register_backends
from tests.workers.misbehaving import BACKEND
from tests.workers.test_pool import is_alive, request
from tests.workers.test_study import outcomes

SHIPPED = ("TORCH", "JAX", "TENSORFLOW", "MXNET", "ONNXRUNTIME")
ROWS = replace(a_case("gru"), name="rows")


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    return partial(register_backends, monkeypatch)


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, int], None]:
    """Make a backend's interpreter one that starts so many times, and no more."""

    def limit(name: str, most: int) -> None:
        program, count = tmp_path / "python", tmp_path / "starts"
        lines = ["#!/bin/sh", f"echo >> {count}", f"[ $(wc -l < {count}) -gt {most} ] && exit 9"]
        program.write_text("\n".join([*lines, f'exec {sys.executable} "$@"', ""]))
        program.chmod(0o755)
        monkeypatch.setenv(f"BIRNN_PYTHON_{name.upper()}", str(program))

    return limit


def test_probes_end_when_no_worker_starts_any_more(
    register: Callable[..., None], starts: Callable[[str, int], None]
) -> None:
    register(BACKEND)
    starts("misbehaving", 1)
    with Pool.open() as pool:
        findings = run_probes(pool, select(pool, []), 20, lambda finding: None)
    statuses = {finding.name: finding.status for finding in findings}
    assert statuses["halves-are-swapped"] == "present"
    assert statuses["measuring-kills"] == statuses["needs-a-gpu"] == "failed"
    assert "exited with code 9" in findings[-1].evidence


def test_probes_that_cannot_be_listed_are_a_finding(register: Callable[..., None]) -> None:
    register(BACKEND)
    with Pool.open() as pool:
        selection = select(pool, [])
        pool.worker(BACKEND).kill()
        (findings,) = run_probes(pool, selection, 20, lambda finding: None)
    assert (findings.key, findings.status) == ("misbehaving/probes", "failed")
    assert "SIGKILL" in findings.evidence


def test_training_ends_when_no_worker_starts_any_more(
    register: Callable[..., None], starts: Callable[[str, int], None]
) -> None:
    register(NUMPY)
    starts("numpy", 1)
    task = build_task("pipeline", Options(cell="rnn_tanh", hidden_size=2))
    adam = OptimizerSettings(name="adam", learning_rate=0.01)
    course = Course(task, adam, 1, "float64", "cpu", 20, twin="numpy/loop")
    with Pool.open() as pool:
        selection = select(pool, [])
        first = pool.worker(NUMPY)
        trainings = Learner(pool, selection, course, lambda trained: first.kill()).run()
    assert [trained.status for trained in trainings] == ["crashed", "crashed"]
    assert "exited with code 9" in trainings[1].reason


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    measuring.register_paced(monkeypatch, PACED, measuring.OTHER)
    return Store.open(tmp_path / "store.duckdb", write=True)


def test_a_bench_ends_when_no_worker_starts_any_more(store: Store, starts: Callable[[str, int], None]) -> None:
    """And what was measured beside it is there."""
    starts("paced", 1)
    with store:
        rows = measuring.measured(store, measuring.settings(["paced/crashing", "paced/slower", "other/steady"]))
    assert {name: row.status for name, row in rows.items()} == {
        "paced/crashing": "crashed",
        "paced/slower": "crashed",
        "other/steady": "measured",
    }


def test_a_worker_that_is_stopped_holds_a_bench_no_longer_than_its_timeout(store: Store) -> None:
    """Packages, threads and ceilings had 60 s each, whatever --timeout said."""
    wishes = measuring.settings(["paced/steady", "other/steady"])
    with store, Pool.open() as pool:
        selection = select(pool, wishes.patterns)
        os.kill(pool.worker(PACED).pid, signal.SIGSTOP)
        assert list(environments_of(pool, selection, timeout_seconds=1)) == ["other"]
        assert "no answer within 1 s" in selection.broken["paced"]
        assert list(selection.implementations) == ["other"]
        os.kill(pool.worker(PACED).pid, signal.SIGSTOP)
        assert busy_threads(pool, PACED, 1, timeout_seconds=1) == 0.0


def test_a_bench_goes_on_beside_a_worker_that_stops_when_the_machine_is_measured(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring.register_paced(monkeypatch, PACED, STOPPING)
    started = time.monotonic()
    with store:
        wishes = measuring.settings(["stopping/steady", "paced/steady"], processes=1, timeout_seconds=4)
        rows = measuring.measured(store, wishes)
        busy = {each.framework: each.busy_threads for each in store.processes(store.runs()[0].run)}
    assert {row.status for row in rows.values()} == {"measured"}
    assert busy["stopping"] == 0.0
    assert busy["paced"] > 0.0
    assert time.monotonic() - started < 60  # that it once took for each of three questions


def test_a_worker_that_holds_the_interpreters_lock_dies_with_its_controller() -> None:
    script = (
        "from tests.workers.test_pool import *\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with Pool.open() as pool:\n"
        "    with ThreadPoolExecutor() as threads: worker = threads.submit(pool.worker, BACKEND).result()\n"
        "    print(worker.pid, flush=True)\n"
        "    pool.ask(BACKEND, request(pool, ROWS, 'holds-the-lock'), 600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env=worker_environment(1)
    ) as controller:
        assert controller.stdout is not None
        worker = int(controller.stdout.readline())
        time.sleep(1)  # until it holds the lock
        assert is_alive(worker)
        controller.kill()
    deadline = time.monotonic() + 10
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(worker)


def test_a_worker_outlives_the_thread_that_asked_for_it(register: Callable[..., None]) -> None:
    """The kernel tells a process that its parent *thread* has ended."""
    register(BACKEND)
    with Pool.open() as pool:
        select(pool, [])  # each backend in a thread of its own, which ends
        pid = pool.worker(BACKEND).pid
        assert pool.ask(BACKEND, Ping(), 20) == Done()
        assert pool.worker(BACKEND).pid == pid


def test_what_a_fork_answers_is_not_taken_for_the_next_answer(register: Callable[..., None]) -> None:
    with Pool.open() as pool:
        assert pool.ask(BACKEND, request(pool, ROWS, "forks"), 20) == OtherResults()
        time.sleep(0.6)  # the copy answers
        reply = pool.ask(BACKEND, Ping(), 20)
        assert isinstance(reply, NotDone)
        assert reply.status == "crashed"
        assert "its answer must be to request 2; got" in reply.reason
        assert pool.ask(BACKEND, Ping(), 20) == Done()


def test_a_result_of_another_is_not_judged_as_what_was_asked_for(register: Callable[..., None]) -> None:
    """Of another case, hash of the case, implementation, dtype and device."""
    register(BACKEND)
    by_case = outcomes(["misbehaving/of-another-*"], [ROWS])
    assert len(by_case) == 5
    for outcome in by_case.values():
        assert outcome.status == "crashed"
        assert "the worker broke the protocol: its result must be of" in outcome.reason


def test_a_result_that_is_not_there_is_the_workers_fault(register: Callable[..., None]) -> None:
    register(BACKEND)
    (outcome,) = outcomes(["misbehaving/without-a-file"], [ROWS]).values()
    assert outcome.status == "crashed"
    assert "there is no such file" in outcome.reason


def test_a_second_result_that_lacks_a_tensor_disagrees(register: Callable[..., None]) -> None:
    register(BACKEND)
    (outcome,) = outcomes(["misbehaving/loses-a-tensor"], [ROWS]).values()
    assert outcome.status == "disagrees"
    assert "then no such tensor" in outcome.reason


def test_results_of_other_shapes_differ() -> None:
    first, second = {"output": np.ones((2, 3))}, {"output": np.ones((3, 2)), "h_n": np.ones(1)}
    assert differing(first, first) == []
    assert len(differing(first, second)) == 2


def test_the_reference_is_bounded_by_the_timeout(register: Callable[..., None]) -> None:
    """In longdouble, which no library speeds up, it takes minutes where implementations take a second."""
    register(BACKEND)
    case = replace(a_case("lstm", 32, 100, None, with_cotangents=False, hidden_size=256), name="large")
    told: list[Outcome] = []
    with Pool.open() as pool:
        selection = select(pool, ["misbehaving/zeros"])
        plan = Plan([case], ["float64"], "cpu", timeout_seconds=3)
        CaseStudy(pool, selection, plan, told.append).run()
    assert [outcome.status for outcome in told] == ["not judged"]
    assert told[0].reason == "the reference, which --timeout bounds too, did not come to its end within 3 s"


def test_ctrl_c_ends_a_start(tmp_path: Path) -> None:
    """It waited for as long as a start may take, 180 s."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started; exec sleep 100\n")
    program.chmod(0o755)
    environment = {**worker_environment(1), **{f"BIRNN_PYTHON_{name}": str(program) for name in SHIPPED}}
    with subprocess.Popen([sys.executable, "-m", "birnn", "backends"], env=environment) as process:
        try:
            while not (tmp_path / "started").exists():
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 130
        finally:
            process.kill()


def test_nothing_waits_longer_at_once_than_ctrl_c_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that arrives just before a lock or poll(2) blocks is heard when that returns."""
    waited: list[float | None] = []

    def recorded(futures: Any, timeout: float | None = None) -> Any:
        waited.append(timeout)
        return wait(futures, timeout=timeout)

    monkeypatch.setattr(waiting, "wait", recorded)
    monkeypatch.setattr(waiting, "HEARD_SECONDS", 0.05)
    with ThreadPoolExecutor() as threads:
        assert waiting.result_of(threads.submit(time.sleep, 0.2)) is None
        with pytest.raises(ZeroDivisionError):
            waiting.result_of(threads.submit(lambda: 1 / 0))
    assert len(waited) > 3
    assert set(waited) == {0.05}


def test_ctrl_c_ends_the_reference() -> None:
    script = """
import threading, time
from dataclasses import replace
from backends.pool.pool import Pool
from backends.pool.selection import select
from backends.registry import add
from backends.studies.cases import CaseStudy, Plan
from tests.cases import a_case
from tests.workers.misbehaving import BACKEND
add(BACKEND)

case = replace(a_case("lstm", 32, 400, None, with_cotangents=False, hidden_size=256), name="large")
with Pool.open() as pool:
    def watch():
        while not pool._calculators: time.sleep(0.01)
        time.sleep(1)
        print("judging", flush=True)
    selection = select(pool, ["misbehaving/zeros"])
    threading.Thread(target=watch, daemon=True).start()
    CaseStudy(pool, selection, Plan([case], ["float64"], "cpu", timeout_seconds=600), print).run()
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=worker_environment(1)
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"judging\n"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=10)  # alone it takes some minutes
        finally:
            process.kill()
    assert errors.strip().endswith(b"KeyboardInterrupt")
