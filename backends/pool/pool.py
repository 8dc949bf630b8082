"""The controller's side of a worker: start it, ask it, and turn crashes, hangs and broken answers into answers."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from backends.pool import lifetime
from backends.pool.calculator import CalculationEnded, Calculator
from backends.pool.environments import compilation_cache, how_to_create, interpreter, own_folder, worker_environment
from backends.pool.pipes import Pipes, TooLong
from backends.pool.shared_folder import exchange_folder
from backends.registry import Backend
from backends.worker import lines
from backends.worker.messages import Answer, NotDone, WorkerRequest

START_SECONDS = 180.0
"""Seconds that a worker may take to start."""
LOG_LINES = 40
"""Lines of a dead worker's log that are kept."""
MOST_STARTS = 3
"""Starts in a row that may fail before a worker is not started again."""
Result = TypeVar("Result")
"""What a calculation gives."""
Line = TypeVar("Line")
"""What a worker's line is read as."""


class EnvironmentMissing(Exception):
    """A backend's environment is not there; the text is one sentence that says how to create it."""


class EnvironmentBroken(Exception):
    """A backend's environment is there but its worker does not start; the text is one sentence."""


class WorkerDied(Exception):
    """A worker crashed, or answered what is no answer; the text is one sentence, ``log`` the end of what it wrote."""

    status = "crashed"

    def __init__(self, text: str, log: str) -> None:
        super().__init__(text)
        self.log = log


class WorkerTimedOut(WorkerDied):
    """A worker did not answer in time and was killed with its process group."""

    status = "timed out"


class NoAnswer(Exception):
    """A worker did not do what it was asked; ``reply`` is what it said, or the pool for it."""

    def __init__(self, reply: NotDone) -> None:
        super().__init__(reply.reason)
        self.reply = reply


class Worker:
    """One long-lived process in a backend's environment, in a session of its own, with these environment variables
    on top of its usual ones; ``begun`` is called with the worker as soon as its process is there.

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
        begun: Callable[[Worker], None] = lambda worker: None,
    ) -> None:
        python = interpreter(backend)
        if python is None:
            raise EnvironmentMissing(f"the environment of {backend.name} must exist; {how_to_create(backend)}")
        started = time.monotonic()
        self._log = tempfile.TemporaryFile(prefix="birnn-log-")  # noqa: SIM115, closed in close()
        self._count = 0
        command = [str(python), "-P", "-m", "backends.worker", backend.load]
        environment = compilation_cache(backend) | worker_environment(threads) | dict(variables)
        try:
            self._process = lifetime.start(command, self._log, environment)
        except OSError as error:
            self._log.close()
            what = f"{python}, for the environment of {backend.name}, must be an interpreter that runs"
            raise EnvironmentBroken(f"{what}; got: {error.strerror}") from None
        self._pipes = Pipes(self._process)
        begun(self)
        try:
            first = self._read(start_seconds, lambda line: lines.read_description(line, backend.name))
        except WorkerDied as error:
            raise EnvironmentBroken(
                f"the environment of {backend.name} must start a worker; {error}: {_last_line(error.log)}"
            ) from None
        self.start_seconds = time.monotonic() - started
        if isinstance(first, str):
            self.close()
            raise EnvironmentBroken(f"the environment of {backend.name} must import its framework; got {first}")
        self.description = first

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def ask(self, request: WorkerRequest[Answer], timeout_seconds: float) -> Answer | NotDone:
        """Send a request and wait for its reply.

        Raises
        ------
        WorkerDied, WorkerTimedOut
            If the process ends, answers what is no answer to this request, or not in time; it is killed then, with its
            process group.
        """
        self._count += 1
        number, kind = self._count, request.reply_kind()
        check = partial(lines.read_reply, number=number, kind=kind)
        return self._read(timeout_seconds, check, lines.request_line(number, request))

    def kill(self) -> None:
        """End the process group, at once; whoever waits for an answer learns that the worker died."""
        lifetime.kill(self._process)

    def close(self) -> None:
        """Kill the worker and let go of what it held."""
        self._pipes.close()
        lifetime.close(self._process)
        self._log.close()

    def distrust(self, text: str) -> WorkerDied:
        """Kill a worker that broke the protocol; what is to be raised."""
        return self._end(WorkerDied, text)

    def _read(self, timeout_seconds: float, check: Callable[[bytes], Line], request: bytes = b"") -> Line:
        """Send a request and check the line that comes back."""
        deadline = time.monotonic() + timeout_seconds
        try:
            # A process that is gone already is reported by the read that follows.
            with contextlib.suppress(BrokenPipeError):
                self._pipes.write(request, deadline)
            return check(self._pipes.line(lines.LONGEST, deadline))
        except TimeoutError:
            raise self._end(WorkerTimedOut, f"no answer within {timeout_seconds:g} s") from None
        except TooLong:
            text = f"the worker broke the protocol: its answer must be a line of at most {lines.LONGEST} bytes"
            raise self.distrust(f"{text}; got more") from None
        except lines.BrokenProtocol as error:
            raise self.distrust(f"the worker broke the protocol: {error}") from None
        except EOFError:
            raise self._end(WorkerDied, f"the worker {lifetime.how_it_ended(self._process)}") from None

    def _end(self, kind: type[WorkerDied], text: str) -> WorkerDied:
        """Kill the worker; the exception to be raised, with the end of its log."""
        self.kill()
        log = self._end_of_log()
        self.close()
        return kind(text, log)

    def _end_of_log(self) -> str:
        """The last lines of what the worker wrote."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 16_384))
        return "\n".join(self._log.read().decode(errors="replace").splitlines()[-LOG_LINES:])


class Pool:
    """Workers by backend: started when first asked, replaced after they die; and processes that compute for the
    controller. Use it as ``with Pool.open() as pool``.
    """

    def __init__(self, folder: Path, threads: int, variables: Mapping[str, str] = MappingProxyType({})) -> None:
        self.folder = folder
        self._threads = threads
        self._variables = variables
        self._workers: dict[tuple[str, int], Worker] = {}
        self._starting: list[Worker] = []
        self._failed_starts: dict[tuple[str, int], int] = defaultdict(int)
        self._calculators: set[Calculator] = set()
        self._idle: list[Calculator] = []
        self._killed = False
        self._lock = threading.Lock()

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
        """Kill every process, for good; those who wait for an answer learn that it died."""
        self._killed = True
        for worker in [*self._workers.values(), *self._starting]:
            worker.kill()
        for calculator in list(self._calculators):
            calculator.kill()

    def close(self) -> None:
        """Kill every process and let go of what they held."""
        while self._workers:
            self._workers.popitem()[1].close()
        while self._calculators:
            self._calculators.pop().close()

    def worker(self, backend: Backend, number: int = 0) -> Worker:
        """The backend's living worker of that number; raises as ``Worker`` does."""
        key = backend.name, number
        if key not in self._workers:
            folder = self.folder / f"own-{backend.name}-{number}"
            folder.mkdir(exist_ok=True)
            variables = {**self._variables, **own_folder(folder)}
            begun: list[Worker] = []
            try:
                worker = Worker(backend, self._threads, variables=variables, begun=partial(self._begun, begun))
            except EnvironmentBroken:
                self._failed_starts[key] += 1
                raise
            finally:
                for each in begun:
                    self._starting.remove(each)
            self._failed_starts[key] = 0
            self._workers[key] = worker
        return self._workers[key]

    def _begun(self, begun: list[Worker], worker: Worker) -> None:
        """Note a process that has begun, so that ``kill`` reaches it before it has answered."""
        begun.append(worker)
        self._starting.append(worker)
        if self._killed:  # while the process was made
            worker.kill()

    def pids(self) -> dict[str, int]:
        """The process ids of the living workers numbered 0, by backend."""
        return {name: worker.pid for (name, number), worker in self._workers.items() if number == 0}

    def ask(
        self, backend: Backend, request: WorkerRequest[Answer], timeout_seconds: float, number: int = 0
    ) -> Answer | NotDone:
        """Ask a backend's worker; a death, or that no other one starts, becomes a reply with status ``crashed`` or
        ``timed out``, and the log's end.
        """
        key = backend.name, number
        if self._killed or self._failed_starts[key] >= MOST_STARTS:
            return NotDone(WorkerDied.status, f"no worker of {backend.name} starts any more")
        try:
            return self.worker(backend, number).ask(request, timeout_seconds)
        except (EnvironmentBroken, EnvironmentMissing) as error:
            return NotDone(WorkerDied.status, str(error))
        except WorkerDied as error:
            self._workers.pop(key, None)
            return NotDone(error.status, str(error), error.log)

    def distrust(self, backend: Backend, text: str, number: int = 0) -> NotDone:
        """Kill a worker whose files are not what was asked for; a reply with status ``crashed``."""
        worker = self._workers.pop((backend.name, number), None)
        died = WorkerDied(text, "") if worker is None else worker.distrust(f"the worker broke the protocol: {text}")
        return NotDone(died.status, str(died), died.log)

    def compute(self, timeout_seconds: float, function: Callable[..., Result], *arguments: Any) -> Result:
        """``function(*arguments)``, of a module of this suite, in a process that ``kill`` ends; what it raises comes
        through.

        Raises
        ------
        CalculationEnded
            If it takes longer, or its process dies.
        """
        with self._lock:
            calculator = self._idle.pop() if self._idle else None
        if calculator is None:
            calculator = Calculator()
            with self._lock:
                self._calculators.add(calculator)
        if self._killed:  # while the process started
            calculator.kill()
        try:
            result = calculator.compute(timeout_seconds, function, *arguments)
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, CalculationEnded):
                self._idle.append(calculator)  # the function raised it; its process is well
            else:
                self._calculators.discard(calculator)
                calculator.close()
            raise
        self._idle.append(calculator)
        return result


@dataclass(frozen=True)
class Channel:
    """One of a backend's workers in a pool, with files that it alone reads and writes."""

    pool: Pool
    backend: Backend
    number: int

    def ask(self, request: WorkerRequest[Answer], timeout_seconds: float) -> Answer | NotDone:
        """Ask the worker, as ``Pool.ask`` does."""
        return self.pool.ask(self.backend, request, timeout_seconds, self.number)

    def distrust(self, text: str) -> NotDone:
        """Kill the worker, as ``Pool.distrust`` does."""
        return self.pool.distrust(self.backend, text, self.number)

    def file(self, name: str) -> Path:
        """A path in the exchange folder."""
        return self.pool.folder / f"{self.backend.name}-{self.number}-{name}"


def _last_line(log: str) -> str:
    """The last line of a log."""
    lines = log.strip().splitlines()
    return lines[-1].strip() if lines else "nothing was logged"
