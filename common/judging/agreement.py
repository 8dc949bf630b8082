"""Whether a result agrees with the reference: no fixed tolerance, but the plain loops' own error as the unit.

For each tensor the error against the truth is divided by the error of plain NumPy loops in the same precision on the
same case (as torch._dynamo.utils.same compares with an eager run). One plain loop can be lucky, so there are several
and the largest error counts, no less than what rounding the right answer once would cause. How many units correct code
may need comes from a calibration (benchmarks/maintain/calibrate.py, docs/calibration.md), whose limits are in
thresholds.json.

Where that many units are as large as the answer, zeros would agree: such a tensor cannot be told, and a verdict of
which nothing could be told is no agreement.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from common.case import Case
from common.judging.exact import broken_rules, direction_name, index_of
from common.judging.precision import epsilon, numpy_dtype
from common.judging.wider import wider_arithmetic
from common.judging.yardstick import Yardstick
from common.reference import Arrays

THRESHOLDS_FILE = Path(__file__).with_name("thresholds.json")
"""The file with the calibrated thresholds."""
MEASURES = ("rms", "max", "relative_l2")
"""The measures of a tensor's error."""
AGREES, DISAGREES, NOT_JUDGED = "agrees", "disagrees", "not judged"
"""The statuses of a verdict."""
TELLING = 4.0
"""How far below an answer's own size the limit on its error must lie for the answer to be told: zeros, and noise of
the right size, are then this many limits off."""


@dataclass(frozen=True)
class Measure:
    """One tensor's error, in units of the plain loops'; ``relative_l2`` is for gradients alone, else None.

    ``max_error`` is the largest absolute error and ``index`` where it is; ``untold`` says why the tensor cannot be
    told, empty where it can.
    """

    tensor: str
    rms: float
    max: float
    relative_l2: float | None
    max_error: float
    index: tuple[int, ...]
    untold: str = ""

    def exceeds(self, limits: dict[str, float]) -> bool:
        """Whether any measure is past its limit; a NaN in the result is. Never, where the tensor cannot be told."""
        if self.untold:
            return False
        values = zip(MEASURES, (self.rms, self.max, self.relative_l2), strict=True)
        return not all(value <= limits[name] for name, value in values if value is not None)

    def share(self, limits: dict[str, float]) -> float:
        """The largest part of a limit that a measure takes up; past 1 it is exceeded. Infinite for a NaN."""
        values = zip(MEASURES, (self.rms, self.max, self.relative_l2), strict=True)
        return max(_inf_if_nan(value / limits[name]) for name, value in values if value is not None)


@dataclass(frozen=True)
class Verdict:
    """Whether a result agrees.

    ``reasons`` are sentences; ``measures`` one for each tensor; ``where`` the place that first goes wrong;
    ``matches`` the known mistake that gives the same numbers, and in which part; ``nearest`` the best guesses where
    none does, each with the share of the error that it explains; ``judged`` is False where nothing could be told and
    nothing is known to be wrong, so that it neither agrees nor disagrees.
    """

    agrees: bool
    reasons: list[str] = field(default_factory=list)
    measures: list[Measure] = field(default_factory=list)
    where: str = ""
    matches: str = ""
    nearest: str = ""
    judged: bool = True

    @property
    def status(self) -> str:
        """``AGREES``, ``DISAGREES`` or ``NOT_JUDGED``."""
        return AGREES if self.agrees else DISAGREES if self.judged else NOT_JUDGED

    @property
    def untold(self) -> list[str]:
        """Sentences on the tensors that cannot be told."""
        return [f"{each.tensor} cannot be told: {each.untold}" for each in self.measures if each.untold]

    def worst(self, name: str) -> float:
        """The largest of one of ``MEASURES`` over the tensors that can be told, in units of the plain loops' error;
        NaN when there is none.
        """
        told = (each for each in self.measures if not each.untold)
        values = [value for each in told if (value := getattr(each, name)) is not None]
        return max(values, key=_inf_if_nan, default=float("nan"))

    def as_json(self) -> dict[str, Any]:
        """The verdict as a JSON object; numbers that JSON has no word for become text."""
        content = asdict(self) | {"untold": self.untold}
        for each in content["measures"]:
            for name, value in each.items():
                if isinstance(value, float) and not np.isfinite(value):
                    each[name] = str(value)
        return content


@cache
def thresholds() -> dict[str, dict[str, float]]:
    """The limits by dtype and measure, in units of the plain loop's error."""
    return _calibrated()["limits"]


@cache
def worst_calibrated() -> dict[str, dict[str, float]]:
    """The worst that correct code needed when the limits were calibrated, by dtype and measure, in the same units."""
    return _calibrated()["worst"]


def _calibrated() -> dict[str, Any]:
    """The content of the thresholds' file."""
    return json.loads(THRESHOLDS_FILE.read_text())


@dataclass(frozen=True)
class Units:
    """What one tensor's error is divided by, for each of ``MEASURES``, and the size of its right answer: the root mean
    square and the largest number.
    """

    rms: float
    max: float
    relative_l2: float
    size_rms: float
    size_max: float

    def untold(self, dtype: str) -> str:
        """Why the tensor cannot be told, empty where it can: by its root mean square, or by its largest number.

        A right answer of zeros that every plain loop gives exactly can be told: nothing else is right.
        """
        if not self.size_max <= float(ml_dtypes.finfo(numpy_dtype(dtype)).max):
            return "the right answer overflows"
        if not np.isfinite(self.max):
            return f"the plain loops overflow in {dtype}"
        if self.size_max == 0 == self.max:
            return ""
        limits = thresholds()[dtype]
        by_rms, by_max = limits["rms"] * self.rms, limits["max"] * self.max
        if TELLING * by_rms <= self.size_rms or TELLING * by_max <= self.size_max:
            return ""
        return (
            f"in {dtype} correct code may be {by_rms:.2g} (rms) and {by_max:.2g} (max) off, "
            f"which is not far below the answer's own {self.size_rms:.2g} and {self.size_max:.2g}"
        )


def units(name: str, yard: Yardstick) -> Units:
    """The units of one tensor's error, computed once for each yardstick."""
    if name not in yard.units:
        yard.units[name] = _computed_units(name, yard)
    return yard.units[name]


def _computed_units(name: str, yard: Yardstick) -> Units:
    """The units of one tensor's error."""
    truth, plain_error = yard.truth[name], yard.allowance(name)
    spacing = epsilon(yard.dtype)
    size_rms, size_max = _rms(truth), np.abs(truth).max()
    # Rounding once: uniform within half a spacing, so at most eps/2, and eps/√12 in the root mean square.
    rms = np.maximum(_rms(plain_error), spacing / np.sqrt(12) * size_rms)
    largest = np.maximum(plain_error.max(), spacing / 2 * size_max)
    l2 = np.maximum(_rms(plain_error), spacing * size_rms)
    return Units(rms, largest, l2, size_rms, size_max)


def measure(name: str, result: np.ndarray, yard: Yardstick) -> Measure:
    """Compare one tensor of a result with the truth, in units of the plain loops' error."""
    with np.errstate(all="ignore"):  # what is not finite is judged below
        unit = units(name, yard)
        error = np.abs(result.astype(yard.truth[name].dtype) - yard.truth[name])
        index = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), error.shape)
        untold = unit.untold(yard.dtype)
        if untold and not np.isfinite(error).all() and not _may_overflow(yard):
            untold = ""  # NaN and infinity are then wrong whatever may be told
        return Measure(
            tensor=name,
            rms=_ratio(_rms(error), unit.rms),
            max=_ratio(float(error.max()), unit.max),
            relative_l2=_ratio(_rms(error), unit.relative_l2) if name.startswith("grad.") else None,
            max_error=float(error.max()),
            index=tuple(int(i) for i in index),
            untold=untold,
        )


def judge(result: Arrays, yard: Yardstick) -> Verdict:
    """Hold a result against the truth and the exact rules, and against the case's own expected tensors."""
    verdict = judge_tensors(result, yard)
    if not verdict.measures:
        return verdict
    limits = thresholds()[yard.dtype]
    wrong = [each for each in verdict.measures if each.exceeds(limits)]
    more = broken_rules(result, yard.case) + wider_arithmetic(result, yard) + _unexpected(result, yard, limits)
    verdict = with_reasons(verdict, more)
    return replace(verdict, where=first_wrong(wrong, result, yard)) if wrong else verdict


def judge_tensors(result: Arrays, yard: Yardstick) -> Verdict:
    """Hold a result's tensors against the truth, each by itself; no measures where some are missing or misshapen."""
    reasons = _wrong_tensors(result, yard)
    if reasons:
        return Verdict(False, reasons)
    limits = thresholds()[yard.dtype]
    measures = [measure(name, result[name], yard) for name in yard.truth]
    reasons = [distance(each) for each in measures if each.exceeds(limits)]
    if reasons:
        return Verdict(False, reasons, measures)
    # A tensor of zeros tells nothing of code that returns zeros, so where others cannot be told it does not count.
    told = any(not each.untold and yard.truth[each.tensor].any() for each in measures)
    if told or not any(each.untold for each in measures):
        return Verdict(True, [], measures)
    untold = next(each for each in measures if each.untold)
    reason = f"nothing can be told on this case in {yard.dtype}; of {untold.tensor}: {untold.untold}"
    return Verdict(False, [reason], measures, judged=False)


def distance(measure: Measure) -> str:
    """A sentence on how far off a tensor is."""
    return (
        f"{measure.tensor} is {measure.rms:.3g} (rms) and {measure.max:.3g} (max) times the plain loops' error away, "
        f"{measure.max_error:.3g} at {measure.index}"
    )


def with_reasons(verdict: Verdict, reasons: list[str]) -> Verdict:
    """A verdict with further reasons against the result; where there are any, it disagrees."""
    if not reasons:
        return verdict
    kept = verdict.reasons if verdict.judged else []
    return replace(verdict, agrees=False, judged=True, reasons=kept + reasons)


def first_wrong(wrong: list[Measure], result: Arrays, yard: Yardstick) -> str:
    """The place at which a result first goes wrong, in the order in which it is computed: tensor, index, layer,
    direction and, where it can be told, time step.

    Final states come before the output, for they are there for every layer; the output tells the time step of the top
    layer, of which the reverse half is computed from the last real step on.
    """
    names = [each.tensor for each in wrong]
    for name in ("h_n", "c_n"):
        if name in names:
            index = index_of(np.argwhere(_far_off(name, result, yard))[0])
            layer, direction = divmod(index[0], yard.case.spec.num_directions)
            if layer < yard.case.spec.num_layers - 1 or "output" not in names:
                return f"{name} at {index}: layer {layer}, {direction_name(direction)}"
    if "output" in names:
        return _first_wrong_output(_far_off("output", result, yard), yard.case)
    name = names[0]
    index = index_of(np.argwhere(_far_off(name, result, yard))[0])
    if name == "grad.x":
        return f"{name} at {index}: batch row {index[0]}, time step {index[1]}"
    if name in ("grad.h_0", "grad.c_0"):
        layer, direction = divmod(index[0], yard.case.spec.num_directions)
        return f"{name} at {index}: layer {layer}, {direction_name(direction)}"
    layer_text = name.rpartition("_l")[2].removesuffix("_reverse")
    direction = index[0] if "merge_weight" in name else int(name.endswith("_reverse"))  # its rows are directions
    return f"{name} at {index}: layer {layer_text}, {direction_name(direction)}"


def _first_wrong_output(far: np.ndarray, case: Case) -> str:
    """Where an output is wrong first, in words."""
    layer = case.spec.num_layers - 1
    places = []
    spec = case.spec
    halves = np.split(far, [spec.hidden_size], axis=-1)[: spec.num_directions] if spec.keeps_directions else [far]
    for direction, half in enumerate(halves):
        steps = np.flatnonzero(half.any(axis=(0, 2)))
        if steps.size:
            step = int(steps[-1] if direction else steps[0])
            row, unit = index_of(np.argwhere(half[:, step])[0])
            index = (row, step, unit + direction * case.spec.hidden_size)
            which = direction_name(direction) if spec.keeps_directions else "both directions merged"
            places.append(f"output at {index}: layer {layer}, {which}, time step {step}")
    return "; ".join(places)


def _far_off(name: str, result: Arrays, yard: Yardstick) -> np.ndarray:
    """Which elements are off by more than the limit allows any; at least the worst one."""
    truth = yard.truth[name]
    error = np.abs(result[name].astype(truth.dtype) - truth)
    unit = max(yard.allowance(name).max(), epsilon(yard.dtype) / 2 * np.abs(truth).max())
    far = ~(error <= thresholds()[yard.dtype]["max"] * unit)
    return far if far.any() else error == error.max()


def _wrong_tensors(result: Arrays, yard: Yardstick) -> list[str]:
    """Sentences on tensors that are missing, unknown, or of the wrong shape."""
    reasons = [f"the result must have {name}; it is missing" for name in yard.truth if name not in result]
    reasons += [f"the result must have no {name}; it has" for name in result if name not in yard.truth]
    return reasons + [
        f"{name} must have shape {truth.shape}; got {result[name].shape}"
        for name, truth in yard.truth.items()
        if name in result and result[name].shape != truth.shape
    ]


def _unexpected(result: Arrays, yard: Yardstick, limits: dict[str, float]) -> list[str]:
    """Sentences on the case's expected tensors that a result misses.

    The case's atol and rtol say how good the expectation is; what the run's precision costs, by the plain loops, is
    added.
    """
    reasons = []
    for name, expected in yard.case.expected.items():
        spacing = epsilon(yard.dtype) * np.abs(yard.truth[name]).max()
        precision = limits["max"] * np.maximum(yard.allowance(name).max(), spacing / 2)
        if not np.isfinite(precision):  # what overflows cannot be told
            continue
        allowed = yard.case.atol + yard.case.rtol * np.abs(expected) + float(precision)
        off = np.abs(result[name] - expected)
        wrong = ~(off <= allowed) & ~np.isnan(expected)
        if wrong.any():
            index = index_of(np.argwhere(wrong)[0])
            reasons.append(
                f"{name} must be within {allowed[index]:.3g} of the case's expected {expected[index]:.6g} at {index}; "
                f"got {result[name][index]:.6g}"
            )
    return reasons


def _may_overflow(yard: Yardstick) -> bool:
    """Whether correct code may meet numbers whose products overflow: in a tensor, or unseen on the way to one."""
    safe = np.sqrt(float(ml_dtypes.finfo(numpy_dtype(yard.dtype)).max))
    limit = thresholds()[yard.dtype]["max"]
    every = (units(name, yard) for name in yard.truth)
    return not all(unit.size_max + limit * unit.max <= safe for unit in every)


def _rms(values: np.ndarray) -> float:
    """The root mean square, of numbers whose squares overflow or vanish too."""
    largest = np.abs(values).max()
    if not 0 < largest < np.inf:
        return largest
    return largest * np.sqrt(np.mean(np.square(values / largest)))


def _ratio(error: float, unit: float) -> float:
    """An error in units of the plain loops'; infinite where theirs is 0."""
    if unit == 0:
        return 0.0 if error == 0 else float("inf")
    return float(error / unit)


def _inf_if_nan(value: float) -> float:
    """Infinity for NaN, so that it is the largest."""
    return float("inf") if np.isnan(value) else value
