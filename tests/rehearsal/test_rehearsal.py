"""The GPU kit on a CPU: made here, and run as it will be, in an environment that has torch and jax and no registry.

Needs the tox environments ``torch`` and ``jax``; skipped where they are missing, failed where they are meant to be.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from backends.pool.environments import interpreter
from backends.registry import BUILT_IN
from benchmarks.maintain.gpu.outcome import MOST_BYTES, MOST_FILES
from benchmarks.maintain.gpu.steps import STAGES
from benchmarks.maintain.gpu_kit import LACKING, LARGEST
from benchmarks.report.data import data_in
from tests.rehearsal import bare

FRAMEWORKS = ("torch", "jax")
MOST_COMMANDS = 5
"""One does it all in two minutes; a machine that others use may need the same again."""
REHEARSAL = ("--device", "cpu", "--rehearse")


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    interpreters = [interpreter(backend) for backend in BUILT_IN if backend.name in FRAMEWORKS]
    there = [python for python in interpreters if python is not None]
    if len(there) < len(interpreters):
        stop = pytest.fail if os.environ.get("TOX_ENV_NAME") == "rehearsal" else pytest.skip
        stop("the environments of torch and jax must exist: tox run -e torch,jax --notest")
    return bare.make(tmp_path_factory.mktemp("bare"), there)


@pytest.fixture(scope="module")
def kit(bare_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kit for the bare environment's Python, its wheels from the packages that are installed here."""
    wheels, folder = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("made") / "kit"
    for name in LACKING:
        bare.pack(name, wheels)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = [sys.executable, "-m", "benchmarks.maintain.gpu_kit", str(folder), "--python", version]
    command += ["--wheels", str(wheels)]
    # The bare environment's pip, for this one may have none.
    path = f"{bare_python.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PATH": path})
    assert done.returncode == 0, done.stderr
    return folder


def start(kit: Path, python: Path, *arguments: str) -> subprocess.Popen:
    """``run.sh`` with nothing of this environment's but the path."""
    environment = {"PATH": os.environ["PATH"], "PYTHON": str(python), "HOME": str(kit.parent), "LANG": "C.UTF-8"}
    return subprocess.Popen(
        ["bash", kit / "run.sh", *arguments],
        env=environment | {"PIP_NO_INDEX": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_all_stages_run_where_there_is_no_registry_and_go_on_after_ctrl_c(kit: Path, bare_python: Path) -> None:
    assert sum(path.stat().st_size for path in kit.rglob("*") if path.is_file()) < LARGEST
    process = start(kit, bare_python, *REHEARSAL)
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith("verify float32 exact: at most"):
            time.sleep(1)
            process.send_signal(signal.SIGINT)
    assert process.wait() == 130, "".join(seen)
    out = kit / "measured" / "rehearsal" / "out"
    assert {path.name for path in out.iterdir()} == {"log.txt", "state.tar.gz"}
    assert "verify: not done; the same command goes on with it\n" in seen
    for _ in range(MOST_COMMANDS):
        done = start(kit, bare_python, *REHEARSAL)
        printed, _ = done.communicate()
        assert done.returncode == 0, printed
        assert "doctor: at most" not in printed  # it was done
        if "not done" not in printed:
            break
    else:
        pytest.fail(printed)
    commit = json.loads((kit / "kit.json").read_text())["commit"]
    _check_files(out, commit)
    _check_rows(out / "rows.csv", bare_python, commit)
    _check_findings(out)


def _check_files(out: Path, commit: str) -> None:
    files = {path.name: path.stat().st_size for path in out.iterdir()}
    assert set(files) == {
        "report.html",
        "rows.csv",
        "verify.json",
        "probes.json",
        "training.json",
        "state.tar.gz",
        "log.txt",
    }
    assert len(files) <= MOST_FILES
    assert all(0 < size <= MOST_BYTES for size in files.values())
    log = (out / "log.txt").read_text()
    for name in ("tensorflow", "mxnet"):
        assert f"birnn: the environment of {name} must exist" in log
    state = json.loads((out.parent / "state.json").read_text())
    assert state["commit"] == commit
    assert list(state["seconds"]) == list(STAGES)


def _check_rows(file: Path, python: Path, commit: str) -> None:
    rows = list(csv.DictReader(file.open()))
    assert {row["label"] for row in rows} == {"gpu-exact", "gpu-fast", "deepbench-exact", "systems-fast"}
    assert {row["lane"] for row in rows} == {"exact", "fast"}
    assert {row["commit"] for row in rows} == {commit}
    timed = {(row["label"], row["framework"]) for row in rows if row["status"] in ("measured", "never steady")}
    assert timed == {(row["label"], name) for row in rows for name in FRAMEWORKS}
    assert {row["status"] for row in rows} <= {"measured", "never steady", "unsupported"}
    # One interpreter for both, where birnn is not installed.
    listed = subprocess.run([python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True).stdout
    names = {line.partition("==")[0].lower() for line in listed.splitlines()}
    assert {"torch", "jax"} <= names
    assert not names & {"birnn", "duckdb", "pydantic", "plotly"}


def _check_findings(out: Path) -> None:
    verified = json.loads((out / "verify.json").read_text())
    assert set(verified) == {"verify-float32-exact", "verify-float32-fast", "verify-float64-exact"}
    for study in verified.values():
        statuses = Counter(outcome["status"] for outcome in study["outcomes"])
        assert set(statuses) == {"agrees"}
        assert {outcome["implementation"].partition("/")[0] for outcome in study["outcomes"]} == set(FRAMEWORKS)
    (probes,) = json.loads((out / "probes.json").read_text()).values()
    assert {finding["status"] for finding in probes["findings"]} == {"not applicable"}
    assert {finding["framework"] for finding in probes["findings"]} == set(FRAMEWORKS)
    traces = json.loads((out / "training.json").read_text())
    assert set(traces) == {"train-float32", "train-float64"}
    assert "there is no picture: it needs matplotlib" in (out / "log.txt").read_text()  # and no failure
    for trace in traces.values():
        assert {each["status"] for each in trace["implementations"].values()} == {"trained"}
    assert "gpu-fast" in {run["label"] for run in data_in((out / "report.html").read_text())["runs"]}


def test_what_is_lacking_is_one_sentence(kit: Path, bare_python: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", empty], check=True)
    without_pip = start(kit, empty / "bin" / "python", *REHEARSAL)
    assert without_pip.communicate()[0] == f"run.sh: {empty}/bin/python must have pip, to unpack the wheels with\n"
    assert without_pip.returncode == 2
    # A kit that forgot a wheel.
    poor = tmp_path / "poor"
    poor.mkdir()
    for path in kit.iterdir():
        if path.name != "measured":
            (poor / path.name).symlink_to(path)
    (poor / "wheels").unlink()
    (poor / "wheels").mkdir()
    for wheel in (kit / "wheels").iterdir():
        if not wheel.name.startswith("duckdb"):
            (poor / "wheels" / wheel.name).symlink_to(wheel)
    done = start(poor, bare_python, *REHEARSAL)
    printed, _ = done.communicate()
    assert done.returncode == 2
    assert printed.count("\n") == 1
    assert "must be able to import duckdb, and cannot" in printed
    assert "--with duckdb" in printed
