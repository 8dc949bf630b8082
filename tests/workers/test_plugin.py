"""A package outside this repository adds a backend by its entry point: tests/numpy_loop, installed for real."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from backends import registry


@pytest.fixture(autouse=True)
def _installed() -> None:
    if not [entry for entry in entry_points(group=registry.ENTRY_POINT_GROUP) if entry.name == "numpy"]:
        pytest.fail("birnn-numpy-loop must be installed: pip install -e tests/numpy_loop (tox run -e core does)")


def test_the_plugin_is_registered_after_the_built_in_backends() -> None:
    assert list(registry.backends()) == ["torch", "jax", "tensorflow", "mxnet", "onnxruntime", "numpy"]


def test_the_plugin_is_verified_like_any_other(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [
        sys.executable,
        "-m",
        "birnn",
        "verify",
        "-i",
        "numpy/*",
        "--quick",
        "--dtype",
        "float32",
        "--dtype",
        "bfloat16",
        "--json",
        str(report),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "numpy/loop" in done.stdout
    outcomes = json.loads(report.read_text())["outcomes"]
    assert {outcome["status"] for outcome in outcomes if outcome["dtype"] == "float32"} == {"agrees"}
    assert {outcome["reason"] for outcome in outcomes if outcome["dtype"] == "bfloat16"} == {"NumPy has no bfloat16"}
