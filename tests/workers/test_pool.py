"""Workers: quick when warm, and crashes, hangs and noise end as answers."""

from __future__ import annotations

import configparser
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backends.pool.environments import ROOT, THREAD_VARIABLES, interpreter, worker_environment
from backends.pool.pool import EnvironmentBroken, EnvironmentMissing, Pool, Worker, WorkerDied
from backends.pool.shared_folder import exchange_folder
from backends.registry import Backend
from backends.worker.messages import Done, NotDone, OtherResults, Ping, RunCase
from common.case import Case, write_case
from common.result import read_result
from tests.cases import a_case
from tests.workers.misbehaving import BACKEND, DIES_AT_START, NOT_IMPORTABLE


def request(pool: Pool, case: Case, implementation: str) -> RunCase:
    path = pool.folder / f"{case.batch}.safetensors"
    write_case(case, path)
    return RunCase(
        case=path,
        implementation=implementation,
        dtype="float64",
        device="cpu",
        result=pool.folder / "result.safetensors",
    )


ONE_ROW = a_case("gru", batch=1, lengths=(5,))
ROWS = a_case("gru")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead but not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_result_comes_back_through_shared_memory() -> None:
    with Pool.open() as pool:
        assert pool.ask(BACKEND, request(pool, ROWS, "well"), 30) == OtherResults()
        result = read_result(pool.folder / "result.safetensors")
        assert result.header.implementation == "misbehaving/well"
        assert result.header.case_sha256 == ROWS.sha256()
        assert result.tensors["output"].shape == (3, 5, 12)
        folder = pool.folder
    assert not folder.exists()


def test_an_empty_call_keeps_the_worker_warm() -> None:
    """The README's table has the measured time; here only that one process answers them all, in order."""
    with Pool.open() as pool:
        pid = pool.worker(BACKEND).pid
        replies = [pool.ask(BACKEND, Ping(), 10) for _ in range(50)]
        assert replies == [Done()] * 50
        assert pool.worker(BACKEND).pid == pid


def test_a_crash_is_an_answer_with_the_end_of_the_log_and_the_rest_runs_on() -> None:
    with Pool.open() as pool:
        first = pool.worker(BACKEND).pid
        reply = pool.ask(BACKEND, request(pool, ONE_ROW, "segfaults"), 30)
        assert isinstance(reply, NotDone)
        assert reply.status == "crashed"
        assert "SIGSEGV" in reply.reason
        assert "about to touch memory that is not ours" in reply.log
        assert "Segmentation fault" in reply.log
        assert pool.ask(BACKEND, request(pool, ROWS, "segfaults"), 30) == OtherResults()
        assert pool.worker(BACKEND).pid != first


def test_a_killed_worker_is_an_answer() -> None:
    with Pool.open() as pool:
        os.kill(pool.worker(BACKEND).pid, signal.SIGKILL)
        reply = pool.ask(BACKEND, Ping(), 10)
        assert isinstance(reply, NotDone)
        assert (reply.status, "SIGKILL" in reply.reason) == ("crashed", True)
        assert pool.ask(BACKEND, Ping(), 10) == Done()


def test_a_hang_is_killed_in_time_with_its_children() -> None:
    with Pool.open() as pool:
        pid = pool.worker(BACKEND).pid
        started = time.monotonic()
        reply = pool.ask(BACKEND, request(pool, ONE_ROW, "hangs"), 1.5)
        assert isinstance(reply, NotDone)
        assert time.monotonic() - started < 10
        assert reply.status == "timed out"
        child = int(reply.log.split("child ")[1].split()[0])
        deadline = time.monotonic() + 5
        while is_alive(child) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not is_alive(child)
        assert not is_alive(pid)
        assert pool.ask(BACKEND, request(pool, ROWS, "hangs"), 30) == OtherResults()


def test_noise_on_stdout_does_not_reach_the_answers() -> None:
    with Pool.open() as pool:
        for _ in range(3):
            reply = pool.ask(BACKEND, request(pool, ROWS, "noisy"), 30)
            assert reply == OtherResults()


def test_what_a_framework_leaves_behind_goes_with_its_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    with Pool.open() as pool:
        assert pool.ask(BACKEND, request(pool, ROWS, "untidy"), 30) == OtherResults()
        assert sorted(file.name for file in pool.folder.rglob("*.json")) == ["keras.json", "profile.json"]
    assert list(tmp_path.iterdir()) == []


def test_an_exception_is_an_answer_in_one_line_and_the_worker_lives() -> None:
    with Pool.open() as pool:
        pid = pool.worker(BACKEND).pid
        reply = pool.ask(BACKEND, request(pool, ROWS, "raises"), 30)
        assert isinstance(reply, NotDone)
        assert (reply.status, reply.reason) == ("failed", "RuntimeError: the kernel does not like this")
        assert pool.worker(BACKEND).pid == pid


def test_a_worker_dies_with_its_controller() -> None:
    """The controller is killed outright, in the middle of a run; the worker notices that its stdin ended."""
    script = (
        "from tests.workers.test_pool import *\n"
        "with Pool.open() as pool:\n"
        "    print(pool.worker(BACKEND).pid, flush=True)\n"
        "    pool.ask(BACKEND, request(pool, ONE_ROW, 'hangs'), 600)\n"
    )
    controller = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=worker_environment(1))
    assert controller.stdout is not None
    worker = int(controller.stdout.readline())
    time.sleep(0.3)
    assert is_alive(worker)
    controller.kill()
    controller.wait()
    controller.stdout.close()
    deadline = time.monotonic() + 10
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(worker)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker, signal.SIGKILL)  # the child of what hung, which outlives a controller that is killed outright


def test_without_shared_memory_a_temporary_folder_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("backends.pool.shared_folder.SHARED_MEMORY", tmp_path / "none")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with exchange_folder() as folder:
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("backend", "reason"),
    [(NOT_IMPORTABLE, "ImportError: libfoo.so.3: cannot open"), (DIES_AT_START, "illegal instruction, roughly")],
)
def test_a_broken_environment_is_one_sentence(backend: Backend, reason: str) -> None:
    with pytest.raises(EnvironmentBroken) as caught:
        Worker(backend, threads=1)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_environment_says_how_to_create_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentMissing, match="create it with: tox run -e nowhere --notest"):
        Worker(Backend("nowhere", "nowhere:load", "nowhere"), threads=1)
    monkeypatch.setenv("BIRNN_PYTHON_NOWHERE", "/no/such/python")
    with pytest.raises(EnvironmentMissing, match="BIRNN_PYTHON_NOWHERE"):
        Worker(Backend("nowhere", "nowhere:load", "nowhere"), threads=1)


def test_an_interpreter_that_cannot_run_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/nowhere/interpreter\n")
    fake.chmod(0o755)
    monkeypatch.setenv("BIRNN_PYTHON_MISBEHAVING", str(fake))
    with pytest.raises(EnvironmentBroken, match="must be an interpreter that runs"):
        Worker(BACKEND, threads=1)


def test_a_variable_overrides_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIRNN_PYTHON_TORCH", sys.executable)
    assert interpreter(Backend("torch", "backends.pytorch:load", "torch")) == Path(sys.executable)


def test_every_worker_gets_the_same_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    environment = worker_environment(2)
    assert {environment[name] for name in THREAD_VARIABLES} == {"2"}
    assert "PYTHONDONTWRITEBYTECODE" not in environment


def test_tests_have_the_one_thread_that_workers_have() -> None:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    told = dict(re.findall(r"^(\w+) = (\S+)$", tox["testenv"]["set_env"], re.MULTILINE))
    assert {name: told.get(name) for name in THREAD_VARIABLES} == dict.fromkeys(THREAD_VARIABLES, "1")


def test_a_dead_worker_can_be_asked_again_without_harm() -> None:
    worker = Worker(BACKEND, threads=1)
    worker.kill()
    with pytest.raises(WorkerDied):
        worker.ask(Ping(), 10)
    worker.close()
    assert not is_alive(worker.pid)
