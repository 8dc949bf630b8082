"""A process's stdin and stdout, neither of which is waited for past a deadline."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time

from backends.pool.waiting import HEARD_SECONDS

CHUNK = 1 << 20
"""Bytes that are read or written at once."""


class TooLong(Exception):
    """A line is longer than any that is expected."""


class Pipes:
    """The controller's ends of a process's pipes. Deadlines are times of ``time.monotonic``.

    Every method raises ``TimeoutError`` when its deadline is over. Writing raises ``BrokenPipeError``, reading
    ``EOFError``, when the process has closed its end.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to, self._from = process.stdin.fileno(), process.stdout.fileno()
        for descriptor in (self._to, self._from):
            os.set_blocking(descriptor, False)
        self._life: int | None = None
        if sys.platform == "linux":
            # What a process has forked may hold its pipes open when it has ended itself.
            with contextlib.suppress(OSError):  # before Linux 5.3, and where a sandbox forbids it
                self._life = os.pidfd_open(process.pid)
        self._received = bytearray()
        self._searched = 0

    def close(self) -> None:
        """Let go of what stands for the process; its pipes are its own."""
        if self._life is not None:
            os.close(self._life)
            self._life = None

    def write(self, content: bytes, deadline: float) -> None:
        """Write all of ``content``; a process that does not read, a stopped one say, does not hold this one up."""
        left = memoryview(content)
        while left:
            if not self._wait(self._to, select.POLLOUT, deadline):
                raise BrokenPipeError
            left = left[os.write(self._to, left[:CHUNK]) :]

    def line(self, most: int, deadline: float) -> bytes:
        """The next line without its end; ``TooLong`` when it has more than ``most`` bytes."""
        while (end := self._received.find(b"\n", self._searched)) < 0:
            self._searched = len(self._received)
            if self._searched > most:
                raise TooLong
            self._read(deadline)
        self._searched = 0
        return self._take(end + 1)[:-1]

    def exactly(self, count: int, deadline: float) -> bytes:
        """The next ``count`` bytes."""
        while len(self._received) < count:
            self._read(deadline)
        return self._take(count)

    def _take(self, count: int) -> bytes:
        """Take the first bytes out of what has been received."""
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    def _read(self, deadline: float) -> None:
        """Receive what there is, once there is something."""
        chunk = os.read(self._from, CHUNK) if self._wait(self._from, select.POLLIN, deadline) else b""
        if not chunk:
            raise EOFError
        self._received += chunk

    def _wait(self, descriptor: int, event: int, deadline: float) -> bool:
        """Wait until a pipe can be read or written, or its other end is closed; False when the process has ended and
        there is nothing left to read.
        """
        poll = select.poll()  # select() knows no descriptor past 1023
        poll.register(descriptor, event)
        if self._life is not None:
            poll.register(self._life, select.POLLIN)
        while not (ready := poll.poll(min(HEARD_SECONDS, max(0.0, deadline - time.monotonic())) * 1000)):
            if time.monotonic() >= deadline:
                raise TimeoutError
        return any(each == descriptor for each, _ in ready)
