"""The further plain loops: as right as the first, and rounded otherwise."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from common.cases.builtin import CELLS
from common.cells import sigmoid, sigmoid_by_tanh
from common.judging.precision import DTYPES, epsilon, numpy_dtype, rounded
from common.judging.reordered import (
    FURTHER_LOOPS,
    LIBRARIES_SPACINGS,
    MOST_PRODUCTS,
    MOVED,
    further_loops,
    nudged,
    nudged_case,
    reordered,
    spacings_short,
)
from common.judging.tf32 import TF32
from common.judging.yardstick import run_reference
from common.reference import Reference
from tests.cases import a_case


@pytest.mark.parametrize("dtype", DTYPES)
def test_nudged_numbers_are_neighbours_and_few(dtype: str) -> None:
    """Each is a number of the format, at most one spacing away, and the error is that of rounding once."""
    rng = np.random.default_rng(0)
    numbers = rounded(rng.normal(size=20_000) * 10 ** rng.uniform(-2, 2, 20_000), dtype)
    moved = nudged(numbers, dtype, rng)
    np.testing.assert_array_equal(moved, rounded(moved, dtype))
    tiny = float(ml_dtypes.finfo(numpy_dtype(dtype)).smallest_subnormal)
    steps = (moved - numbers) / np.maximum(np.ldexp(epsilon(dtype), np.frexp(numbers)[1] - 1), tiny)
    assert set(np.unique(steps)) == {-1, 0, 1}
    assert np.mean(steps != 0) == pytest.approx(MOVED, rel=0.1)
    assert np.sqrt(np.mean(steps**2)) == pytest.approx(1 / np.sqrt(12), rel=0.05)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_is_nudged_away_from_0_or_out_of_the_format(dtype: str) -> None:
    largest = float(ml_dtypes.finfo(numpy_dtype(dtype)).max)
    ends = np.repeat([0.0, largest, -largest, np.inf, -np.inf, np.nan], 200)
    moved = nudged(ends, dtype, np.random.default_rng(0))
    assert not moved[:200].any()
    assert (np.abs(moved[200:600]) <= largest).all()
    np.testing.assert_array_equal(moved[600:], ends[600:])


@pytest.mark.parametrize("number", range(FURTHER_LOOPS))
@pytest.mark.parametrize("cell", CELLS)
def test_a_further_loop_is_right_and_rounds_otherwise(cell: str, number: int) -> None:
    case = a_case(cell, num_layers=2)
    right = run_reference(case, np.longdouble)
    plain, loop = (run_reference(case, np.float64, kind) for kind in (Reference, reordered(Reference, number)))
    for name, value in right.items():
        np.testing.assert_allclose(loop[name].astype(float), value.astype(float), rtol=1e-11, atol=1e-13)
    assert any(not np.array_equal(plain[name], loop[name]) for name in plain)
    moved = nudged_case(case, "float64", number)
    assert {name: (value != case.weights[name]).any() for name, value in moved.weights.items()}["weight_hh_l0"]
    assert (moved.x != case.x).any()
    assert moved.cotangents is case.cotangents


def test_the_odd_loops_round_every_partial_sum_unless_that_takes_too_long() -> None:
    """In float16 a sum of ones ends at 2048, where the next number is 2050."""
    ones = np.ones((1, 4096), np.float16)
    spec = a_case("gru").spec
    product = {number: reordered(Reference, number)(spec, {}, np.float16).product() for number in (0, 1)}
    assert product[0](ones, ones.T) == 4096
    assert product[1](ones, ones.T) == 2048
    many = np.ones((MOST_PRODUCTS // 4096 + 1, 4096), np.float16)
    assert (product[1](many, ones.T) == 4096).all()


def test_a_further_loop_of_a_kind_multiplies_as_the_kind_does() -> None:
    """1 + 2⁻¹² is rounded to 1 by TF32."""
    number = np.full((1, 1), 1 + 2.0**-12, np.float32)
    for loop in range(FURTHER_LOOPS):
        assert reordered(TF32, loop)(a_case("gru").spec, {}, np.float32).product()(number, number) == 1


def test_both_sigmoids_are_the_same_function() -> None:
    a = np.linspace(-20, 20, 401)
    np.testing.assert_allclose(sigmoid_by_tanh(a), sigmoid(a), atol=2e-16)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_functions_of_further_loops_fall_a_few_spacings_short(dtype: str) -> None:
    """And no further; what is 0 stays 0. In half precision none, since libraries round what they have in float32."""
    a = rounded(np.concatenate([np.linspace(-12, 12, 401), [0.0]]), dtype).astype(numpy_dtype(dtype))
    spec, number = a_case("gru").spec, spacings_short(a.dtype)
    assert number == (0 if dtype.endswith("16") else LIBRARIES_SPACINGS)
    plain, even, odd = Reference(spec, {}, a.dtype), *(reordered(Reference, n)(spec, {}, a.dtype) for n in (0, 1))
    pairs = [(each.tanh()(a), plain.tanh()(a)) for each in (even, odd)] + [(even.sigmoid()(a), plain.sigmoid()(a))]
    for short, right in pairs:
        np.testing.assert_array_equal(np.abs(short) < np.abs(right), (right != 0) & (number > 0))
        for _ in range(number):
            short = np.nextafter(short, right)
        np.testing.assert_array_equal(short, right)
    np.testing.assert_array_equal(odd.sigmoid()(a), (1 + odd.tanh()(a / 2)) / 2)


def test_a_large_case_needs_fewer_loops() -> None:
    case = a_case("lstm")
    assert further_loops(case) == FURTHER_LOOPS
    assert further_loops(replace(case, x=np.zeros((500, 500, 4)))) == 1
