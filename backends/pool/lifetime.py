"""Processes that live no longer than who started them, and that end with all that they have started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from backends.pool.waiting import result_of

PR_SET_PDEATHSIG = 1
"""Linux's prctl(2): the signal that a process gets when its parent ends."""
ENDING_SECONDS = 5.0
"""How long a process may take to end that has closed its output: a large one's memory is given back first."""
LOOK_SECONDS = 0.005
"""Seconds between two looks at a process that is ending."""
_STARTER = ThreadPoolExecutor(1, thread_name_prefix="birnn-starter")
"""The thread that starts processes. Linux sends the signal when the *thread* that started a process ends, so it has to
be one that lives as long as the controller."""


def start(command: Sequence[str], log: IO[bytes], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, with pipes for stdin and stdout and a file for stderr.

    Raises
    ------
    OSError
        If it cannot be started.
    """

    def launch() -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=log, env=environment, bufsize=0, start_new_session=True
        )

    return result_of(_STARTER.submit(launch))


def die_with_controller() -> None:
    """Have the kernel kill this process when its controller ends, whatever it is doing then: a thread that watches
    stdin needs the interpreter's lock, which a call into a library may hold for long. What this process has started
    outlives a controller that is killed outright: the signal is for this process alone.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def die_before_controller() -> None:
    """Have the kernel end this process, and not the controller, where memory runs out: the controller can say so."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process with its whole group, at once; also when it has ended itself and left others behind."""
    if process.returncode is None:  # else its number may be another's by now
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def close(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and let go of it and of its pipes."""
    kill(process)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def how_it_ended(process: subprocess.Popen[bytes]) -> str:
    """How a process ended that has closed its output, given a moment; it stays to be waited for, so that its group can
    still be killed.
    """
    deadline = time.monotonic() + ENDING_SECONDS
    while True:
        with contextlib.suppress(ChildProcessError):
            ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is not None:
                return _told(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status)
        if process.returncode is not None:
            return _told(process.returncode)
        if time.monotonic() >= deadline:
            return "closed its output"
        time.sleep(LOOK_SECONDS)


def _told(code: int) -> str:
    """How a process with this return code ended, in words."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"was ended by signal {-code}"
