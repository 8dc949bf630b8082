"""Correct NumPy loops that round differently from the plain loops of the yardstick, as libraries do from each other.

Only the simulation of agreement uses them (``benchmarks.maintain.simulate``): every one is right, so a verdict that it
disagrees is a false one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from common.case import Case
from common.cells import Elementwise, Product
from common.judging.precision import numpy_dtype
from common.judging.yardstick import run_reference
from common.reference import Arrays, Reference

GRU_SUMMED_GATES = 2
"""Gates of a GRU whose two biases are only ever added: r and z."""


class InOrder(Reference):
    """Every sum of a product added up one term after the other."""

    def product(self) -> Product:
        def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            total = np.zeros((*a.shape[:-1], b.shape[-1]), self.dtype)
            for term in range(a.shape[-1]):
                total = total + a[..., term, None] * b[term]
            return total

        return multiply


class Halved(Reference):
    """Every sum of a product added up in two halves, each in halves again (pairwise summation)."""

    def product(self) -> Product:
        multiply = super().product()

        def halved(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            if a.shape[-1] <= 1:
                return multiply(a, b)
            half = a.shape[-1] // 2
            return halved(a[..., :half], b[:half]) + halved(a[..., half:], b[half:])

        return halved


class WideSums(Reference):
    """Products added up in a wider type and rounded once, as matrix units do."""

    def product(self) -> Product:
        wide = np.float64 if self.dtype == np.float32 else np.longdouble if self.dtype == np.float64 else np.float32

        def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return np.matmul(a.astype(wide), b.astype(wide)).astype(self.dtype)

        return multiply


class OtherSigmoid(Reference):
    """The sigmoid from e^−|a|, which never overflows."""

    def sigmoid(self) -> Elementwise:
        def sigmoid(a: np.ndarray) -> np.ndarray:
            small = np.exp(-np.abs(a))
            return np.where(a >= 0, 1 / (1 + small), small / (1 + small))

        return sigmoid


class OtherTanh(Reference):
    """A loop whose tanh is made of e^−2|a| − 1, which is right to about two spacings everywhere and saturates a little
    early or late.
    """

    def tanh(self) -> Elementwise:
        def tanh(a: np.ndarray) -> np.ndarray:
            fall = np.expm1(-2 * np.abs(a))
            return np.copysign(fall / (2 + fall), a)

        return tanh


def _with_summed_biases(case: Case, dtype: str) -> Arrays:
    """The two biases added up beforehand, where nothing stands between them."""
    weights = dict(case.weights)
    narrow = numpy_dtype(dtype)
    for name, value in case.weights.items():
        if name.startswith("bias_ih"):
            other = name.replace("bias_ih", "bias_hh")
            count = len(value) // 3 * GRU_SUMMED_GATES if case.spec.cell == "gru" else len(value)
            summed = (value.astype(narrow) + case.weights[other].astype(narrow)).astype(np.float64)
            weights[name] = np.concatenate([summed[:count], value[count:]])
            weights[other] = np.concatenate([np.zeros(count), case.weights[other][count:]])
    return run_reference(replace(case, weights=weights), narrow)


def _row_by_row(case: Case, dtype: str) -> Arrays:
    """Every row of the batch by itself, the last first; the weights' gradients added up over them."""
    results: Arrays = {}
    rows = []
    for row in reversed(range(case.batch)):
        rows.append(run_reference(_one_row(case, row), numpy_dtype(dtype)))
    for name in rows[0]:
        parts = [each[name] for each in rows]
        if name in ("output", "grad.x"):
            results[name] = np.concatenate(parts[::-1])
        elif name in ("h_n", "c_n", "grad.h_0", "grad.c_0"):
            results[name] = np.concatenate(parts[::-1], axis=1)  # (num_layers·2, batch, hidden_size)
        else:
            total = parts[0]
            for part in parts[1:]:
                total = total + part
            results[name] = total
    return results


def _one_row(case: Case, row: int) -> Case:
    """The case with one row of its batch alone."""
    kept = slice(row, row + 1)
    return replace(
        case,
        x=case.x[kept],
        lengths=None if case.lengths is None else case.lengths[kept],
        h_0=None if case.h_0 is None else case.h_0[:, kept],
        c_0=None if case.c_0 is None else case.c_0[:, kept],
        cotangents={n: v[kept] if n == "output" else v[:, kept] for n, v in case.cotangents.items()},
        file_sha256=None,
    )


def _of(kind: type[Reference]) -> Callable[[Case, str], Arrays]:
    """A function that runs a case by a kind of loop."""
    return lambda case, dtype: run_reference(case, numpy_dtype(dtype), kind)


CORRECT_LOOPS: dict[str, Callable[[Case, str], Arrays]] = {
    "sums added up in order": _of(InOrder),
    "sums added up in halves": _of(Halved),
    "sums in a wider type": _of(WideSums),
    "a sigmoid that never overflows": _of(OtherSigmoid),
    "a tanh by exponentials": _of(OtherTanh),
    "biases added beforehand": _with_summed_biases,
    "row by row": _row_by_row,
}
"""What each correct loop does; it takes a rounded case and a dtype and gives the result tensors."""
