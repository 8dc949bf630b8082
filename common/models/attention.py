"""Additive attention (Bahdanau et al. 2015, arXiv:1409.0473, appendix A.1.2), one step at a time, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from common.cells import tanh_slope
from common.models.layers import Arithmetic
from common.models.specification import Arrays


class Attention:
    """Additive attention: e_j = v·tanh(W1 s + W2 m_j), softmax over the real j, context = Σ weight_j m_j; the padding's
    weight is 0.

    Parameters
    ----------
    weights
        ``attention.w1`` (A, state_size), ``attention.w2`` (A, memory_size) and ``attention.v`` (A,).
    arithmetic
        What to compute in; the softmax is in its wide dtype.
    memory
        The encoder's output m (batch, seq_len, memory_size).
    real
        (batch, seq_len) bool: which of its steps are real, at least one in each row.

    Attributes
    ----------
    weights
        What each step looked at, (batch, seq_len): above 0 where real, and 1 together.
    """

    def __init__(
        self, weights: Mapping[str, np.ndarray], arithmetic: Arithmetic, memory: np.ndarray, real: np.ndarray
    ) -> None:
        self._w1, self._w2, self._v = (weights[f"attention.{name}"] for name in ("w1", "w2", "v"))
        self._arithmetic = arithmetic
        self._memory = memory
        self._real = real
        self._keys = arithmetic.product(memory, self._w2.T)  # (batch, seq_len, A)
        self.weights: list[np.ndarray] = []
        self._kept: list[tuple[np.ndarray, ...]] = []
        self._d_keys = np.zeros_like(self._keys)
        self._d_memory = np.zeros_like(memory)
        self._d_w1, self._d_v = np.zeros_like(self._w1), np.zeros_like(self._v)

    def step(self, s: np.ndarray) -> np.ndarray:
        """The context (batch, memory_size) for the decoder's top states s (batch, state_size)."""
        product, wide = self._arithmetic.product, self._arithmetic.wide
        inner = np.tanh(product(s, self._w1.T)[:, None] + self._keys)  # (batch, seq_len, A)
        energies = product(inner, self._v[:, None])[..., 0].astype(wide)  # (batch, seq_len)
        largest = np.where(self._real, energies.real, -np.inf).max(axis=1, keepdims=True)
        exponentials = np.where(self._real, np.exp(np.where(self._real, energies - largest, 0)), 0)
        weights = (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(self._arithmetic.dtype)
        self._kept.append((s, inner, weights))
        self.weights.append(weights)
        return product(weights[:, None], self._memory)[:, 0]

    def back_step(self, d_context: np.ndarray) -> np.ndarray:
        """The gradient of s (batch, state_size) for the last step that has not gone back yet."""
        product, wide = self._arithmetic.product, self._arithmetic.wide
        s, inner, weights = self._kept.pop()
        self._d_memory = self._d_memory + weights[..., None] * d_context[:, None]
        d_weights = product(self._memory, d_context[..., None])[..., 0].astype(wide)  # (batch, seq_len)
        mean = (weights * d_weights).sum(axis=1, keepdims=True)
        d_energies = (weights * (d_weights - mean)).astype(self._arithmetic.dtype)
        flat = inner.reshape(-1, inner.shape[-1])  # (batch·seq_len, A)
        self._d_v = self._d_v + product(flat.T, d_energies.reshape(-1, 1))[:, 0]
        d_sums = d_energies[..., None] * self._v * tanh_slope(inner)  # (batch, seq_len, A)
        self._d_keys = self._d_keys + d_sums
        d_query = d_sums.astype(wide).sum(axis=1).astype(self._arithmetic.dtype)  # (batch, A)
        self._d_w1 = self._d_w1 + product(d_query.T, s)
        return product(d_query, self._w1)

    def gradients(self) -> tuple[np.ndarray, Arrays]:
        """The gradients of the memory and of the parameters, when all steps have gone back."""
        product = self._arithmetic.product
        flat = self._d_keys.reshape(-1, self._d_keys.shape[-1])  # (batch·seq_len, A)
        d_w2 = product(flat.T, self._memory.reshape(-1, self._memory.shape[-1]))
        d_memory = self._d_memory + product(self._d_keys, self._w2)
        return d_memory, {"attention.w1": self._d_w1, "attention.w2": d_w2, "attention.v": self._d_v}
