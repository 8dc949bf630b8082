"""The reference with TF32's rounding: what a GPU's fast lane computes in where float32 is asked for."""

from __future__ import annotations

import numpy as np

from common.cells import Product
from common.reference import Reference


class TF32(Reference):
    """Products of operands rounded to TF32's 10 bits after the leading one, summed in float32 (NVIDIA A100
    whitepaper, 2020).
    """

    def product(self) -> Product:
        def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return np.matmul(_to_tf32(a), _to_tf32(b))

        return multiply


class TF32Truncated(Reference):
    """Products of operands cut off after TF32's 10 bits, as tensor cores do with float32 that nobody has rounded."""

    def product(self) -> Product:
        def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return np.matmul(_cut_to_tf32(a), _cut_to_tf32(b))

        return multiply


def _cut_to_tf32(a: np.ndarray) -> np.ndarray:
    """Numbers with the lowest 13 bits of float32 cut off."""
    return (np.ascontiguousarray(a, np.float32).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def _to_tf32(a: np.ndarray) -> np.ndarray:
    """Numbers rounded to the nearest with 10 bits behind the point."""
    bits = np.ascontiguousarray(a, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
