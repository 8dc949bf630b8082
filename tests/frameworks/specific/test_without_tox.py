"""A layer on the command line where its framework is installed and no tox environment is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from backends.pool.environments import ROOT
from common.case import write_case
from tests.cases import a_case
from tests.frameworks.conftest import only_with

only_with("mxnet")  # the one that is imported most quickly


def test_a_layer_runs_in_the_interpreter_that_has_its_framework(tmp_path: Path) -> None:
    write_case(a_case("gru"), tmp_path / "mine.safetensors")
    layer = ("--layer", f"{ROOT / 'examples' / 'mxnet_gru.py'}:layer", "--framework", "mxnet", "--dtype", "float32")
    done = subprocess.run(
        [sys.executable, "-m", "birnn", "verify", tmp_path / "mine.safetensors", *layer],
        capture_output=True,
        text=True,
        env=os.environ | {"TOX_WORK_DIR": str(tmp_path / "no-tox")},
    )
    assert done.returncode == 0, done.stderr
    assert "1 agree, 0 unsupported, 0 wrong" in done.stdout
    assert "own runs in this interpreter, which has mxnet" in done.stderr
