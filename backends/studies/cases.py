"""Run cases in implementations, each framework in its worker, and judge what comes back.

Every implementation is called twice on the same object, and its forward pass alone is judged too. Where that is a
program of its own to compile (``Framework.compiles``), only the first case of each cell asks for it, of the built-in
ones a stacked and ragged one with all there is: it would take as long as everything else otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from backends.interface.framework import LANES, uses_tf32
from backends.interface.gaps import DECLINED
from backends.pool.calculator import CalculationEnded
from backends.pool.pool import Channel, NoAnswer, Pool
from backends.pool.selection import Selection
from backends.studies.sources import sources_of
from backends.studies.study import RAN, Outcome, Study
from backends.worker import messages
from backends.worker.messages import NotDone
from common.case import Case, write_case
from common.errors import InputError
from common.judging.agreement import NOT_JUDGED, Verdict
from common.judging.explanation import Explanation, explained
from common.judging.trial import OTHERS, judge_trial, other_paddings
from common.judging.yardstick import Yardstick, without_gradients, yardstick
from common.reference import Arrays
from common.result import Result, ResultHeader, read_header, read_result, result_path, write_result


@dataclass(frozen=True)
class Plan:
    """What to run: every case in every selected implementation and dtype.

    ``files`` has the files of cases that were read from one, by name; others are written for the workers. ``out`` is
    the folder for result files or None; ``judged`` whether results are held against the reference;
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
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def tf32(self) -> bool:
        """Whether float32 may be multiplied as TF32."""
        return uses_tf32(self.device, self.lane)


@dataclass(frozen=True)
class CaseFile:
    """A case as workers read it, with the hash that their results must name."""

    path: Path
    name: str
    sha256: str


class CaseStudy(Study[Case]):
    """Runs a plan; parameters but for the plan are those of ``Study``."""

    def __init__(self, pool: Pool, selection: Selection, plan: Plan, report: Callable[[Outcome], None]) -> None:
        super().__init__(pool, selection, plan.cases, plan.dtypes, plan.device, plan.timeout_seconds, report)
        self._plan = plan
        self._sources: dict[str, str] = {}
        first = {(case.spec.cell, case.spec.reset_after): case.name for case in reversed(plan.cases)}
        self._forward = set(first.values())
        """The cases whose forward pass alone is judged in every framework."""

    def _prepare(self) -> None:
        """Write the cases' files, and read the sources that compute them."""
        self._files = {case.name: self._file_of(case) for case in self._plan.cases}
        self._varied = {case.name: self._write_with_other_paddings(case) for case in self._plan.cases}
        if self._plan.out is not None:
            self._sources = sources_of(self._selection)

    def _file_of(self, case: Case) -> CaseFile:
        path = self._plan.files.get(case.name)
        return self._write(case, "") if path is None else CaseFile(path, case.name, case.sha256())

    def _write(self, case: Case, suffix: str) -> CaseFile:
        path = self._pool.folder / f"case{suffix}-{case.sha256()}.safetensors"
        write_case(case, path, durable=False)
        return CaseFile(path, case.name, case.sha256())

    def _write_with_other_paddings(self, case: Case) -> dict[str, CaseFile]:
        """The case's file again with other padding, by what is in it, where results are judged."""
        cases = other_paddings(case) if self._plan.judged else {}
        return {what: self._write(other, f"-padding-{number}") for number, (what, other) in enumerate(cases.items())}

    def _run_one(self, channel: Channel, case: Case, implementation: str, dtype: str) -> Outcome:
        kept = self._kept(channel, case, implementation, dtype)
        if kept is not None:
            return kept
        result, others = self._ask(channel, self._files[case.name], implementation, dtype, self._plan.judged)
        if self._plan.out is not None:
            header = result.header.model_copy(update={"source": self._sources[result.header.implementation]})
            write_result(
                replace(result, header=header),
                result_path(self._plan.out, case.name, result.header.implementation, dtype),
            )
        details: dict[str, Any] = {"seconds": result.header.seconds, "path": result.header.path}
        details["no_gradients"] = self._no_gradients(channel, case, implementation)
        if not self._plan.judged:
            return self._outcome(channel, case, implementation, dtype, RAN, **details)
        try:
            verdict = self._judge(channel, case, (implementation, dtype), result, others)
        except CalculationEnded as error:
            reason = f"the reference, which --timeout bounds too, {error}"
            return self._outcome(channel, case, implementation, dtype, NOT_JUDGED, reason, **details)
        return self._judged(channel, case, implementation, dtype, verdict, **details)

    def _judge(
        self, channel: Channel, case: Case, group: tuple[str, str], result: Result, others: Mapping[str, Result]
    ) -> Verdict:
        """The verdict on a result, on what else was given, and on the case with other padding."""
        yard = self._yardstick(case, group[1])
        if self._no_gradients(channel, case, group[0]):
            yard = without_gradients(yard)

        def with_padding(file: CaseFile) -> Arrays | None:
            try:
                return self._ask(channel, file, *group)[0].tensors
            except NoAnswer as error:
                if error.reply.status in DECLINED:
                    return None
                raise NoAnswer(replace(error.reply, reason=f"with other padding: {error.reply.reason}")) from None

        return judge_trial(
            result.tensors,
            yard,
            explain=explainer(self._pool, self._plan.timeout_seconds),
            others=lambda: {name: other.tensors for name, other in others.items()},
            paddings={what: partial(with_padding, file) for what, file in self._varied[case.name].items()},
        )

    def _no_gradients(self, channel: Channel, case: Case, implementation: str) -> str:
        """Why an implementation computes none of the gradients that a case asks for; empty where it does, or the case
        asks for none.
        """
        reasons = self._selection.descriptions[channel.backend.name].forward_only
        return reasons.get(implementation, "") if case.cotangents else ""

    def _yardstick(self, case: Case, dtype: str) -> Yardstick:
        return self._reference((case.name, dtype), yardstick, case, dtype, self._plan.tf32)

    def _ask(
        self, channel: Channel, file: CaseFile, implementation: str, dtype: str, others: bool = False
    ) -> tuple[Result, dict[str, Result]]:
        """Run a case file; with ``others``, also what ``OTHERS`` names, a forward pass alone on few cases where it has
        to be compiled: the second part has the results that are not equal to the first.

        Raises ``NoAnswer`` where there is no result, or one of something else.
        """
        path = channel.file("result.safetensors")
        path.unlink(missing_ok=True)  # of a worker that died when it had written it
        request = messages.RunCase(
            case=file.path,
            implementation=implementation,
            dtype=dtype,
            device=self._plan.device,
            lane=self._plan.lane,
            result=path,
            others={name: channel.file(f"{name}.safetensors") for name in OTHERS} if others else None,
            forward=others and file.name in self._forward,
            gradients=implementation not in self._selection.descriptions[channel.backend.name].forward_only,
        )
        reply = channel.ask(request, self._plan.timeout_seconds)
        if isinstance(reply, NotDone):
            raise NoAnswer(reply)
        try:
            result = read_result(path)
            different = read_others(channel, reply.others, result.header) if others else {}
        except InputError as error:
            raise NoAnswer(channel.distrust(str(error))) from None
        header = result.header
        got = (header.case, header.case_sha256, header.implementation, header.dtype, header.device)
        wanted = (file.name, file.sha256, f"{channel.backend.name}/{implementation}", dtype, self._plan.device)
        if got != wanted:
            raise NoAnswer(channel.distrust(f"its result must be of {', '.join(wanted)}; got {', '.join(got)}"))
        return result, different

    def _kept(self, channel: Channel, case: Case, implementation: str, dtype: str) -> Outcome | None:
        """The outcome for a result file that an earlier run left, or None when there is none that fits."""
        if not self._plan.resumed or self._plan.out is None:
            return None
        name = f"{channel.backend.name}/{implementation}"
        path = result_path(self._plan.out, case.name, name, dtype)
        try:
            header = read_header(path)
        except InputError:  # not there, or torn: the new result takes its place
            return None
        versions = self._selection.descriptions[channel.backend.name].versions
        wanted = (case.sha256(), name, dtype, self._plan.device, versions, self._sources[name])
        there = (header.case_sha256, header.implementation, header.dtype, header.device, header.versions, header.source)
        if there != wanted:
            return None
        details: dict[str, Any] = {"seconds": header.seconds, "path": header.path}
        details["no_gradients"] = self._no_gradients(channel, case, implementation)
        return self._outcome(channel, case, implementation, dtype, RAN, "kept from an earlier run", **details)


def explainer(pool: Pool, timeout_seconds: float) -> Callable[[Arrays, Yardstick], Explanation | None]:
    """A function that explains a wrong result in a process that can be stopped; None when the time is over."""

    def explain(tensors: Arrays, yard: Yardstick) -> Explanation | None:
        try:
            return pool.compute(timeout_seconds, explained, tensors, yard)
        except CalculationEnded:
            return None

    return explain


def read_others(channel: Channel, names: Sequence[str] | None, header: ResultHeader) -> dict[str, Result]:
    """What a worker says that it has given besides, read; an ``InputError`` where that is not of the same run."""
    if names is None or not set(names) <= set(OTHERS):
        raise InputError(f"a reply must name which of {', '.join(OTHERS)} differ; got {names!r}")
    others = {name: read_result(channel.file(f"{name}.safetensors")) for name in names}
    for name, other in others.items():
        if other.header != header:
            raise InputError(f"{OTHERS[name]} must be of the run that it was asked with; got another's result")
    return others
