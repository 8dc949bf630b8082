"""The doctor sees what would spoil a benchmark, and says what to do.

nvidia-smi's answers here are samples of its format, written down for these tests: no GPU was asked.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.pool.pool import Pool
from backends.pool.selection import Selection, select
from benchmarks.machine import ceilings, doctor
from benchmarks.machine.description import cores_told, fingerprint
from benchmarks.machine.doctor import (
    Check,
    busiest,
    check_cores,
    check_device,
    check_gpu,
    check_threads,
    cpu_quota,
    cpu_ticks,
    examine,
    own_processes,
)
from benchmarks.machine.nvidia import GPU_FIELDS, GpuUser, number, parse_slowdowns, parse_table, parse_users
from tests.benchmarks.measure.measurable import FAST, NEITHER
from tests.registered import register

GPU_AT_REST = (
    "NVIDIA H100 80GB HBM3, 550.54.15, Enabled, 345, 1980, 2619, 2619, 31, 700.00, 71.35, 0, 4, 81559, Default\n"
)
GPU_OF_A_LAPTOP = (
    "NVIDIA GeForce RTX 3050 Ti Laptop GPU, 535.183.01, Disabled, 1485, 2100, 6001, 6001, 84, [N/A], 18.02, 37, 911, "
    "4096, Default\n"
)
USERS = "18123, /opt/conda/bin/python3.11, 1536\n20044, /usr/lib/xorg/Xorg, [N/A]\n"


def state(text: str) -> dict[str, str | None]:
    (gpu,) = parse_table(text, GPU_FIELDS)
    return gpu


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


@pytest.fixture(scope="module")
def started() -> Iterator[tuple[Pool, Selection]]:
    with pytest.MonkeyPatch.context() as patch, Pool.open(1) as pool:
        register(patch, FAST, NEITHER)
        patch.setattr(ceilings, "BUSY_SECONDS", 0.1)
        patch.setattr(doctor, "LOOK_SECONDS", 0.1)
        yield pool, select(pool, [])


def test_examine_answers_for_the_machine_and_for_every_worker(started: tuple[Pool, Selection]) -> None:
    checks = by_name(examine(*started, 1, "cpu"))
    machine = {"load", "other processes", "stolen time", "cores", "CPU quota", "governor", "memory", "swap"}
    assert checks.keys() == machine | {"threads of fast", "threads of neither"}
    assert all(check.state for check in checks.values())
    assert all(check.advice for check in checks.values() if check.ok is False)
    assert not any(check.advice for check in checks.values() if check.ok)
    assert checks["threads of neither"].ok is None
    assert "of 1 threads work on a product" in checks["threads of fast"].state


def test_examine_for_a_gpu_says_that_there_is_none(
    started: tuple[Pool, Selection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    checks = by_name(examine(*started, 1, "gpu"))
    assert checks["GPU"].ok is False
    assert checks["GPU of fast"].state == "fast sees none"


def test_a_missing_environment_is_a_finding(started: tuple[Pool, Selection]) -> None:
    missing = Selection(missing={"torch": "the environment of torch must exist; create it with: …"})
    (finding,) = [check for check in examine(started[0], missing, 1, "cpu") if check.name == "environment"]
    assert finding == Check("environment", False, "not there", missing.missing["torch"])


def test_a_process_that_uses_the_cpu_is_found_unless_it_is_ours() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        try:
            before, started = cpu_ticks(), time.perf_counter()
            time.sleep(0.3)
            ticks = os.sysconf("SC_CLK_TCK") * (time.perf_counter() - started)
            after = cpu_ticks()
            cores_of = {pid: cores for pid, _, cores in busiest(before, after, {os.getpid()}, ticks)}
            assert 0.1 < cores_of[child.pid] < 1.3
            ours = own_processes(os.getpid(), [])
            assert {os.getpid(), child.pid} <= ours
            assert child.pid not in {pid for pid, _, _ in busiest(before, after, ours, ticks)}
        finally:
            child.kill()


def test_the_busiest_come_first_and_those_at_rest_not_at_all() -> None:
    before = {1: ("init", 5), 2: ("make", 10), 3: ("cc1", 10), 4: ("gone", 3)}
    after = {1: ("init", 5), 2: ("make", 20), 3: ("cc1", 60), 5: ("new", 7)}
    assert busiest(before, after, set(), 50) == [(3, "cc1", 1.0), (2, "make", 0.2)]


@pytest.mark.parametrize(
    ("busy", "rests", "ok", "part"),
    [
        (1.97, True, True, ""),
        (1.1, True, False, "end what runs beside"),
        (3.9, True, False, "its times will be too good"),
        (1.97, False, False, "spin while others are measured"),
        (1.1, False, False, "spin while others are measured"),
        (0.0, True, None, ""),
    ],
)
def test_threads_are_held_against_cpu_over_wall_time(busy: float, rests: bool, ok: bool | None, part: str) -> None:
    check = check_threads("torch", busy, 2, rests)
    assert check.ok is ok
    assert part in check.advice


def test_more_threads_than_cores_are_a_finding() -> None:
    assert check_cores(1).ok
    assert check_cores(10_000).ok is False


def test_a_quota_is_found_in_both_versions_of_control_groups_and_above_one(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (groups / "box" / "inner").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("0::/box/inner\n")
    assert cpu_quota(proc, groups) is None
    (groups / "box" / "inner" / "cpu.max").write_text("max 100000\n")
    assert cpu_quota(proc, groups) is None
    (groups / "box" / "cpu.max").write_text("150000 100000\n")
    assert cpu_quota(proc, groups) == 1.5
    first = groups / "cpu" / "docker"
    first.mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("4:cpu,cpuacct:/docker\n3:memory:/docker\n")
    (first / "cpu.cfs_quota_us").write_text("-1\n")
    (first / "cpu.cfs_period_us").write_text("100000\n")
    assert cpu_quota(proc, groups) is None
    (first / "cpu.cfs_quota_us").write_text("50000\n")
    assert cpu_quota(proc, groups) == 0.5


def test_a_gpu_at_rest_is_well() -> None:
    checks = by_name(check_gpu(state(GPU_AT_REST), [], [], set()))
    assert all(check.ok for check in checks.values())
    assert checks["GPU"].state == "NVIDIA H100 80GB HBM3, driver 550.54.15"
    assert "345 of 1980 MHz" in checks["GPU clocks"].state
    assert checks["GPU users"].state == "0 % busy; nobody else on it"
    assert checks["GPU power"].state == "71.35 of 700.00 W"
    assert checks["GPU memory"].state == "4 of 81559 MiB in use"


def test_a_warm_gpu_with_other_users_is_not() -> None:
    slowdowns = parse_slowdowns("0x0000000000000024\n")
    checks = by_name(check_gpu(state(GPU_OF_A_LAPTOP), slowdowns, parse_users(USERS), {20044}))
    assert slowdowns == ["power cap", "too warm (software)"]
    assert checks["GPU power"].ok is None
    for name in ("GPU persistence", "GPU clocks", "GPU temperature", "GPU memory", "GPU users"):
        assert checks[name].ok is False
        assert checks[name].advice
    assert checks["GPU users"].state == "37 % busy; python3.11 (18123) on it"
    assert "slowed down: power cap, too warm (software)" in checks["GPU clocks"].state


def test_nvidia_smis_answers_are_read() -> None:
    assert parse_users(USERS) == [GpuUser(18123, "python3.11", 1536.0), GpuUser(20044, "Xorg", None)]
    assert parse_users("") == []
    assert parse_users("No running processes found\n") == []
    assert parse_slowdowns("0x0000000000000001\n") == []
    assert parse_slowdowns("[Not Supported]\n") == []
    assert parse_slowdowns("") == []
    assert state(GPU_OF_A_LAPTOP)["power.limit"] is None
    assert number(state(GPU_AT_REST)["power.limit"]) == 700
    two = parse_table(GPU_AT_REST + GPU_OF_A_LAPTOP, GPU_FIELDS)
    assert [row["memory.total"] for row in two] == ["81559", "4096"]


def test_no_gpu_and_a_framework_without_one_say_what_to_do() -> None:
    (check,) = check_gpu(None, [], [], set())
    assert (check.ok, check.advice) == (False, "install the driver, or measure with --device cpu")
    assert check_device("jax", {"cpu": "2", "gpu": "NVIDIA H100"}).ok
    assert "study-gpu" in check_device("jax", {"cpu": "2"}).advice


def test_the_fingerprint_is_the_same_each_time_and_names_no_host_user_or_folder() -> None:
    machine = fingerprint()
    assert machine == fingerprint()
    assert machine["cores"] == os.cpu_count()
    assert machine["memory_bytes"] > 2**28
    assert machine["python"] == platform.python_version()
    text = json.dumps(machine)
    for private in (platform.node(), getpass.getuser(), str(Path.home()), str(Path.cwd())):
        assert private not in text or len(private) < 3


def test_one_core_is_told_as_one() -> None:
    told = [cores_told({"usable_cores": count, "processor": "AMD EPYC"}) for count in (1, 2)]
    assert told == ["1 core of AMD EPYC", "2 cores of AMD EPYC"]
