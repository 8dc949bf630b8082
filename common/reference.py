"""The reference: a bidirectional or forward RNN in NumPy, forward and gradients, written like the equations.

It runs in any NumPy float type: float64 and longdouble to judge by, float32 and float16 as the plain loop whose error
is the yardstick, complex128 for complex-step derivatives (forward only). No gradient here comes from a framework.

The methods that a mistake would change (flipping, masking, merging, picking the final state) are small and apart, so
that ``common.judging.mistakes`` can override just them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from common.cells import Cell, Elementwise, Product, State, cell_class, product_in, sigmoid
from common.specification import NUM_DIRECTIONS, Specification
from common.weights import KINDS, DirectionWeights, merge_weight_name, of_direction, weight_name

FORWARD, REVERSE = range(NUM_DIRECTIONS)
"""The directions' places in states and names."""
Arrays = dict[str, np.ndarray]
"""Arrays by name."""


def step_mask(lengths: np.ndarray | None, batch: int, seq_len: int) -> np.ndarray:
    """Which steps are real: (batch, seq_len) bool, all of them when ``lengths`` is None."""
    if lengths is None:
        return np.ones((batch, seq_len), bool)
    return np.arange(seq_len) < lengths[:, None]


def flip(x: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """Reverse the first ``lengths[b]`` steps of row b and leave the padding where it is; its own inverse and adjoint.

    x is (batch, seq_len, …); ``lengths`` (batch,) or None for whole rows.
    """
    if lengths is None:
        return x[:, ::-1]  # time reversed
    steps = np.arange(x.shape[1])
    source = np.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)  # (batch, seq_len)
    return x[np.arange(x.shape[0])[:, None], source]  # time reversed within each length


class Pass:
    """One direction of one layer over time: h and c kept still past each length, outputs zero there.

    Parameters
    ----------
    cell
        The cell with its weights.
    mask
        (batch, seq_len) bool: which steps are real.
    """

    def __init__(self, cell: Cell, mask: np.ndarray) -> None:
        self.cell = cell
        self.mask = mask
        # The steps that are real in every row: nothing is kept still there.
        self._is_whole = np.logical_and.reduce(mask, axis=0)
        self._kept: list = []

    def forward(self, x: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Run over x (batch, seq_len, in); gives the outputs (batch, seq_len, hidden_size) and the final state."""
        output = np.zeros((*x.shape[:2], state.h.shape[1]), x.dtype)
        self._kept.clear()
        x = np.where(self.mask[..., None], x, np.zeros((), x.dtype))  # padding may be NaN, and 0·NaN is no 0
        for t in range(x.shape[1]):
            after, kept = self.cell.forward(x[:, t], state)
            self._kept.append(kept)
            if self._is_whole[t]:
                output[:, t], state = after.h, after
                continue
            real = self.mask[:, t, None]
            output[:, t] = np.where(real, after.h, output[:, t])
            state = State(np.where(real, after.h, state.h), np.where(real, after.c, state.c))
        return output, state

    def backward(self, d_output: np.ndarray, d_state: State) -> tuple[np.ndarray, State, DirectionWeights]:
        """Gradients of the input, the initial state and the weights, from those of outputs and final state."""
        weights = self.cell.weights
        totals = [np.zeros_like(getattr(weights, kind)) for kind in KINDS]
        d_x = np.zeros((*d_output.shape[:2], weights.weight_ih.shape[1]), d_output.dtype)
        for t in reversed(range(d_output.shape[1])):
            real = self.mask[:, t, None]
            into_step = State(d_state.h + d_output[:, t], d_state.c)
            if not self._is_whole[t]:
                into_step = State(*(np.where(real, each, np.zeros_like(each)) for each in into_step))
            gradients = self.cell.backward(into_step, self._kept[t])
            d_x[:, t] = gradients.x if self._is_whole[t] else np.where(real, gradients.x, d_x[:, t])
            d_state = self.before_step(t, real, gradients.state, d_state)
            totals = [total + getattr(gradients.weights, kind) for total, kind in zip(totals, KINDS, strict=True)]
        return d_x, d_state, DirectionWeights(*totals)

    def before_step(self, t: int, real: np.ndarray, d_step: State, d_held: State) -> State:
        """The gradient of the state before step t: through the step where it is ``real``, (batch, 1) bool, and where
        the state was held, what came from the steps after it.
        """
        return State(np.where(real, d_step.h, d_held.h), np.where(real, d_step.c, d_held.c))


class Reference:
    """A bidirectional or forward RNN, ``num_layers`` deep, in the dtype that is given.

    Parameters
    ----------
    spec
        The specification.
    weights
        Canonical weights by name; they are cast to ``dtype`` first.
    dtype
        Any NumPy float type, or complex128 (forward only).
    kink
        See ``common.cells.Cell``.
    """

    def __init__(
        self,
        spec: Specification,
        weights: Mapping[str, np.ndarray],
        dtype: np.dtype | type | str,
        kink: float = 0.0,
    ) -> None:
        self.spec = spec
        self.kink = kink
        self.dtype = np.dtype(dtype)
        self._lengths: np.ndarray | None = None
        self._passes: dict[tuple[int, int], Pass] = {}
        self._merged: list[list[np.ndarray]] = []
        self.weights = {name: value.astype(self.dtype) for name, value in weights.items()}

    # What a mistake can change.

    def product(self) -> Product:
        """The product that the cells compute with."""
        return product_in(self.dtype)

    def sigmoid(self) -> Elementwise:
        """The sigmoid that the cells compute with."""
        return sigmoid

    def tanh(self) -> Elementwise:
        """The hyperbolic tangent that the cells compute with."""
        return np.tanh

    def cell(self, weights: DirectionWeights) -> Cell:
        """The cell of one layer in one direction."""
        return cell_class(self.spec)(weights, self.product(), self.kink, self.sigmoid(), self.tanh())

    def over_time(self, cell: Cell, mask: np.ndarray) -> Pass:
        """The loop of a cell over time."""
        return Pass(cell, mask)

    def mask(self, lengths: np.ndarray | None, batch: int, seq_len: int, direction: int) -> np.ndarray:
        """Which steps are real in a direction, (batch, seq_len) bool."""
        return step_mask(lengths, batch, seq_len)

    def to_direction(self, x: np.ndarray, lengths: np.ndarray | None, direction: int) -> np.ndarray:
        """The input in the order in which a direction reads it."""
        return flip(x, lengths) if direction == REVERSE else x

    def from_direction(self, output: np.ndarray, lengths: np.ndarray | None, direction: int) -> np.ndarray:
        """A direction's output in the order of the input."""
        return flip(output, lengths) if direction == REVERSE else output

    def final_state(self, output: np.ndarray, state: State) -> State:
        """What becomes h_n and c_n; ``output`` is one direction's, in the order of the sequence."""
        return state

    def final_state_gradient(self, d_output: np.ndarray, d_state: State) -> tuple[np.ndarray, State]:
        """The gradients of a direction's output and final state, as its loop is given them."""
        return d_output, d_state

    def merge(self, layer: int, forward: np.ndarray, reverse: np.ndarray) -> np.ndarray:
        """Two directions' outputs, (batch, seq_len, hidden_size) each, to the layer's (batch, seq_len, output_size)."""
        if self.spec.merge == "concat":
            return np.concatenate([forward, reverse], axis=-1)
        if self.spec.merge == "weighted":
            weight = self.weights[merge_weight_name(layer)]
            return weight[FORWARD] * forward + weight[REVERSE] * reverse
        if self.spec.merge == "mul":
            return forward * reverse
        return (forward + reverse) / (2 if self.spec.merge == "ave" else 1)

    def merge_gradient(
        self, layer: int, gradients: Arrays, d_output: np.ndarray, forward: np.ndarray, reverse: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The adjoint of ``merge``; the gradient of a learned merge goes into ``gradients``."""
        if self.spec.merge == "concat":
            d_forward, d_reverse = np.split(d_output, [self.spec.hidden_size], axis=-1)
            return d_forward, d_reverse
        if self.spec.merge == "weighted":
            weight = self.weights[merge_weight_name(layer)]
            gradients[f"grad.{merge_weight_name(layer)}"] = np.stack(
                [(d_output * forward).sum(axis=(0, 1)), (d_output * reverse).sum(axis=(0, 1))]
            )
            return d_output * weight[FORWARD], d_output * weight[REVERSE]
        if self.spec.merge == "mul":
            return d_output * reverse, d_output * forward
        shared = d_output / (2 if self.spec.merge == "ave" else 1)
        return shared, shared

    # The network.

    def forward(self, x: np.ndarray, lengths: np.ndarray | None, h_0: np.ndarray, c_0: np.ndarray) -> Arrays:
        """``output`` (batch, seq_len, output_size), ``h_n`` and ``c_n`` (num_layers·num_directions, batch,
        state_size).
        """
        self._lengths, self._passes, self._merged = lengths, {}, []
        h_0, c_0 = h_0.astype(self.dtype), c_0.astype(self.dtype)
        h_n, c_n = np.zeros_like(h_0), np.zeros_like(c_0)
        current = x.astype(self.dtype)
        for layer in range(self.spec.num_layers):
            outputs = []
            for direction in range(self.spec.num_directions):
                row, units = self.place(layer, direction)
                state = State(h_0[row, :, units], c_0[row, :, units])
                output, state = self.run_direction(current, state, layer, direction)
                h_n[row, :, units], c_n[row, :, units] = state
                outputs.append(output)
            self._merged.append(outputs)
            current = outputs[FORWARD] if self.spec.merge is None else self.merge(layer, *outputs)
        return {"output": current, "h_n": h_n} | ({"c_n": c_n} if self.spec.cell == "lstm" else {})

    def place(self, layer: int, direction: int) -> tuple[int, slice]:
        """Where a direction's state stands: its row, and its units among those of the wider direction."""
        return layer * self.spec.num_directions + direction, slice(self.spec.hidden_sizes[direction])

    def run_direction(self, x: np.ndarray, state: State, layer: int, direction: int) -> tuple[np.ndarray, State]:
        """One direction of one layer: its outputs in the order of the sequence, and its final state."""
        weights = of_direction(self.spec, self.weights, layer, direction)
        mask = self.mask(self._lengths, x.shape[0], x.shape[1], direction)
        run = self._passes[layer, direction] = self.over_time(self.cell(weights), mask)
        output, state = run.forward(self.to_direction(x, self._lengths, direction), state)
        output = self.from_direction(output, self._lengths, direction)
        return output, self.final_state(output, state)

    def backward(self, d_output: np.ndarray, d_h_n: np.ndarray, d_c_n: np.ndarray) -> Arrays:
        """Gradients ``grad.*`` of Σ d_output·output + Σ d_h_n·h_n + Σ d_c_n·c_n; call ``forward`` first."""
        gradients: Arrays = {}
        d_h_n, d_c_n = d_h_n.astype(self.dtype), d_c_n.astype(self.dtype)
        d_h_0, d_c_0 = np.zeros_like(d_h_n), np.zeros_like(d_c_n)
        d_current = d_output.astype(self.dtype)
        for layer in reversed(range(self.spec.num_layers)):
            d_outputs: tuple[np.ndarray, ...] = (d_current,)
            if self.spec.merge is not None:
                d_outputs = self.merge_gradient(layer, gradients, d_current, *self._merged[layer])
            d_inputs = []
            for direction in range(self.spec.num_directions):
                row, units = self.place(layer, direction)
                d_state = State(d_h_n[row, :, units], d_c_n[row, :, units])
                d_input, d_state = self.back_direction(d_outputs[direction], d_state, layer, direction, gradients)
                d_h_0[row, :, units], d_c_0[row, :, units] = d_state
                d_inputs.append(d_input)
            d_current = sum(d_inputs[1:], d_inputs[FORWARD])
        gradients |= {"grad.x": d_current, "grad.h_0": d_h_0}
        return gradients | ({"grad.c_0": d_c_0} if self.spec.cell == "lstm" else {})

    def back_direction(
        self, d_output: np.ndarray, d_state: State, layer: int, direction: int, gradients: Arrays
    ) -> tuple[np.ndarray, State]:
        """The adjoint of ``run_direction``; the weights' gradients go into ``gradients``."""
        d_output, d_state = self.final_state_gradient(d_output, d_state)
        d_output = self.from_direction(d_output, self._lengths, direction)  # a flip is its own adjoint
        d_x, d_state, d_weights = self._passes[layer, direction].backward(d_output, d_state)
        for kind in KINDS if self.spec.bias else KINDS[:2]:
            gradients[f"grad.{weight_name(kind, layer, direction)}"] = getattr(d_weights, kind)
        return self.to_direction(d_x, self._lengths, direction), d_state
