"""MXNet's own loader gives the numbers of every version of its files, those under NumPy's shapes among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.worker.checkpoints import run_checkpoint
from backends.worker.messages import AskedPlain, RunCheckpoint
from common.tensorfile import read
from tests.frameworks.conftest import only_with

FRAMEWORK = only_with("mxnet")
FILES = Path(__file__).parents[2] / "common" / "checkpoints" / "files"


def head_of(name: str, folder: Path) -> dict[str, bytes]:
    """The weights of a file's dense layer."""
    result = folder / name
    plain = (AskedPlain(name="head", kind="dense", result=result),)
    reply = run_checkpoint(FRAMEWORK, RunCheckpoint(file=FILES / name, format="mxnet", layers=(), plain=plain))
    assert reply.plain == {"head": ""}
    return {key: value.tobytes() for key, value in read(result)[0].items()}


@pytest.mark.parametrize("version", [0, 1, 3])
def test_a_file_of_any_version_is_loaded(version: int, tmp_path: Path) -> None:
    assert head_of(f"mxnet-v{version}.params", tmp_path) == head_of("mxnet.params", tmp_path)
