"""The equations of the cells, one step at a time, with the derivatives written out by hand.

Every function works in the dtype of its arguments, complex ones included (for complex-step derivatives, Squire and
Trapp 1998, doi:10.1137/S003614459631241X). Shapes: x (batch, in), h and c (batch, hidden_size). Gates lie along the
rows of the kernels in the canonical order: r, z, n (gru) and i, f, g, o (lstm).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from common.specification import Specification
from common.weights import DirectionWeights

Product = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A function that multiplies two arrays as matrices."""
Elementwise = Callable[[np.ndarray], np.ndarray]
"""A function of each element."""


class State(NamedTuple):
    """What a cell carries from step to step; ``c`` is there for an LSTM alone and zeros for the rest."""

    h: np.ndarray
    c: np.ndarray


class StepGradients(NamedTuple):
    """Gradients of one step: of its input, of the state before it, and of its four weights."""

    x: np.ndarray
    state: State
    weights: DirectionWeights


def product_in(dtype: np.dtype) -> Product:
    """A matrix product whose result has ``dtype`` (ml_dtypes' bfloat16 would otherwise widen to float32)."""
    return lambda a, b: np.matmul(a, b).astype(dtype, copy=False)


def sigmoid(a: np.ndarray) -> np.ndarray:
    """1 / (1 + e^−a); e^−a may overflow to infinity, which gives the right limit of 0."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-a))


def sigmoid_by_tanh(a: np.ndarray, tanh: Elementwise = np.tanh) -> np.ndarray:
    """The sigmoid as (1 + tanh(a/2)) / 2, as XLA has it: near 0 it is off by the spacing of 1."""
    return (1 + tanh(a / 2)) / 2


def gates(a: np.ndarray, count: int) -> list[np.ndarray]:
    """The parts of ``a``, (batch, count·hidden_size), that each gate has, (batch, hidden_size); np.split does the same
    in thirty times the time, which was a fifth of the reference's.
    """
    width = a.shape[1] // count
    return [a[:, gate * width : (gate + 1) * width] for gate in range(count)]


def relu(a: np.ndarray) -> np.ndarray:
    """The larger of a and 0, decided by the real part so that a complex step passes through."""
    return np.where(a.real > 0, a, np.zeros_like(a))


def tanh_slope(y: np.ndarray) -> np.ndarray:
    """The derivative of tanh where its value is ``y``."""
    return 1 - y * y


def sigmoid_slope(y: np.ndarray) -> np.ndarray:
    """The derivative of sigmoid where its value is ``y``."""
    return y * (1 - y)


@dataclass(frozen=True)
class Cell:
    """One direction's cell with its weights.

    ``forward`` gives the state after a step and what ``backward`` needs; ``backward`` takes the gradient of the loss
    with respect to that state and gives the gradients of everything that went in.
    """

    weights: DirectionWeights
    product: Product
    kink: float = 0.0
    """Where the slope of relu jumps from 0 to 1; moved off 0 only to see which gradients hang on rounding."""
    sigmoid: Elementwise = sigmoid
    tanh: Elementwise = np.tanh
    sigmoid_slope: Elementwise = sigmoid_slope
    """The derivative of ``sigmoid`` by its value."""

    def forward(self, x: np.ndarray, state: State) -> tuple[State, Any]:
        """The state after a step, and what its gradients need."""
        raise NotImplementedError

    def backward(self, d_state: State, kept: Any) -> StepGradients:
        """The gradients of a step, by the gradient of the state after it."""
        raise NotImplementedError

    def _input_sums(self, x: np.ndarray) -> np.ndarray:
        """W x + b_ih for all gates."""
        return self.product(x, self.weights.weight_ih.T) + self.weights.bias_ih

    def _state_sums(self, h: np.ndarray) -> np.ndarray:
        """R h + b_hh for all gates."""
        return self.product(h, self.weights.weight_hh.T) + self.weights.bias_hh

    def _gradients(
        self,
        d_input: np.ndarray,
        d_recurrent: np.ndarray,
        x: np.ndarray,
        h: np.ndarray,
        d_h: np.ndarray,
        d_c: np.ndarray,
    ) -> StepGradients:
        """Carry gradients of the two sums before the non-linearities, (batch, G·hidden_size), to what they came from.

        ``d_h`` and ``d_c`` are what reaches the old state directly, past the kernels.
        """
        weights = DirectionWeights(
            weight_ih=self.product(d_input.T, x),
            weight_hh=self.product(d_recurrent.T, h),
            bias_ih=d_input.sum(axis=0),
            bias_hh=d_recurrent.sum(axis=0),
        )
        d_x = self.product(d_input, self.weights.weight_ih)
        return StepGradients(d_x, State(d_h + self.product(d_recurrent, self.weights.weight_hh), d_c), weights)


class RNNTanh(Cell):
    """The cell h' = tanh(W x + b_ih + R h + b_hh) (Elman 1990; torch.nn.RNN)."""

    def forward(self, x: np.ndarray, state: State) -> tuple[State, Any]:
        h = self.tanh(self._input_sums(x) + self._state_sums(state.h))
        return State(h, state.c), (x, state.h, h)

    def backward(self, d_state: State, kept: Any) -> StepGradients:
        x, h_before, h = kept
        d_a = d_state.h * tanh_slope(h)
        return self._gradients(d_a, d_a, x, h_before, np.zeros_like(h), d_state.c)


class RNNRelu(Cell):
    """The cell h' = max(W x + b_ih + R h + b_hh, 0) (torch.nn.RNN with nonlinearity="relu")."""

    def forward(self, x: np.ndarray, state: State) -> tuple[State, Any]:
        a = self._input_sums(x) + self._state_sums(state.h)
        return State(relu(a), state.c), (x, state.h, a)

    def backward(self, d_state: State, kept: Any) -> StepGradients:
        x, h_before, a = kept
        d_a = np.where(a > self.kink, d_state.h, np.zeros_like(a))
        return self._gradients(d_a, d_a, x, h_before, np.zeros_like(a), d_state.c)


class GRUResetAfter(Cell):
    """The cell h' = (1 − z)·n + z·h with n = tanh(W_n x + b_in + r·(R_n h + b_hn)) (torch.nn.GRU; cuDNN)."""

    def forward(self, x: np.ndarray, state: State) -> tuple[State, Any]:
        x_r, x_z, x_n = gates(self._input_sums(x), 3)
        h_r, h_z, h_n = gates(self._state_sums(state.h), 3)
        r = self.sigmoid(x_r + h_r)
        z = self.sigmoid(x_z + h_z)
        n = self.tanh(x_n + r * h_n)
        h = (1 - z) * n + z * state.h
        return State(h, state.c), (x, state.h, r, z, n, h_n)

    def backward(self, d_state: State, kept: Any) -> StepGradients:
        x, h_before, r, z, n, h_n = kept
        d_n = d_state.h * (1 - z) * tanh_slope(n)
        d_z = d_state.h * (h_before - n) * self.sigmoid_slope(z)
        d_r = d_n * h_n * self.sigmoid_slope(r)
        d_input = np.concatenate([d_r, d_z, d_n], axis=1)
        d_recurrent = np.concatenate([d_r, d_z, d_n * r], axis=1)
        return self._gradients(d_input, d_recurrent, x, h_before, d_state.h * z, d_state.c)


class GRUResetBefore(Cell):
    """The cell h' = (1 − z)·n + z·h with n = tanh(W_n x + b_in + R_n (r·h) + b_hn) (Cho et al. 2014, arXiv:1406.1078v3,
    eq. 8).
    """

    def forward(self, x: np.ndarray, state: State) -> tuple[State, Any]:
        hidden_size = state.h.shape[1]
        x_r, x_z, x_n = gates(self._input_sums(x), 3)
        h_r, h_z, _ = gates(self._state_sums(state.h), 3)
        r = self.sigmoid(x_r + h_r)
        z = self.sigmoid(x_z + h_z)
        kernel_n, bias_n = self.weights.weight_hh[2 * hidden_size :], self.weights.bias_hh[2 * hidden_size :]
        n = self.tanh(x_n + self.product(r * state.h, kernel_n.T) + bias_n)
        h = (1 - z) * n + z * state.h
        return State(h, state.c), (x, state.h, r, z, n)

    def backward(self, d_state: State, kept: Any) -> StepGradients:
        x, h_before, r, z, n = kept
        rows = 2 * h_before.shape[1]
        kernel_rz, kernel_n = self.weights.weight_hh[:rows], self.weights.weight_hh[rows:]
        d_n = d_state.h * (1 - z) * tanh_slope(n)
        d_z = d_state.h * (h_before - n) * self.sigmoid_slope(z)
        d_reset_h = self.product(d_n, kernel_n)
        d_r = d_reset_h * h_before * self.sigmoid_slope(r)
        d_rz = np.concatenate([d_r, d_z], axis=1)
        d_input = np.concatenate([d_rz, d_n], axis=1)
        weights = DirectionWeights(
            weight_ih=self.product(d_input.T, x),
            weight_hh=np.concatenate([self.product(d_rz.T, h_before), self.product(d_n.T, r * h_before)], axis=0),
            bias_ih=d_input.sum(axis=0),
            bias_hh=d_input.sum(axis=0),
        )
        d_h = d_state.h * z + d_reset_h * r + self.product(d_rz, kernel_rz)
        return StepGradients(self.product(d_input, self.weights.weight_ih), State(d_h, d_state.c), weights)


class LSTM(Cell):
    """The cell c' = f·c + i·g, h' = o·tanh(c') (Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al.
    2000; torch.nn.LSTM).
    """

    def forward(self, x: np.ndarray, state: State) -> tuple[State, Any]:
        a_i, a_f, a_g, a_o = gates(self._input_sums(x) + self._state_sums(state.h), 4)
        i, f, g, o = self.sigmoid(a_i), self.sigmoid(a_f), self.tanh(a_g), self.sigmoid(a_o)
        c = f * state.c + i * g
        tanh_c = self.tanh(c)
        return State(o * tanh_c, c), (x, state.h, state.c, i, f, g, o, tanh_c)

    def backward(self, d_state: State, kept: Any) -> StepGradients:
        x, h_before, c_before, i, f, g, o, tanh_c = kept
        d_c = d_state.c + d_state.h * o * tanh_slope(tanh_c)
        d_a = np.concatenate(
            [
                d_c * g * self.sigmoid_slope(i),
                d_c * c_before * self.sigmoid_slope(f),
                d_c * i * tanh_slope(g),
                d_state.h * tanh_c * self.sigmoid_slope(o),
            ],
            axis=1,
        )
        return self._gradients(d_a, d_a, x, h_before, np.zeros_like(d_c), d_c * f)


def cell_class(spec: Specification) -> type[Cell]:
    """The cell of a specification."""
    if spec.cell == "gru":
        return GRUResetAfter if spec.reset_after else GRUResetBefore
    return {"rnn_tanh": RNNTanh, "rnn_relu": RNNRelu, "lstm": LSTM}[spec.cell]
