"""Further plain loops, which are as right as the first and round otherwise.

One plain loop can be lucky: its errors cancel, or one number decides them and happens to be rounded well. Several tell
how large they are (the same idea as random rounding in stochastic arithmetic: Vignes 2004,
doi:10.1023/B:NUMA.0000049483.75679.ce). Each of these adds up the terms of its matrix products in an order of its own,
starts from inputs and weights that are off by what one rounding costs, and has a tanh and a sigmoid that fall a few
spacings short, as libraries' do: where they saturate, their slope is all rounding, and NumPy's round best. Every second
one rounds every partial sum, as simple loops do and a BLAS does not, and has the other usual formula of the sigmoid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import ml_dtypes
import numpy as np

from common.case import Case
from common.cells import Elementwise, Product, sigmoid_by_tanh
from common.judging.precision import epsilon, numpy_dtype
from common.reference import Arrays, Reference

FURTHER_LOOPS = 4
"""Plain loops besides the first; ``docs/calibration.md`` has what they change."""
LARGE = 10**8
"""Multiplications of a forward pass from which on one further loop is enough: so many errors make no luck."""
MOST_PRODUCTS = 10**6
"""Multiplications of a matrix product up to which every partial sum is rounded; larger ones would take too long."""
MOVED = 1 / 12
"""The share of numbers moved by one spacing: their error is then, in the root mean square, that of rounding once."""
LIBRARIES_SPACINGS = 4
"""Spacings that tanh and the sigmoid of further loops fall short, as JAX's and TensorFlow's tanh do near 1 in float32
(their probe tanh-is-several-spacings-off measures it)."""


def further_loops(case: Case) -> int:
    """How many plain loops a case needs besides the first."""
    work = case.batch * case.seq_len * sum(value.size for value in case.weights.values())
    return FURTHER_LOOPS if work < LARGE else 1


def reordered(kind: type[Reference], number: int) -> type[Reference]:
    """A kind of reference that adds up the terms of every matrix product in an order of its own, and whose tanh and
    sigmoid fall a few spacings short.

    Parameters
    ----------
    kind
        What to change; its products stay as they are but for the order.
    number
        Which of the further loops this is; it seeds the orders. The odd ones add up one term after the other and take
        the sigmoid by tanh.
    """
    in_order = number % 2 == 1

    class Reordered(kind):  # type: ignore[valid-type,misc]
        def product(self) -> Product:
            multiply = super().product()
            rng = np.random.default_rng(number)
            orders: dict[int, np.ndarray] = {}

            def multiply_reordered(a: np.ndarray, b: np.ndarray) -> np.ndarray:
                terms = a.shape[-1]
                if terms not in orders:
                    orders[terms] = rng.permutation(terms)
                a, b = a[..., orders[terms]], b[..., orders[terms], :]  # (…, n, terms), (…, terms, m)
                if not in_order or a.shape[-2] * terms * b.shape[-1] > MOST_PRODUCTS:
                    return multiply(a, b)
                # (…, terms, n, 1) times (…, terms, 1, m): each term's product, in one call.
                products = multiply(a.swapaxes(-1, -2)[..., None], b[..., None, :])
                first, *others = (products[..., i, :, :] for i in range(terms))
                return sum(others, first)

            return multiply_reordered

        def sigmoid(self) -> Elementwise:
            return partial(sigmoid_by_tanh, tanh=self.tanh()) if in_order else short_of(super().sigmoid())

        def tanh(self) -> Elementwise:
            return short_of(super().tanh())

    return Reordered


def short_of(function: Elementwise) -> Elementwise:
    """A function whose results are a few numbers nearer to 0 (``spacings_short``); zeros stay."""

    def short(a: np.ndarray) -> np.ndarray:
        value = function(a)
        for _ in range(spacings_short(a.dtype)):
            value = np.nextafter(value, np.zeros((), a.dtype))
        return value

    return short


def spacings_short(dtype: np.dtype) -> int:
    """How far libraries' tanh and sigmoid may be off; in half precision they round what they have in float32, once."""
    return LIBRARIES_SPACINGS if dtype.itemsize >= np.dtype(np.float32).itemsize else 0


def nudged(array: np.ndarray, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """Numbers of a format, held as float64, with a few of them moved to the next one up or down; zeros stay."""
    format_ = ml_dtypes.finfo(numpy_dtype(dtype))
    with np.errstate(over="ignore"):
        spacing = np.ldexp(epsilon(dtype), np.frexp(array)[1] - 1)
        spacing = np.where(array == 0, 0, np.maximum(spacing, float(format_.smallest_subnormal)))
        steps = (rng.random(array.shape) < MOVED) * rng.choice((-1.0, 1.0), array.shape)
        moved = array + steps * spacing
    return np.where(np.abs(moved) <= float(format_.max), moved, array)


def nudged_arrays(arrays: Mapping[str, np.ndarray], dtype: str, rng: np.random.Generator) -> Arrays:
    """Every array of a group nudged, in the group's order."""
    return {name: nudged(value, dtype, rng) for name, value in arrays.items()}


def nudged_case(case: Case, dtype: str, number: int) -> Case:
    """The rounded case as the further loop of a number reads it: inputs, states and weights nudged.

    Cotangents stay: nothing computes them.
    """
    rng = np.random.default_rng(number)
    return replace(
        case,
        x=nudged(case.x, dtype, rng),
        h_0=None if case.h_0 is None else nudged(case.h_0, dtype, rng),
        c_0=None if case.c_0 is None else nudged(case.c_0, dtype, rng),
        weights=nudged_arrays(case.weights, dtype, rng),
        file_sha256=case.sha256(),
    )
