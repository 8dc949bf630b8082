"""The yardstick: the right answer of a case, and the error that a plain NumPy loop in the run's precision makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from common.case import Case
from common.precision import numpy_dtype, rounded_case
from common.reference import Arrays, Reference


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
    """

    case: Case
    dtype: str
    truth: Arrays
    plain: Arrays


def yardstick(case: Case, dtype: str) -> Yardstick:
    """Run the reference twice on the rounded case: wider than ``dtype``, and in ``dtype``."""
    case = rounded_case(case, dtype)
    return Yardstick(case, dtype, run_reference(case, truth_dtype(dtype)), run_reference(case, numpy_dtype(dtype)))


def truth_dtype(dtype: str) -> np.dtype:
    """What the truth for a run in ``dtype`` is computed in."""
    return np.dtype(np.longdouble if dtype == "float64" else np.float64)


def run_reference(case: Case, dtype: np.dtype | type, kind: type[Reference] = Reference) -> Arrays:
    """All of a case's result tensors, by a reference of some kind in some dtype."""
    reference = kind(case.spec, case.weights, dtype)
    return run_network(reference, case)


def run_network(reference: Reference, case: Case) -> Arrays:
    """Forward and, where the case has cotangents, gradients."""
    found = reference.forward(case.x, case.lengths, case.initial_state("h"), case.initial_state("c"))
    cotangents: Mapping[str, np.ndarray] = case.full_cotangents()
    if cotangents:
        no_c = np.zeros_like(cotangents["h_n"])
        found |= reference.backward(cotangents["output"], cotangents["h_n"], cotangents.get("c_n", no_c))
    return found
