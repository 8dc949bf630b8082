"""The yardstick: the right answer of a case, and the errors that plain NumPy loops in the run's precision make."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from common.case import Case
from common.judging.precision import epsilon, numpy_dtype, rounded_case
from common.judging.reordered import further_loops, nudged_case, reordered
from common.judging.tf32 import TF32
from common.reference import Arrays, Reference

MANY_TERMS = 1000
"""Real steps of all rows from which on a weight's gradient may err as a sum added up in order does; the plain loop adds
up in blocks, and correct code (torch.nn.GRU of 10 steps × 1000 rows, say) is then up to 23 of its errors off. The
built-in cases, by which the limits were calibrated, have fewer."""
KINK_WIDTH = 32.0
"""How many of the plain loop's largest errors from 0 a pre-activation of relu may lie for its side to be open."""


@dataclass(frozen=True)
class Yardstick:
    """What a result is held against.

    Parameters
    ----------
    case
        The case, rounded to ``dtype``.
    dtype
        The precision of the run.
    truth
        The reference's tensors for the rounded case: longdouble for float64, float64 for what is narrower.
    plain
        The same reference run as a plain loop in ``dtype``.
    spread
        The largest error of further plain loops, elementwise (``common.judging.reordered``): the first may have been
        lucky.
    ambiguity
        For gradients through relu: how much they change when pre-activations within rounding of 0 fall on the other
        side. Correct code may fall on either.
    """

    case: Case
    dtype: str
    truth: Arrays
    plain: Arrays
    spread: Arrays = field(default_factory=dict)
    ambiguity: Arrays = field(default_factory=dict)
    units: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What ``common.judging.agreement.units`` has computed of each tensor: every result needs it anew."""

    def allowance(self, name: str) -> np.ndarray:
        """The largest absolute error that the plain loops make in one tensor, elementwise, with the ambiguity added."""
        return allowance(self.truth, self.plain, self.spread, self.ambiguity, name)


def yardstick(case: Case, dtype: str, tf32: bool = False) -> Yardstick:
    """Run the reference on the rounded case: once wider than ``dtype``, and as several plain loops in ``dtype``.

    With ``tf32`` the plain loop of float32 multiplies as a GPU's fast lane does; other dtypes know no such lane.
    """
    case = rounded_case(case, dtype)
    kind = TF32 if tf32 and dtype == "float32" else Reference
    narrow = numpy_dtype(dtype)
    with np.errstate(all="ignore"):  # what overflows cannot be told, and is said to be so
        truth, plain = run_reference(case, truth_dtype(dtype)), run_reference(case, narrow, kind)
        further = (
            run_reference(nudged_case(case, dtype, number), narrow, reordered(kind, number))
            for number in range(further_loops(case))
        )
        yard = Yardstick(case, dtype, truth, plain, spread(truth, further))
        return _with_ambiguity(yard)


def _with_ambiguity(yard: Yardstick) -> Yardstick:
    """The yardstick with what else correct code may be off by: relu's sides, and sums of many terms."""
    case, dtype, truth = yard.case, yard.dtype, yard.truth
    if case.spec.cell == "rnn_relu" and case.cotangents:
        yard = replace(yard, ambiguity=_ambiguity(yard))
    terms = int((~case.padding_mask()).sum())
    if terms >= MANY_TERMS:
        for name in truth:
            if name.startswith(("grad.weight", "grad.bias")):
                added = in_order_error(truth[name], terms, dtype)
                yard.ambiguity[name] = yard.ambiguity.get(name, 0) + added
    return yard


def spread(truth: Arrays, loops: Iterable[Arrays]) -> Arrays:
    """The largest error of several loops' results, elementwise; NaN where one is."""
    largest = {name: np.zeros_like(value) for name, value in truth.items()}
    for loop in loops:
        for name, right in truth.items():
            largest[name] = np.maximum(largest[name], np.abs(loop[name].astype(right.dtype) - right))
    return largest


def allowance(truth: Arrays, plain: Arrays, spread: Arrays, ambiguity: Arrays, name: str) -> np.ndarray:
    """The absolute error that plain loops make in one tensor, elementwise: the largest of the first one's and the
    others' (``spread``), with the ambiguity added.
    """
    error = np.abs(plain[name].astype(truth[name].dtype) - truth[name])
    error = np.maximum(error, spread[name]) if name in spread else error
    return error + ambiguity[name] if name in ambiguity else error


def without_gradients(yard: Yardstick) -> Yardstick:
    """What the result of a forward pass alone is held against."""
    yard = of_tensors(yard, [name for name in yard.truth if not name.startswith("grad.")])
    return replace(yard, case=replace(yard.case, cotangents={}))


def of_tensors(yard: Yardstick, names: Collection[str]) -> Yardstick:
    """What some of a result's tensors are held against."""

    def kept(arrays: Arrays) -> Arrays:
        return {name: value for name, value in arrays.items() if name in names}

    case = replace(yard.case, expected=kept(yard.case.expected))
    groups: dict[str, Any] = {name: kept(getattr(yard, name)) for name in ("truth", "plain", "spread", "ambiguity")}
    return replace(yard, case=case, **groups)


def _ambiguity(yard: Yardstick) -> Arrays:
    """Gradients with relu's slope jumping a little above 0, against a little below; 0 when nothing lies between."""
    width = kink_width(yard)
    case, dtype = yard.case, truth_dtype(yard.dtype)
    above, below = (run_network(Reference(case.spec, case.weights, dtype, kink), case) for kink in (width, -width))
    return {name: np.abs(above[name] - below[name]) for name in above if name.startswith("grad.")}


def kink_width(yard: Yardstick) -> float:
    """How far from 0 a pre-activation of relu may lie for its side to be rounding's."""
    largest = max(np.abs(yard.truth[name]).max() for name in ("output", "h_n"))
    error = max(yard.allowance(name).max() for name in ("output", "h_n"))
    width = float(KINK_WIDTH * max(error, epsilon(yard.dtype) * largest))
    return width if np.isfinite(width) else np.inf


def in_order_error(total: np.ndarray, terms: int, dtype: str) -> np.ndarray:
    """The error, in the root mean square, of a sum of so many terms that is added up one after the other in ``dtype``,
    or in float32 where that is wider.

    Each of n additions rounds a partial sum by eps/√12 of it, and partial sums grow to the total. The plain loop is
    better than this: its matrix products add up in blocks, which not every library's do.
    """
    spacing = epsilon(dtype if dtype == "float64" else "float32")
    return spacing * np.sqrt(terms / 12) * np.abs(total)


def truth_dtype(dtype: str) -> np.dtype:
    """What the truth for a run in ``dtype`` is computed in."""
    return np.dtype(np.longdouble if dtype == "float64" else np.float64)


def run_reference(case: Case, dtype: np.dtype | type, kind: type[Reference] = Reference) -> Arrays:
    """All of a case's result tensors, by a reference of some kind in some dtype."""
    reference = kind(case.spec, case.weights, dtype)
    return run_network(reference, case)


def run_network(reference: Reference, case: Case) -> Arrays:
    """Forward and, where the case has cotangents, gradients."""
    results = reference.forward(case.x, case.lengths, case.initial_state("h"), case.initial_state("c"))
    cotangents: Mapping[str, np.ndarray] = case.full_cotangents()
    if cotangents:
        no_c = np.zeros_like(cotangents["h_n"])
        results |= reference.backward(cotangents["output"], cotangents["h_n"], cotangents.get("c_n", no_c))
    return results
