"""The controller's side of a worker: start it, ask it, and turn crashes and hangs into answers."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from backends.environments import compilation_cache, how_to_create, interpreter, own_folder, worker_environment
from backends.exchange import exchange_folder
from backends.registry import Backend

START_SECONDS = 180.0
LOG_LINES = 40


class EnvironmentMissing(Exception):
    """A backend's environment is not there; the text is one sentence that says how to create it."""


class EnvironmentBroken(Exception):
    """A backend's environment is there but its worker does not start; the text is one sentence."""


class WorkerDied(Exception):
    """A worker crashed; the text is one sentence, ``log`` the end of what it wrote."""

    status = "crashed"

    def __init__(self, text: str, log: str) -> None:
        super().__init__(text)
        self.log = log


class WorkerTimedOut(WorkerDied):
    """A worker did not answer in time and was killed with its process group."""

    status = "timed out"


class Worker:
    """One long-lived process in a backend's environment, in a session of its own, with these environment variables
    on top of its usual ones.

    Raises
    ------
    EnvironmentMissing, EnvironmentBroken
        If there is no interpreter, or the framework cannot be imported there.
    """

    def __init__(
        self,
        backend: Backend,
        threads: int,
        start_seconds: float = START_SECONDS,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        python = interpreter(backend)
        if python is None:
            raise EnvironmentMissing(f"the environment of {backend.name} must exist; {how_to_create(backend)}")
        started = time.monotonic()
        self._log = tempfile.TemporaryFile(prefix="birnn-log-")  # noqa: SIM115, closed in close()
        self._buffer = b""
        self._count = 0
        try:
            self._process = subprocess.Popen(
                [str(python), "-P", "-m", "backends.worker", backend.load],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=compilation_cache(backend) | worker_environment(threads) | dict(variables),
                start_new_session=True,
            )
        except OSError as error:
            raise EnvironmentBroken(f"{python} must be an interpreter that runs; got: {error.strerror}") from None
        try:
            self.description = self._read_reply(start_seconds)
        except WorkerDied as error:
            raise EnvironmentBroken(
                f"the environment of {backend.name} must start a worker; {error}: {_last_line(error.log)}"
            ) from None
        self.start_seconds = time.monotonic() - started
        if self.description["status"] != "ready":
            self.close()
            raise EnvironmentBroken(
                f"the environment of {backend.name} must import its framework; got {self.description['reason']}"
            )

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def ask(self, request: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
        """Send a request and wait for its reply.

        Raises
        ------
        WorkerDied, WorkerTimedOut
            If the process ends, or does not answer in time; it is killed then, with its process group.
        """
        self._count += 1
        line = json.dumps({"id": self._count, **request}) + "\n"
        assert self._process.stdin is not None
        # A process that is gone already is reported by the read that follows.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        return self._read_reply(timeout_seconds)

    def kill(self) -> None:
        """End the process group, at once; whoever waits for an answer learns that the worker died."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the worker and let go of what it held."""
        self.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._log.close()

    def _read_reply(self, timeout_seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + timeout_seconds
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise self._end(WorkerTimedOut, f"no answer within {timeout_seconds:g} s")
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                raise self._end(WorkerDied, None)
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            return json.loads(line)
        except ValueError:
            raise self._end(WorkerDied, f"the worker's answer must be JSON; got {line[:60]!r}") from None

    def _end(self, kind: type[WorkerDied], text: str | None) -> WorkerDied:
        if text is None:
            # The pipe is closed, so the process is ending; give it a moment to say how.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)
            text = _how_it_ended(self._process.poll())
        log = self._end_of_log()
        self.close()
        return kind(text, log)

    def _end_of_log(self) -> str:
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 16_384))
        return "\n".join(self._log.read().decode(errors="replace").splitlines()[-LOG_LINES:])


class Pool:
    """Workers by backend: started when first asked, replaced after they die. Use it as ``with Pool.open() as pool``."""

    def __init__(self, folder: Path, threads: int, variables: Mapping[str, str] = MappingProxyType({})) -> None:
        self.folder = folder
        self._threads = threads
        self._variables = variables
        self._workers: dict[tuple[str, int], Worker] = {}

    @classmethod
    @contextlib.contextmanager
    def open(cls, threads: int = 1, variables: Mapping[str, str] = MappingProxyType({})) -> Iterator[Pool]:
        """A pool with an exchange folder of its own; at the end every worker is killed and the folder removed."""
        with exchange_folder() as folder:
            pool = cls(folder, threads, variables)
            try:
                yield pool
            finally:
                pool.close()

    def kill(self) -> None:
        """Kill every worker; those who wait for an answer learn that it died."""
        for worker in list(self._workers.values()):
            worker.kill()

    def close(self) -> None:
        """Kill every worker and let go of what they held."""
        while self._workers:
            self._workers.popitem()[1].close()

    def worker(self, backend: Backend, number: int = 0) -> Worker:
        """The backend's living worker of that number; raises as ``Worker`` does."""
        key = backend.name, number
        if key not in self._workers:
            folder = self.folder / f"own-{backend.name}-{number}"
            folder.mkdir(exist_ok=True)
            self._workers[key] = Worker(backend, self._threads, variables={**self._variables, **own_folder(folder)})
        return self._workers[key]

    def pids(self) -> dict[str, int]:
        """The process ids of the living workers numbered 0, by backend."""
        return {name: worker.pid for (name, number), worker in self._workers.items() if number == 0}

    def ask(self, backend: Backend, request: dict[str, Any], timeout_seconds: float, number: int = 0) -> dict[str, Any]:
        """Ask a backend's worker; a death becomes a reply with status ``crashed`` or ``timed out``, and the log's
        end.
        """
        worker = self.worker(backend, number)
        try:
            return worker.ask(request, timeout_seconds)
        except WorkerDied as error:
            self._workers.pop((backend.name, number), None)
            return {"status": error.status, "reason": str(error), "log": error.log}


@dataclass(frozen=True)
class Channel:
    """One of a backend's workers in a pool, with files that it alone reads and writes."""

    pool: Pool
    backend: Backend
    number: int

    def ask(self, request: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
        """As ``Pool.ask``."""
        return self.pool.ask(self.backend, request, timeout_seconds, self.number)

    def file(self, name: str) -> Path:
        """A path in the exchange folder."""
        return self.pool.folder / f"{self.backend.name}-{self.number}-{name}"


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "the worker closed its output"
    if code < 0:
        return f"the worker was ended by {signal.Signals(-code).name}"
    return f"the worker exited with code {code}"


def _last_line(log: str) -> str:
    lines = log.strip().splitlines()
    return lines[-1].strip() if lines else "nothing was logged"
