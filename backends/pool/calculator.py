"""A process that computes for the controller, so that it can be stopped: the reference, above all, which takes minutes.

Ctrl-C and a deadline cannot interrupt a thread in the middle of a NumPy product; they can kill a process. Function,
arguments and result are pickled: both ends are this suite, in one environment.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import IO, Any, TypeVar

from backends.pool import lifetime
from backends.pool.environments import ROOT
from backends.pool.pipes import Pipes
from backends.pool.waiting import result_of

LENGTH = struct.Struct("<Q")
"""The number of bytes that follow, before each message."""
Result = TypeVar("Result")
"""What a calculation gives."""


class CalculationEnded(Exception):
    """A calculation did not come to its end; the text says why, after the name of what was calculated."""


class Calculator:
    """A process that calls functions of this suite, one at a time."""

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile(prefix="birnn-log-")  # noqa: SIM115, closed in close()
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-P", "-m", "backends.pool.calculator"]
        self._process = lifetime.start(command, self._log, {**os.environ, "PYTHONPATH": path})
        self._pipes = Pipes(self._process)

    def compute(self, timeout_seconds: float, function: Callable[..., Result], *arguments: Any) -> Result:
        """``function(*arguments)``, where the function is one of a module's own; what it raises comes through.

        Raises
        ------
        CalculationEnded
            If it takes longer, or the process dies; it cannot be asked again then.
        """
        deadline = time.monotonic() + timeout_seconds
        content = pickle.dumps((function, arguments), protocol=pickle.HIGHEST_PROTOCOL)
        try:
            self._pipes.write(LENGTH.pack(len(content)) + content, deadline)
            (length,) = LENGTH.unpack(self._pipes.exactly(LENGTH.size, deadline))
            raised, result = pickle.loads(self._pipes.exactly(length, deadline))
        except TimeoutError:
            raise CalculationEnded(f"did not come to its end within {timeout_seconds:g} s") from None
        except (EOFError, BrokenPipeError):
            raise CalculationEnded(f"has no result: its process {lifetime.how_it_ended(self._process)}") from None
        if raised:
            raise result
        return result

    def kill(self) -> None:
        """End the process, at once; whoever waits for a result learns that there is none."""
        lifetime.kill(self._process)

    def close(self) -> None:
        """Kill the process and let go of it."""
        self._pipes.close()
        lifetime.close(self._process)
        self._log.close()


class Once:
    """Calculations by key, each done by the first who asks for it; the others wait, and all learn why one ended.

    Parameters
    ----------
    compute
        ``Pool.compute``.
    timeout_seconds
        For each calculation.
    """

    def __init__(self, compute: Callable[..., Any], timeout_seconds: float) -> None:
        self._compute, self._timeout_seconds = compute, timeout_seconds
        self._done: dict[Hashable, Future[Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, key: Hashable, function: Callable[..., Result], *arguments: Any) -> Result:
        """``function(*arguments)``; raises as ``Pool.compute`` does."""
        with self._lock:
            known = self._done.get(key)
            future = self._done.setdefault(key, Future())
        if known is None:
            try:
                future.set_result(self._compute(self._timeout_seconds, function, *arguments))
            except BaseException as error:
                future.set_exception(error)
        return result_of(future)


def serve(requests: IO[bytes], results: IO[bytes]) -> None:
    """Compute what is asked for until the controller is gone."""
    while header := requests.read(LENGTH.size):
        function, arguments = pickle.loads(requests.read(*LENGTH.unpack(header)))
        try:
            answer: tuple[bool, Any] = (False, function(*arguments))
        except Exception as error:
            answer = (True, error)
        content = pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)
        results.write(LENGTH.pack(len(content)) + content)
        results.flush()


if __name__ == "__main__":
    lifetime.die_with_controller()
    lifetime.die_before_controller()
    _results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed goes to the log
    serve(sys.stdin.buffer, _results)
