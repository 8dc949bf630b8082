"""Run cases in implementations, each framework in its worker, and judge what comes back.

Every implementation is called twice on the same object, and its forward pass alone is judged too. Where that is a
program of its own to compile (``Framework.compiles``), only the first case of each cell asks for it, of the built-in
ones a stacked and ragged one with all there is: it would take as long as everything else otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from backends.interface.framework import LANES, uses_tf32
from backends.interface.gaps import DECLINED
from backends.pool.calculator import CalculationEnded, Once
from backends.pool.pool import Channel, Pool
from backends.pool.schedule import share_out
from backends.pool.selection import Selection
from backends.registry import Backend
from backends.studies.sources import sources_of
from common.case import Case, write_case
from common.errors import InputError
from common.judging.agreement import AGREES, NOT_JUDGED, Verdict
from common.judging.explanation import Explanation, explained
from common.judging.trial import OTHERS, judge_trial, other_paddings
from common.judging.yardstick import Yardstick, yardstick
from common.reference import Arrays
from common.result import Result, ResultHeader, read_header, read_result, result_path, write_result

RAN, FAILED = "ran", "failed"
GOOD = (AGREES, RAN, *DECLINED)


@dataclass(frozen=True)
class Outcome:
    """What became of one case in one implementation and dtype.

    ``status`` is agrees, disagrees, not judged (nothing could be told), ran (nothing was to be judged), unsupported,
    not offered (it would be slower than what is there), failed (an exception), crashed or timed out; ``reason`` says
    why where it is not agrees or ran; ``log`` is the end of the worker's log where it died.
    """

    case: str
    implementation: str
    dtype: str
    device: str
    status: str
    reason: str = ""
    log: str = ""
    seconds: float = 0.0
    path: str = ""
    verdict: Verdict | None = None

    @property
    def wrong(self) -> bool:
        """Whether this is a failure."""
        return self.status not in (*GOOD, NOT_JUDGED)

    @property
    def declined(self) -> bool:
        """Whether the implementation has declared that it does not do this."""
        return self.status in DECLINED

    @property
    def good(self) -> bool:
        """Whether nothing is left open: what is declared is no failure, and what could not be judged is no success."""
        return self.status in GOOD

    def as_json(self) -> dict[str, Any]:
        found = {name: value for name, value in vars(self).items() if name != "verdict"}
        return found | {"verdict": None if self.verdict is None else self.verdict.as_json()}


@dataclass(frozen=True)
class Plan:
    """What to run: every case in every selected implementation and dtype.

    ``out`` is the folder for result files or None; ``judged`` whether results are held against the reference;
    ``resumed`` whether a result file that is there already, of the same case, versions, source and device, is kept
    instead of run again; ``lane`` is the precision lane, one of ``backends.interface.framework.LANES``.
    """

    cases: Sequence[Case]
    dtypes: Sequence[str]
    device: str
    timeout_seconds: float
    out: Path | None = None
    judged: bool = True
    resumed: bool = False
    lane: str = LANES[0]

    @property
    def tf32(self) -> bool:
        """Whether float32 may be multiplied as TF32."""
        return uses_tf32(self.device, self.lane)

    def size(self, selection: Selection) -> int:
        """How many outcomes there will be."""
        count = sum(len(names) for names in selection.implementations.values())
        return count * len(self.cases) * len(self.dtypes)


class _Ended(Exception):
    """A worker gave no result where it had given one; ``reply`` is what it said, or the pool for it."""

    def __init__(self, reply: Mapping[str, Any]) -> None:
        super().__init__(reply["reason"])
        self.reply = reply


@dataclass(frozen=True)
class _CaseFile:
    """A case as workers read it, with the hash that their results must name."""

    path: Path
    name: str
    sha256: str


class Study:
    """Runs a plan; every outcome is handed to ``report`` as soon as it is there.

    Parameters
    ----------
    pool
        The workers.
    selection
        What ``backends.pool.selection.select`` found.
    plan
        What to run.
    report
        Called with each outcome, one at a time.
    """

    def __init__(self, pool: Pool, selection: Selection, plan: Plan, report: Callable[[Outcome], None]) -> None:
        self._pool = pool
        self._selection = selection
        self._plan = plan
        self._report = report
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._reference = Once(pool.compute, plan.timeout_seconds)
        self._sources: dict[str, str] = {}
        first = {(case.spec.cell, case.spec.reset_after): case.name for case in reversed(plan.cases)}
        self._forward = set(first.values())
        """The cases whose forward pass alone is judged in every framework."""

    def run(self) -> None:
        """Run everything, frameworks side by side; Ctrl-C stops the workers and comes through."""
        files = {case.name: self._write(case, "") for case in self._plan.cases}
        varied = {case.name: self._write_with_other_paddings(case) for case in self._plan.cases}
        if self._plan.out is not None:
            self._sources = sources_of(self._selection)
        groups = {
            name: [(implementation, dtype) for dtype in self._plan.dtypes for implementation in chosen]
            for name, chosen in self._selection.implementations.items()
        }
        share_out(self._pool, groups, partial(self._run_group, files, varied), self._stopped)

    def _write(self, case: Case, suffix: str) -> _CaseFile:
        path = self._pool.folder / f"case{suffix}-{case.sha256()}.safetensors"
        write_case(case, path, durable=False)
        return _CaseFile(path, case.name, case.sha256())

    def _write_with_other_paddings(self, case: Case) -> dict[str, _CaseFile]:
        """The case's file again with other padding, by what is in it, where results are judged."""
        cases = other_paddings(case) if self._plan.judged else {}
        return {what: self._write(other, f"-padding-{number}") for number, (what, other) in enumerate(cases.items())}

    def _run_group(
        self,
        files: dict[str, _CaseFile],
        varied: dict[str, dict[str, _CaseFile]],
        channel: Channel,
        group: tuple[str, str],
    ) -> None:
        for case in self._plan.cases:
            if self._stopped.is_set():
                return
            outcome = self._run_one(channel, case, *group, files[case.name], varied[case.name])
            if not self._stopped.is_set():
                with self._lock:
                    self._report(outcome)

    def _run_one(
        self,
        channel: Channel,
        case: Case,
        implementation: str,
        dtype: str,
        file: _CaseFile,
        varied: Mapping[str, _CaseFile],
    ) -> Outcome:
        backend = channel.backend
        kept = self._kept(backend, case, implementation, dtype)
        if kept is not None:
            return kept
        judged = self._plan.judged
        reply, result = self._ask(
            channel, file, implementation, dtype, others=judged, forward=case.name in self._forward
        )
        if result is None:
            return self._outcome(
                backend, case, implementation, dtype, reply["status"], reply["reason"], log=reply.get("log", "")
            )
        if self._plan.out is not None:
            header = result.header.model_copy(update={"source": self._sources[result.header.implementation]})
            write_result(
                replace(result, header=header),
                result_path(self._plan.out, case.name, result.header.implementation, dtype),
            )
        details: dict[str, Any] = {"seconds": result.header.seconds, "path": result.header.path}
        if not self._plan.judged:
            return self._outcome(backend, case, implementation, dtype, RAN, **details)
        try:
            verdict = self._judge(channel, case, (implementation, dtype), result, reply["others"], varied)
        except CalculationEnded as error:
            reason = f"the reference, which --timeout bounds too, {error}"
            return self._outcome(backend, case, implementation, dtype, NOT_JUDGED, reason, **details)
        except _Ended as ended:
            reason = f"with other padding: {ended.reply['reason']}"
            log = ended.reply.get("log", "")
            return self._outcome(backend, case, implementation, dtype, ended.reply["status"], reason, log=log)
        return self._outcome(
            backend, case, implementation, dtype, verdict.status, "; ".join(verdict.reasons), verdict=verdict, **details
        )

    def _judge(
        self,
        channel: Channel,
        case: Case,
        group: tuple[str, str],
        result: Result,
        others: Mapping[str, Result],
        varied: Mapping[str, _CaseFile],
    ) -> Verdict:
        """The verdict on a result, on what else was given, and on the case with other padding."""

        def with_padding(file: _CaseFile) -> Arrays | None:
            reply, again = self._ask(channel, file, *group)
            if again is None and reply["status"] not in DECLINED:
                raise _Ended(reply)
            return None if again is None else again.tensors

        return judge_trial(
            result.tensors,
            self._yardstick(case, group[1]),
            explain=explainer(self._pool, self._plan.timeout_seconds),
            others=lambda: {name: other.tensors for name, other in others.items()},
            paddings={what: partial(with_padding, file) for what, file in varied.items()},
        )

    def _yardstick(self, case: Case, dtype: str) -> Yardstick:
        return self._reference((case.name, dtype), yardstick, case, dtype, self._plan.tf32)

    def _ask(
        self,
        channel: Channel,
        file: _CaseFile,
        implementation: str,
        dtype: str,
        others: bool = False,
        forward: bool = False,
    ) -> tuple[dict[str, Any], Result | None]:
        """Run a case file; with ``others``, also what ``OTHERS`` names, ``forward`` in every framework or only where
        nothing is compiled for it: the reply then has their results where they are not equal to the first.
        """
        path = channel.file("result.safetensors")
        path.unlink(missing_ok=True)  # of a worker that died when it had written it
        request: dict[str, Any] = {
            "op": "run",
            "case": str(file.path),
            "implementation": implementation,
            "dtype": dtype,
            "device": self._plan.device,
            "lane": self._plan.lane,
            "result": str(path),
        }
        if others:
            paths = {name: str(channel.file(f"{name}.safetensors")) for name in OTHERS}
            request |= {"others": paths, "forward": forward}
        reply = channel.ask(request, self._plan.timeout_seconds)
        if reply["status"] != "done":
            return reply, None
        try:
            result = read_result(path)
            if others:
                reply["others"] = read_others(channel, reply.get("others"), result.header)
        except InputError as error:
            return channel.distrust(str(error)), None
        header = result.header
        found = (header.case, header.case_sha256, header.implementation, header.dtype, header.device)
        wanted = (file.name, file.sha256, f"{channel.backend.name}/{implementation}", dtype, self._plan.device)
        if found != wanted:
            return channel.distrust(f"its result must be of {', '.join(wanted)}; got {', '.join(found)}"), None
        return reply, result

    def _kept(self, backend: Backend, case: Case, implementation: str, dtype: str) -> Outcome | None:
        """The outcome for a result file that an earlier run left, or None when there is none that fits."""
        if not self._plan.resumed or self._plan.out is None:
            return None
        name = f"{backend.name}/{implementation}"
        path = result_path(self._plan.out, case.name, name, dtype)
        try:
            header = read_header(path)
        except InputError:  # not there, or torn: the new result takes its place
            return None
        versions = self._selection.descriptions[backend.name]["versions"]
        wanted = (case.sha256(), name, dtype, self._plan.device, versions, self._sources[name])
        there = (header.case_sha256, header.implementation, header.dtype, header.device, header.versions, header.source)
        if there != wanted:
            return None
        details: dict[str, Any] = {"seconds": header.seconds, "path": header.path}
        return self._outcome(backend, case, implementation, dtype, RAN, "kept from an earlier run", **details)

    def _outcome(
        self, backend: Backend, case: Case, implementation: str, dtype: str, status: str, reason: str = "", **rest: Any
    ) -> Outcome:
        name = f"{backend.name}/{implementation}"
        return Outcome(case.name, name, dtype, self._plan.device, status, reason, **rest)


def explainer(pool: Pool, timeout_seconds: float) -> Callable[[Arrays, Yardstick], Explanation | None]:
    """A function that explains a wrong result in a process that can be stopped; None when the time is over."""

    def explain(tensors: Arrays, yard: Yardstick) -> Explanation | None:
        try:
            return pool.compute(timeout_seconds, explained, tensors, yard)
        except CalculationEnded:
            return None

    return explain


def read_others(channel: Channel, names: Any, header: ResultHeader) -> dict[str, Result]:
    """What a worker says that it has given besides, read; an ``InputError`` where that is not of the same run."""
    if not isinstance(names, list) or not set(names) <= set(OTHERS):
        raise InputError(f"a reply must name which of {', '.join(OTHERS)} differ; got {names!r}")
    others = {name: read_result(channel.file(f"{name}.safetensors")) for name in names}
    for name, other in others.items():
        if other.header != header:
            raise InputError(f"{OTHERS[name]} must be of the run that it was asked with; got another's result")
    return others
