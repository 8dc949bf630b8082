"""Result files that somebody else wrote, judged as a study judges what its workers give.

What a file cannot show is not judged: a second call on the same object, a forward pass alone, and other padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backends.interface.framework import LANES, uses_tf32
from backends.interface.gaps import DEVICES
from backends.pool.calculator import CalculationEnded, Once
from backends.pool.pool import Pool
from backends.studies.cases import explainer
from backends.studies.study import Outcome
from common.case import Case
from common.errors import InputError, shown
from common.judging.agreement import DISAGREES, NOT_JUDGED, Verdict, judge
from common.judging.precision import DTYPES
from common.judging.trial import judge_trial
from common.judging.yardstick import Yardstick, of_tensors, yardstick
from common.reference import Arrays
from common.result import Result, read_result
from common.terminal import plain

FORWARD = ("output", "h_n", "c_n")
"""The tensors of a result without gradients."""


@dataclass(frozen=True)
class ResultFile:
    """One result with the file that it was read from."""

    path: Path
    result: Result


def read_result_of(case: Case, path: Path) -> ResultFile:
    """Read a result file that must be of a case.

    Raises
    ------
    InputError
        If it is no result file, or another case's, or of a dtype or device that is not known here; or if it has none of
        the tensors of a result, or one that is not of floating-point numbers.
    """
    result = read_result(path)
    header = result.header
    if (header.case, header.case_sha256) != (case.name, case.sha256()):
        raise InputError(
            f"{path}: must be of the case {shown(case.name)} with the sha256 {case.sha256()}; "
            f"got {shown(header.case)} with {shown(header.case_sha256, 70)}"
        )
    for name, value, allowed in (("dtype", header.dtype, DTYPES), ("device", header.device, DEVICES)):
        if value not in allowed:
            raise InputError(f"{path}: {name} must be one of {', '.join(allowed)}; got {shown(value)}")
    if not 0 <= header.seconds < math.inf:
        raise InputError(f"{path}: seconds must be finite and not below 0; got {header.seconds}")
    if not header.implementation.strip() or plain(header.implementation) != header.implementation:
        raise InputError(f"{path}: implementation must be a name; got {shown(header.implementation)}")
    for name, tensor in result.tensors.items():
        if tensor.dtype.name not in DTYPES:
            raise InputError(f"{path}: {shown(name)} must be one of {', '.join(DTYPES)}; got {tensor.dtype.name}")
    if not any(name in result.tensors for name in FORWARD):
        raise InputError(
            f"{path}: must have tensors of a forward pass, {', '.join(FORWARD)}; got {shown(sorted(result.tensors))}"
        )
    return ResultFile(path, result)


def read_results_of(case: Case, paths: Sequence[Path]) -> list[ResultFile]:
    """Read result files of a case; an ``InputError`` when two are of one implementation and dtype."""
    files: dict[tuple[str, str], ResultFile] = {}
    for path in paths:
        file = read_result_of(case, path)
        key = (file.result.header.implementation, file.result.header.dtype)
        if key in files:
            raise InputError(
                f"{path}: must be of an implementation and dtype of its own; {files[key].path} is of "
                f"{' '.join(key)}, too"
            )
        files[key] = file
    return list(files.values())


def judge_files(
    case: Case, files: Sequence[ResultFile], lane: str, timeout_seconds: float, report: Callable[[Outcome], None]
) -> None:
    """Judge result files of a case, one after the other; every outcome is handed to ``report``.

    ``lane`` is the precision lane that they were computed in; ``timeout_seconds`` bounds the reference, and what
    explains a result.
    """
    if lane not in LANES:
        raise InputError(f"lane must be {' or '.join(LANES)}; got {shown(lane)}")
    with Pool.open() as pool:
        reference = Once(pool.compute, timeout_seconds)

        for file in files:
            header = file.result.header
            tf32 = uses_tf32(header.device, lane)
            outcome = Outcome(
                case.name, header.implementation, header.dtype, header.device, NOT_JUDGED, path=header.path
            )
            outcome = replace(outcome, seconds=header.seconds)
            try:
                yard = reference((header.dtype, tf32), yardstick, case, header.dtype, tf32)
            except CalculationEnded as error:
                reason = f"the reference, which --timeout bounds, {error}"
                report(replace(outcome, reason=reason))
                continue
            verdict = judge_trial(
                file.result.tensors, yard, judge=judge_what_is_there, explain=explainer(pool, timeout_seconds)
            )
            report(replace(outcome, status=verdict.status, reason="; ".join(verdict.reasons), verdict=verdict))


def judge_what_is_there(result: Arrays, yard: Yardstick) -> Verdict:
    """Judge a result of which tensors may be missing: it may disagree, and where it does not it is not judged, since
    nobody has seen them.
    """
    missing = [name for name in yard.truth if name not in result]
    if not missing:
        return judge(result, yard)
    there = [name for name in yard.truth if name in result]
    verdict = judge(result, of_tensors(yard, there))
    gradients = [name for name in yard.truth if name.startswith("grad.")]
    if set(gradients) <= set(missing):
        missing = [*(name for name in missing if name not in gradients), *(["gradients"] if gradients else [])]
    absent = f"the result must have {', '.join(missing)}, which nothing is known of"
    if verdict.status == DISAGREES:
        return replace(verdict, reasons=[*verdict.reasons, absent])
    reasons = [f"{absent}; what it has agrees: {', '.join(there)}"] if verdict.agrees else [*verdict.reasons, absent]
    return replace(verdict, agrees=False, judged=False, reasons=reasons)
