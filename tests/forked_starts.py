"""Workers and calculators of tests: the real programs, forked from a process that has imported the suite.

Four hundred of them start in the tests, and each would spend a third of a second on importing the same modules. What is
about their starts and their ends (``tests/workers/test_pool.py``, whatever runs ``birnn`` in a process) starts them as
users do.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from backends.pool.environments import ROOT, THREAD_VARIABLES

PROGRAMS = ("backends.worker", "backends.pool.calculator")
"""The modules that are run as ``__main__``."""
READ_AT_IMPORT = (*THREAD_VARIABLES, "PYTHONHASHSEED", "PYTHONWARNINGS", "LD_PRELOAD", "LD_LIBRARY_PATH")
"""The environment variables that a process has read by the time it is forked."""
PR_SET_CHILD_SUBREAPER = 36
"""Linux's prctl(2): orphans among this process's descendants become its children."""
MOST = 1 << 17
"""Bytes of a request: a command, an environment and a working folder."""


class Forked:
    """What ``backends.pool`` uses of ``subprocess.Popen``, of a process that was forked elsewhere."""

    def __init__(self, pid: int, stdin: int, stdout: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdin, self.stdout = os.fdopen(stdin, "wb", 0), os.fdopen(stdout, "rb", 0)

    def wait(self) -> int:
        """How the process ended, when it has."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


Process = Forked | subprocess.Popen[bytes]
"""A worker's or a calculator's process."""


class Nursery:
    """The process that has imported the suite, and forks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid(), os.geteuid()
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1"), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-P", "-m", "tests.forked_starts", str(theirs.fileno()), str(os.getpid())]
        self._process = subprocess.Popen(command, env=self._environment, pass_fds=[theirs.fileno()])
        theirs.close()

    def can_start(self, command: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Whether a forked process is what this command, with this environment, would be."""
        return (
            self._owner == (os.getpid(), os.geteuid())
            and list(command[:3]) == [sys.executable, "-P", "-m"]
            and command[3] in PROGRAMS
            and all(environment.get(name) == self._environment.get(name) for name in READ_AT_IMPORT)
        )

    def start(self, command: Sequence[str], log: IO[bytes], environment: Mapping[str, str]) -> Forked:
        """As ``lifetime.start``."""
        (stdin, to), (start_of, stdout) = os.pipe(), os.pipe()
        told = json.dumps([list(command[3:]), dict(environment), str(Path.cwd())]).encode()
        with self._lock:
            _prctl(PR_SET_CHILD_SUBREAPER, 1)
            try:
                socket.send_fds(self._requests, [told], [stdin, stdout, log.fileno()])
                pid = int(self._requests.recv(MOST))
            finally:
                _prctl(PR_SET_CHILD_SUBREAPER, 0)
                os.close(stdin)
                os.close(stdout)
        return Forked(pid, to, start_of)

    def close(self) -> None:
        """End the process."""
        self._requests.close()
        self._process.wait()


def _prctl(option: int, value: int) -> None:
    """Call Linux's prctl(2)."""
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _serve(requests: socket.socket, controller: int) -> None:
    """Fork for every request, until the controller is gone; what is forked becomes the controller's child."""
    while True:
        told, descriptors, _, _ = socket.recv_fds(requests, MOST, 3)
        if not told:
            return
        between = os.fork()
        if not between:
            if os.fork():
                os._exit(0)
            _become(json.loads(told), descriptors, requests, controller)
        os.waitpid(between, 0)
        for descriptor in descriptors:
            os.close(descriptor)


def _become(
    told: tuple[list[str], dict[str, str], str], descriptors: list[int], requests: socket.socket, controller: int
) -> None:
    """Run a program as a process of its own would; never returns."""
    (module, *arguments), environment, folder = told
    while os.getppid() != controller:
        time.sleep(0.0002)
    os.setsid()
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    requests.send(str(os.getpid()).encode())
    requests.close()
    own = set(os.environ["PYTHONPATH"].split(os.pathsep))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:] = [*environment["PYTHONPATH"].split(os.pathsep), *(path for path in sys.path if path not in own)]
    sys.argv[:] = [module, *arguments]
    if environment.get("PYTHONFAULTHANDLER"):
        faulthandler.enable()
    code = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    import backends.pool.calculator
    import backends.worker.__main__  # noqa: F401
    import common.judging.yardstick  # noqa: F401, what calculators are asked for above all

    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
