"""Ways to be somebody else, or somewhere else, for the time of an attack; where the system refuses, the test skips."""

from __future__ import annotations

import os
import subprocess
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


def as_nobody(act: Callable[[], object]) -> None:
    """Call ``act`` as an ordinary user, in a process of its own where the tests run as root; what it raises fails the
    test.
    """
    if os.getuid() != 0:
        act()
        return
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            act()
            code = 0
        except BaseException:
            os.write(writer, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as told:
        complaint = told.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, complaint


def in_a_mount_namespace(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script where its mounts are seen by nobody else; ``options`` are more of unshare's."""
    unshare = ["unshare", "--mount", "--propagation", "private", *options]
    try:
        allowed = (
            subprocess.run([*unshare, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0
        )
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("mount namespaces are not permitted here")
    return subprocess.run([*unshare, "sh", "-c", script], capture_output=True, text=True, cwd=ROOT)
