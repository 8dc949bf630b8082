"""Int8 kernels: every number at most half a scale away, rows by themselves, and what has no scale is refused."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from common.errors import InputError
from common.models.small_cases import model_cases
from common.models.specification import parameters
from common.quantization.kernels import (
    LARGEST,
    MOST,
    dequantize,
    is_kernel,
    quantize,
    quantized_kernels,
    rounded,
    sizes,
)

TINY = float(np.finfo(np.float32).smallest_subnormal)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def kernels() -> SearchStrategy[np.ndarray]:
    """Kernels of all sizes of numbers. Hypothesis is imported and looks through every module only where it draws: with
    ``@given`` on a test it does so in each process that collects tests.
    """
    from hypothesis import strategies

    magnitudes = strategies.one_of(
        strategies.floats(-3, 3),
        strategies.sampled_from([0.0, -0.0, TINY, 190 * TINY, 5e-324, 1e-310, MOST, -MOST, 0.5 * MOST]),
    )
    return strategies.tuples(strategies.integers(1, 4), strategies.integers(1, 5)).flatmap(
        lambda shape: strategies.lists(
            strategies.lists(magnitudes, min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]
        ).map(np.array)
    )


@pytest.mark.usefixtures("hypothesis_folder")
def test_every_number_is_at_most_half_a_scale_away_and_zeros_stay() -> None:
    from hypothesis import given, settings

    @settings(max_examples=80, deadline=None, derandomize=True, database=None)
    @given(kernels())
    def holds(values: np.ndarray) -> None:
        kernel = quantize(values)
        after = dequantize(kernel)
        scales = kernel.scales.astype(np.float64)[:, None]
        assert (str(kernel.numbers.dtype), str(kernel.scales.dtype)) == ("int8", "float32")
        assert np.abs(kernel.numbers.astype(int)).max() <= LARGEST
        assert (np.abs(after - values) <= scales / 2).all()
        assert (after[values == 0] == 0).all()
        # No scale is larger than it need be: to float32's rounding, and near 0 to its spacing there.
        assert (scales[:, 0] <= np.abs(values).max(axis=1) / LARGEST * (1 + 1e-7) + TINY).all()

    holds()


@pytest.mark.usefixtures("hypothesis_folder")
def test_rows_are_quantized_by_themselves_and_a_second_time_changes_nothing() -> None:
    from hypothesis import given, settings, strategies

    @settings(max_examples=30, deadline=None, derandomize=True, database=None)
    @given(kernels(), strategies.randoms(use_true_random=False))
    def holds(values: np.ndarray, random: Random) -> None:
        order = random.sample(range(len(values)), len(values))
        kernel, moved = quantize(values), quantize(values[order])
        assert np.array_equal(kernel.numbers[order], moved.numbers)
        assert np.array_equal(kernel.scales[order], moved.scales)
        again = quantize(dequantize(kernel))
        assert np.array_equal(dequantize(again), dequantize(kernel))

    holds()


def test_by_hand() -> None:
    """A half goes to the even number, both ways; a row of zeros has the scale 0."""
    kernel = quantize(np.array([[12.7, 0.25, 0.35, -0.25], [0, 0, 0, 0], [-254, 3, 5, 1]]))
    assert kernel.scales.tolist() == [np.float32(0.1), 0, 2]
    # 0.25 / float32(0.1) lies below a half, float32(0.1) being above 0.1.
    assert kernel.numbers.tolist() == [[127, 2, 3, -2], [0, 0, 0, 0], [-127, 2, 2, 0]]
    assert dequantize(kernel)[2].tolist() == [-254, 4, 4, 0]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e300])
def test_what_has_no_scale_is_refused(wrong: float) -> None:
    values = np.ones((2, 3))
    values[1, 2] = wrong
    with pytest.raises(InputError, match=r"head\.0\.weight must hold numbers up to 1e\+38 to be quantized; got"):
        rounded({"head.0.weight": values, "head.0.bias": np.ones(3)})


def test_kernels_are_what_is_multiplied_or_looked_up() -> None:
    """Of every model that is verified, and of a learned merge: all matrices but what stands here, and attention's v."""
    shapes = {name: shape for case in model_cases() for name, shape in parameters(case.spec).items()}
    shapes |= {"rnn.merge_weight_l0": (2, 5)}
    multiplied = {name for name, shape in shapes.items() if len(shape) == 2 or name == "attention.v"}
    assert {name for name in shapes if is_kernel(name)} == multiplied - {"crf.transitions", "rnn.merge_weight_l0"}


def test_sizes_are_those_of_the_arrays() -> None:
    for case in model_cases():
        kernels = quantized_kernels(case.weights)
        others = sum(value.size for name, value in case.weights.items() if name not in kernels)
        size = sizes(parameters(case.spec))
        assert size.quantized == sum(kernel.nbytes for kernel in kernels.values()) + 4 * others
        assert size.float32 == 4 * size.numbers == 4 * sum(value.size for value in case.weights.values())
        assert size.in_kernels == sum(kernel.numbers.size for kernel in kernels.values())
