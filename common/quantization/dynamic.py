"""Products of whole numbers: kernels in int8, activations rounded to int8 as they come, sums in int32, then floats.

For a kernel W (out, in) as ``common.quantization.kernels`` has it and a row x (in,) of activations

    s = max_i |x_i| / 127        u_i = x_i / s, rounded as the kernel's numbers are        y_r = s · s_r · Σ_i q_ri u_i

with the sum exact, in whole numbers: int32 holds it for up to 133,000 inputs. This is Jacob et al. 2018
(arXiv:1712.05877, equations 4 to 7) with zero points of 0; that the activations' scale is taken anew at every call is
what frameworks call dynamic quantization. Here every row has its own, so that an answer never depends on what else is
in the batch, or in its padding; torch's and ONNX Runtime's kernels take one for the whole batch (docs/int8.md).

Both products of a cell, the linear layers, the bridge and attention's three kernels are computed so; embeddings are
looked up, and biases, non-linearities, softmax, and the mean that attention takes, are in floats.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from common.answers.beam import beam_search
from common.cells import Product
from common.errors import InputError
from common.models.batch import Batch, check_batch, repeated
from common.models.layers import Arithmetic
from common.models.reference import ModelReference, reference_of
from common.models.sequence import SequenceReference
from common.models.specification import Arrays, Model
from common.quantization.kernels import LARGEST, QuantizedKernel, quantize, rounded
from common.reference import Reference

MOST_INPUTS = (2**31 - 1) // LARGEST**2
"""The largest width of a kernel whose sums int32 holds for certain."""


def dynamic_product(x: np.ndarray, kernel: QuantizedKernel) -> np.ndarray:
    """The product of activations x (…, in) and a kernel (out, in), (…, out) float64.

    Raises
    ------
    InputError
        If an activation is not finite, or the kernel is wider than int32 sums allow.
    """
    width = kernel.numbers.shape[-1]
    if width > MOST_INPUTS:
        raise InputError(f"a kernel must have at most {MOST_INPUTS} inputs for sums in int32; got {width}")
    activations = quantize(x, "activations")
    # Whole numbers below 2**53: a product of float64 matrices gives int32's sums exactly, and many times faster.
    sums = activations.numbers.astype(np.float64) @ kernel.numbers.astype(np.float64).T
    return sums * (activations.scales.astype(np.float64)[..., None] * kernel.scales.astype(np.float64))


class DynamicReference(Reference):
    """The reference with dynamic products in its cells.

    A product's second operand is a kernel where it is a matrix; attention's mean over the steps of each row has a
    matrix for each row, and stays in floats.
    """

    def product(self) -> Product:
        inner = super().product()
        kernels: dict[tuple[int, tuple[int, ...], tuple[int, ...]], tuple[np.ndarray, QuantizedKernel]] = {}

        def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            if b.ndim != 2:
                return inner(a, b)
            where = b.__array_interface__["data"][0], b.shape, b.strides
            if where not in kernels:
                kernels[where] = b, quantize(b.T)  # b is kept, so that nothing else comes to lie there
            return dynamic_product(a, kernels[where][1]).astype(self.dtype)

        return product


def answer_of(reference: ModelReference, batch: Batch, max_steps: int, width: int | None) -> Arrays:
    """The answer of a reference to an unlabelled batch: labels, or a decoder's tokens, greedy or by a beam of a width.

    Raises
    ------
    InputError
        If the batch does not fit the model, or an activation cannot be quantized.
    """
    check_batch(reference.spec, batch, labelled=False)
    if isinstance(reference, SequenceReference):
        return reference.predict(batch)
    if width is None:
        return {"tokens": reference.decode(batch, max_steps)}
    return beam_search(reference.stepper(repeated(batch, width)), len(batch["tokens"]), width, max_steps)


def dynamic_reference(
    spec: Model, weights: Mapping[str, np.ndarray], dtype: np.dtype | type | str = np.float64
) -> ModelReference:
    """The reference of a model whose kernels and activations are quantized, for answers; it has no gradients.

    Raises
    ------
    InputError
        As ``common.quantization.kernels.scales_of``.
    """
    return reference_of(spec, rounded(weights), Arithmetic(np.dtype(dtype), layer=DynamicReference))
