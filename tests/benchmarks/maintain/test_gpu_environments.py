"""The environments for a GPU: one for every framework, with the pins of the CPU's, and workers are started there."""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import Path

import pytest

from backends.pool.environments import interpreter, override_variable, worker_environment
from backends.registry import BUILT_IN

ROOT = Path(__file__).resolve().parents[3]
TOX = configparser.ConfigParser(interpolation=None)
TOX.read(ROOT / "tox.ini")
OTHER_BUILDS = {"tensorflow-cpu": "tensorflow", "mxnet": "mxnet-cu112"}
"""Packages of the CPU environments and what stands in their place for CUDA."""


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", text, re.MULTILINE))


def label(name: str) -> list[str]:
    (names,) = re.findall(rf"^{name} = (.*)$", TOX["tox"]["labels"], re.MULTILINE)
    return re.split(r",\s*", names)


def test_the_label_makes_an_environment_for_every_framework_and_then_the_study() -> None:
    *environments, study = label("study-gpu")
    assert study == "study-gpu"
    assert [name.removesuffix("-gpu") for name in environments] == [backend.name for backend in BUILT_IN]
    assert re.split(r",\s*", TOX["testenv:study-gpu"]["depends"]) == environments
    assert all((ROOT / "requirements" / f"{name}.txt").exists() for name in environments)


def test_the_study_starts_workers_from_those_environments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = dict(re.findall(r"^(BIRNN_\w+) = \{env:\1:(.*)\}$", TOX["testenv:study-gpu"]["set_env"], re.MULTILINE))
    *environments, _ = label("study-gpu")
    for backend, environment in zip(BUILT_IN, environments, strict=True):
        python = tmp_path / environment / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.touch(mode=0o755)
        if environment != backend.environment:  # torch has one environment for both
            value = settings.pop(override_variable(backend))
            monkeypatch.setenv(
                override_variable(backend), value.replace("{work_dir}", str(tmp_path)).replace("{/}", "/")
            )
        monkeypatch.setenv("TOX_WORK_DIR", str(tmp_path))
        assert interpreter(backend) == python
    assert not settings


@pytest.mark.parametrize("name", ["jax", "tensorflow", "mxnet"])
def test_pins_for_cuda_are_the_same_as_without(name: str) -> None:
    cpu, gpu = pins(name), pins(f"{name}-gpu")
    expected = {OTHER_BUILDS.get(package, package): version for package, version in cpu.items()}
    assert expected.items() <= gpu.items()
    assert all(package.startswith(("nvidia-", "jax-cuda13-")) for package in gpu.keys() - expected.keys())


def test_pins_are_names_and_versions_alone() -> None:
    for file in (ROOT / "requirements").glob("*.txt"):
        lines = [line for line in file.read_text().splitlines() if not line.startswith("    #")]
        assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines), file.name


def test_pins_for_cuda_are_of_what_pyproject_asks_for() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in ("jax-gpu", "tensorflow-gpu", "mxnet-gpu"):
        for requirement in extras[name]:
            match = re.match(r"[\w-]+", requirement)
            assert match
            assert match[0] in pins(name)


def test_workers_leave_each_other_memory_on_a_gpu() -> None:
    environment = worker_environment(2)
    assert environment["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert environment["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
