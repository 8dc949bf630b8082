"""Number formats by name: what a run's inputs are rounded to, and their spacing."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np

from common.case import Case
from common.errors import InputError

DTYPES = ("float16", "bfloat16", "float32", "float64")
"""The dtypes that implementations compute in."""


def numpy_dtype(name: str) -> np.dtype:
    """The NumPy dtype of a format; bfloat16 is ml_dtypes'."""
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def epsilon(name: str) -> float:
    """The distance from 1 to the next number of a format."""
    return float(ml_dtypes.finfo(numpy_dtype(name)).eps)


def rounded(array: np.ndarray, name: str, free: np.ndarray | bool = False) -> np.ndarray:
    """Numbers rounded to a format and held as float64, so that every framework is given the same ones.

    Where ``free``, which broadcasts to the array, is true there may be anything: what is too large becomes infinite.

    Raises
    ------
    InputError
        If another number is too large for the format.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values = array.astype(numpy_dtype(name)).astype(np.float64)
    if not (np.isfinite(values) | free).all():
        raise InputError(f"inputs must fit into {name}; got {np.abs(array[~(np.isfinite(values) | free)]).max():.3g}")
    return values


def has_finite_padding(x: np.ndarray, padding: np.ndarray, dtype: str) -> bool:
    """Whether x, (batch, seq_len, features), is finite in ``dtype`` where ``padding``, (batch, seq_len) bool, is true;
    what is too large for the format is not.
    """
    return bool(np.isfinite(rounded(x[padding], dtype, free=True)).all())


def is_subnormal(array: np.ndarray, dtype: str) -> bool:
    """Whether an array holds nothing in ``dtype`` but subnormal numbers, and zeros, but not zeros alone."""
    largest = np.abs(array).max(initial=0.0)
    return bool(0 < largest < float(ml_dtypes.finfo(numpy_dtype(dtype)).smallest_normal))


def rounded_case(case: Case, dtype: str) -> Case:
    """The case with weights, inputs and cotangents rounded to ``dtype``; its hash stays that of the case.

    Past the lengths x may hold anything, before and after (see ``rounded``).
    """
    return replace(
        case,
        x=rounded(case.x, dtype, free=case.padding_mask()[..., None]),
        weights={name: rounded(value, dtype) for name, value in case.weights.items()},
        h_0=None if case.h_0 is None else rounded(case.h_0, dtype),
        c_0=None if case.c_0 is None else rounded(case.c_0, dtype),
        cotangents={name: rounded(value, dtype) for name, value in case.cotangents.items()},
        file_sha256=case.sha256(),
    )
