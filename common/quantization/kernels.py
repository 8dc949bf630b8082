"""Symmetric int8 kernels: whole numbers from −127 to 127 with one scale for each output channel, which is a row.

For a kernel W (out, in) and its row r

    s_r = max_i |W_ri| / 127, rounded to float32        q_ri = W_ri / s_r, rounded to the nearest whole number

a half to the even one, and the kernel that is computed with is s_r · q_ri: at most s_r / 2 away from W_ri. This is
equation 1 of Jacob et al. 2018 (arXiv:1712.05877) with a zero point of 0, and without −128, as they have it for weights
(section 3.1); a scale for each output channel is Krishnamoorthi 2018 (arXiv:1806.08342, section 3.1.2). A row of zeros
has the scale 0.

The scale is float32: s_r · q_ri is then exact in float64, and rounded to float32 it is the very product that a float32
kernel makes of the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from common.errors import InputError
from common.models.specification import Arrays

INT8, INT8_DYNAMIC = "int8", "int8-dynamic"
"""Kernels alone in int8, and activations rounded besides (``common.quantization.dynamic``)."""
KINDS = (INT8, INT8_DYNAMIC)
"""The kinds of quantization; a file has the first, as the kernels of both are the same."""
LARGEST = 127
"""The largest whole number of a kernel; the least is its negative."""
MOST = 1e38
"""The largest number that is quantized: with the rounding of its scale it is still one of float32's."""
KERNEL = re.compile(r"(\b|\.)weight_[ih]h_l\d|\.weight$|embedding$|^attention\.")
"""What the names of parameters hold that are multiplied with activations, or looked up; biases, the weights of a
learned merge and the scores of a CRF are added or few, and stay as they are.
"""


class QuantizedKernel(NamedTuple):
    """A kernel's whole numbers (…, in) int8 and its rows' scales (…,) float32."""

    numbers: np.ndarray
    scales: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes of both together."""
        return self.numbers.nbytes + self.scales.nbytes


def is_kernel(name: str) -> bool:
    """Whether a parameter of a model, by its canonical name, is quantized."""
    return KERNEL.search(name) is not None


def scales_of(values: np.ndarray, what: str = "a kernel") -> np.ndarray:
    """The scale of each row of ``values`` (…, in), (…,) float32.

    Where float32 is so coarse near 0 that the row's largest number would be 128 scales, the scale is the next float32
    above.

    Raises
    ------
    InputError
        If a number is not finite, or above ``MOST``; ``what`` names the values.
    """
    largest = np.abs(values.astype(np.float64)).max(axis=-1, initial=0.0)
    if not (largest <= MOST).all():
        wrong = values[~(np.abs(values) <= MOST)].ravel()[0]
        raise InputError(f"{what} must hold numbers up to {MOST:g} to be quantized; got {wrong}")
    scales = (largest / LARGEST).astype(np.float32)
    beyond = largest >= (LARGEST + 0.5) * scales.astype(np.float64)
    return np.where(beyond & (largest > 0), np.nextafter(scales, np.float32(np.inf)), scales)


def quantize(values: np.ndarray, what: str = "a kernel") -> QuantizedKernel:
    """The int8 numbers and the scales of the rows of ``values`` (…, in); raises as ``scales_of`` does."""
    scales = scales_of(values, what)
    divisors = np.where(scales > 0, scales, np.float32(1)).astype(np.float64)
    return QuantizedKernel(np.rint(values / divisors[..., None]).astype(np.int8), scales)


def dequantize(kernel: QuantizedKernel) -> np.ndarray:
    """The kernel that is computed with, (…, in) float64: each number times its row's scale, exactly."""
    return kernel.numbers.astype(np.float64) * kernel.scales.astype(np.float64)[..., None]


def quantized_kernels(weights: Mapping[str, np.ndarray]) -> dict[str, QuantizedKernel]:
    """The quantized kernels among a model's parameters, by canonical name; raises as ``scales_of`` does."""
    return {name: quantize(value, name) for name, value in weights.items() if is_kernel(name)}


def rounded(weights: Mapping[str, np.ndarray]) -> Arrays:
    """A model's parameters with each kernel as it is after quantization, float64; any framework runs them as usual.

    Raises as ``scales_of`` does.
    """
    kernels = {name: dequantize(kernel) for name, kernel in quantized_kernels(weights).items()}
    return {name: kernels.get(name, value) for name, value in weights.items()}


class Sizes(NamedTuple):
    """How many numbers and bytes a model has: of all parameters in float32, and with quantized kernels."""

    numbers: int
    in_kernels: int
    float32: int
    quantized: int

    @property
    def ratio(self) -> float:
        """How many times smaller the quantized model is."""
        return self.float32 / self.quantized


def sizes(shapes: Mapping[str, Iterable[int]]) -> Sizes:
    """The sizes of a model by its parameters' shapes: a byte for each number of a kernel, four for each of its scales
    and for every other number.
    """
    numbers = in_kernels = quantized = 0
    for name, shape in shapes.items():
        *rows, width = shape
        count = int(np.prod(rows)) * width
        numbers += count
        in_kernels += count if is_kernel(name) else 0
        quantized += count + 4 * int(np.prod(rows)) if is_kernel(name) else 4 * count
    return Sizes(numbers, in_kernels, 4 * numbers, quantized)
