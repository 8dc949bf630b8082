"""Two ways to give a command line to birnn: in the process of the test, and in one of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest
import typer.rich_utils  # noqa: F401  it reads FORCE_COLOR once, when it is imported, and no test is to be that moment

from birnn.__main__ import main
from tests.benchmarks.made_up import stand_still


def birnn(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a user types it, in this process: starting another one takes longer than what it does."""
    words = ["birnn", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", words)
        stand_still(patch)
        for name, value in environment.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main()
    assert isinstance(ended.value.code, int | None)
    return subprocess.CompletedProcess(words, ended.value.code or 0, out.getvalue(), err.getvalue())


def birnn_alone(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, for what hangs on one: threads, and what a process leaves when it ends."""
    command = [sys.executable, "-m", "birnn", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
