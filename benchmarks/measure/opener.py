"""Open an implementation in its worker and judge its first call, before a contest times it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from backends.pool.calculator import CalculationEnded
from backends.pool.pool import Pool
from backends.registry import Backend
from backends.worker.messages import Answer, CloseWork, NotDone, OpenWork, WorkerRequest
from backends.worker.opening import files_sha256
from benchmarks.machine.company import Company
from benchmarks.measure.case_on_disk import opening
from benchmarks.measure.failures import Failure, failure_of
from benchmarks.measure.judging import Judge, SystemJudge
from benchmarks.measure.settings import Job
from benchmarks.store.records import NOT_JUDGED, Key
from common.errors import InputError
from common.judging.trial import TAME
from common.reference import Arrays
from common.result import read_result


class _Failed(Exception):
    """An implementation that gave one result gave no second one."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


@dataclass
class Facts:
    """What opening an implementation told: what the row of its key holds besides times."""

    build_seconds: float
    first_call_seconds: float
    path: str
    peak_host_bytes: int | None
    peak_device_bytes: int | None
    error_rms: float | None = None
    error_max: float | None = None


@dataclass
class Runner:
    """An opened implementation; ``twin`` is 1 for the second of the A/A pair."""

    key: Key
    twin: int
    backend: Backend
    warm: list[float]
    timed: list[float] = field(default_factory=list)
    steady: bool = False

    @property
    def handle(self) -> str:
        """The name of what is opened in the worker."""
        return f"{self.key.implementation}#{self.twin}"


@dataclass
class ContestResult:
    """What a contest found out, by key: facts, failures, kernels, who never got steady; why it stopped; who else was at
    work meanwhile.
    """

    facts: dict[Key, Facts] = field(default_factory=dict)
    failures: dict[Key, Failure] = field(default_factory=dict)
    kernels: dict[Key, list[str]] = field(default_factory=dict)
    unsteady: set[Key] = field(default_factory=set)
    stop: str = ""
    company: Company | None = None


class Opener:
    """Opens and judges the implementations of one job.

    Parameters
    ----------
    pool
        The workers.
    job, judge
        What is timed, and its judge.
    timeout_seconds
        After which a call to a worker is killed.
    result
        Facts and failures are noted there.
    """

    def __init__(
        self, pool: Pool, job: Job, judge: Judge | SystemJudge, timeout_seconds: float, result: ContestResult
    ) -> None:
        self._pool, self._job, self._judge = pool, job, judge
        self._timeout, self.result = timeout_seconds, result

    def open(self, runner: Runner, judged: bool) -> bool:
        """Open an implementation in its worker; False, and a failure noted, when that cannot be."""
        result = self._pool.folder / "result.safetensors"
        result.unlink(missing_ok=True)  # of a worker that died when it had written it
        try:
            return self._opened(runner, judged, result)
        except CalculationEnded as error:
            reason = f"the reference, which --timeout bounds too, {error}"
            self.result.failures[runner.key] = Failure(NOT_JUDGED, reason)
            self.ask(runner, CloseWork(handles=(runner.handle,)))
            return False

    def _opened(self, runner: Runner, judged: bool, result: Path) -> bool:
        """Open an implementation and judge its first call; whether it may be timed."""
        request = self._request(runner, runner.handle, result if judged else None)
        reply = self.ask(runner, request)
        if isinstance(reply, NotDone):
            self.result.failures[runner.key] = failure_of(reply)
            return False
        facts = Facts(
            reply.build_seconds,
            reply.first_call_seconds,
            reply.path,
            reply.peak_host_bytes,
            reply.peak_device_bytes,
        )
        if runner.twin == 0:
            self.result.facts.setdefault(runner.key, facts)
        if judged and (failure := self._disagreement(runner, request, result, facts)) is not None:
            self.result.failures[runner.key] = failure
            self.ask(runner, CloseWork(handles=(runner.handle,)))
            return False
        runner.warm = reply.samples
        return True

    def _disagreement(self, runner: Runner, request: OpenWork, result: Path, facts: Facts) -> Failure | None:
        """Judge the first call's results, and that the padding has no influence on them; the errors go to ``facts``."""
        tensors = self._taken(runner, request, result)
        if isinstance(tensors, Failure):
            return tensors
        paddings = {TAME: partial(self._with_other_padding, runner, result)}
        try:
            verdict = self._judge.judge(
                self._job.passed, self._job.dtype, tensors, paddings if self._judge.is_padded(self._job.passed) else {}
            )
        except _Failed as ended:
            return ended.failure
        facts.error_rms, facts.error_max = verdict.worst("rms"), verdict.worst("max")
        return None if verdict.agrees else Failure(verdict.status, "; ".join(verdict.reasons))

    def _with_other_padding(self, runner: Runner, result: Path) -> Arrays:
        """The tensors of the case with other numbers in its padding; ``_Failed`` when there are none."""
        handle = "other padding"
        request = self._request(runner, handle, result, other_padding=True)
        reply = self.ask(runner, request)
        if isinstance(reply, NotDone):
            raise _Failed(failure_of(reply))
        tensors = self._taken(runner, request, result)
        if isinstance(tensors, Failure):
            raise _Failed(tensors)
        self.ask(runner, CloseWork(handles=(handle,)))
        return tensors

    def _taken(self, runner: Runner, request: OpenWork, path: Path) -> Arrays | Failure:
        """The tensors of the result that a request asked for, whose file is removed; a failure, and the worker's end,
        when it is not that.
        """
        try:
            result = read_result(path)
        except InputError as error:
            return failure_of(self._pool.distrust(runner.backend, str(error)))
        path.unlink()
        key, header = runner.key, result.header
        got = (header.case_sha256, header.implementation, header.dtype, header.device)
        wanted = (files_sha256(request), key.implementation, key.dtype, key.device)
        if got != wanted:
            reason = f"its result must be of {', '.join(wanted)}; got {', '.join(got)}"
            return failure_of(self._pool.distrust(runner.backend, reason))
        return result.tensors

    def _request(self, runner: Runner, handle: str, result: Path | None, other_padding: bool = False) -> OpenWork:
        """The request to open a runner's implementation."""
        name = runner.key.implementation.partition("/")[2]
        folder = self._pool.folder
        return opening(self._judge, self._job, name, handle, folder, result=result, other_padding=other_padding)

    def ask(self, runner: Runner, request: WorkerRequest[Answer]) -> Answer | NotDone:
        """The reply of a runner's worker."""
        return self._pool.ask(runner.backend, request, self._timeout)
