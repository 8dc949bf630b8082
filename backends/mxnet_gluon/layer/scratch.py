"""scratch: the equations step by step in MXNet operations, as in Dive into Deep Learning, section 10.4."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from backends.mxnet_gluon.layer.implementation import MXNetImplementation, Tensor
from backends.mxnet_gluon.layer.lengths import States, run_stack, step_mask, unstack
from common.specification import Specification
from common.weights import KINDS, weight_name

Affine = Callable[[ModuleType, Tensor, Tensor, Tensor | None, int], Tensor]
"""A function that multiplies by a weight and adds a bias."""


def affine(F: ModuleType, x: Tensor, kernel: Tensor, bias: Tensor | None, rows: int) -> Tensor:
    """The product of x (batch, in) and the transposed kernel (rows, in), plus a bias if there is one: (batch, rows)."""
    return F.FullyConnected(x, kernel, bias, num_hidden=rows, no_bias=bias is None)


def affine_by_einsum(F: ModuleType, x: Tensor, kernel: Tensor, bias: Tensor | None, rows: int) -> Tensor:
    """``affine`` for float16 on the CPU, where einsum is the one product of MXNet 1.9.1 (apache/mxnet#12700)."""
    product = F.np.einsum("bi,oi->bo", x.as_np_ndarray(), kernel.as_np_ndarray()).as_nd_ndarray()
    return product if bias is None else F.broadcast_add(product, F.expand_dims(bias, axis=0))


def step(F: ModuleType, spec: Specification, affine: Affine, w: list[Any], x: Tensor, states: States) -> States:
    """One step of the cell: x (batch, in) and states (batch, hidden_size) to the new states; equations in common.cells.

    ``w`` is weight_ih, weight_hh, bias_ih and bias_hh, None for a bias that is not there, as ``cut`` leaves them.
    """
    kernel, recurrent_kernel, bias, recurrent_bias = w
    h = states[0]
    from_x = affine(F, x, kernel, bias, spec.num_gates * spec.hidden_size)
    if spec.cell == "gru" and not spec.reset_after:
        rows = 2 * spec.hidden_size
        (kernel_rz, kernel_n), (bias_rz, bias_n) = recurrent_kernel, recurrent_bias
        x_rz, x_n = split_at(F, from_x, rows, axis=1)
        r, z = F.split(F.sigmoid(x_rz + affine(F, h, kernel_rz, bias_rz, rows)), num_outputs=2, axis=1)
        n = F.tanh(x_n + affine(F, r * h, kernel_n, bias_n, spec.hidden_size))
        return [(1 - z) * n + z * h]
    from_h = affine(F, h, recurrent_kernel, recurrent_bias, spec.num_gates * spec.hidden_size)
    if spec.cell == "gru":
        x_r, x_z, x_n = F.split(from_x, num_outputs=3, axis=1)
        h_r, h_z, h_n = F.split(from_h, num_outputs=3, axis=1)
        r, z = F.sigmoid(x_r + h_r), F.sigmoid(x_z + h_z)
        n = F.tanh(x_n + r * h_n)
        return [(1 - z) * n + z * h]
    if spec.cell == "lstm":
        i, f, g, o = F.split(from_x + from_h, num_outputs=4, axis=1)
        c = F.sigmoid(f) * states[1] + F.sigmoid(i) * F.tanh(g)
        return [F.sigmoid(o) * F.tanh(c), c]
    return [F.tanh(from_x + from_h) if spec.cell == "rnn_tanh" else F.relu(from_x + from_h)]


def cut(F: ModuleType, spec: Specification, w: list[Any]) -> list[Any]:
    """``w`` with weight_hh and bias_hh cut into the rows of r and z and those of n, for a GRU that resets before.

    Before the loop: were every step to cut them, MXNet 1.9.1 would search the equal slices for common expressions in
    quadratic time, 8 s for 200 steps.
    """
    if spec.reset_after:
        return w
    kernel, recurrent_kernel, bias, recurrent_bias = w
    rows = 2 * spec.hidden_size
    halves = split_at(F, recurrent_bias, rows, axis=0) if spec.bias else (None, None)
    return [kernel, split_at(F, recurrent_kernel, rows, axis=0), bias, halves]


def split_at(F: ModuleType, x: Tensor, index: int, axis: int) -> tuple[Tensor, Tensor]:
    """What lies before ``index`` along the axis, and the rest."""
    return F.slice_axis(x, axis=axis, begin=0, end=index), F.slice_axis(x, axis=axis, begin=index, end=None)


class Scratch(MXNetImplementation):
    """A Python loop over time, traced into one graph; states stay and outputs are 0 past a length."""

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self.parameters = {name: self.tensor(value, requires_grad=True) for name, value in weights.items()}
        self._affine = affine_by_einsum if (self.dtype, self.device) == ("float16", "cpu") else affine

    def run(
        self, F: ModuleType, x: Tensor, lengths: Tensor | None, states: States, weights: list[Tensor]
    ) -> list[Tensor]:
        by_name = dict(zip(self.parameters, weights, strict=True))

        def run_direction(x: Tensor, states: States, layer: int, direction: int) -> tuple[Tensor, States]:
            w = [by_name.get(weight_name(kind, layer, direction)) for kind in KINDS]
            return self._run_direction(F, self.spec.of_direction(layer, direction), w, x, lengths, states)

        return run_stack(F, self.spec, by_name, x, lengths, states, run_direction)

    def _run_direction(
        self,
        F: ModuleType,
        spec: Specification,
        w: list[Tensor | None],
        x: Tensor,
        lengths: Tensor | None,
        states: States,
    ) -> tuple[Tensor, States]:
        mask = None if lengths is None else unstack(F, step_mask(F, lengths, self.seq_len), self.seq_len)
        w = cut(F, spec, w)
        outputs = []
        for t, x_t in enumerate(unstack(F, x, self.seq_len)):
            new = step(F, spec, self._affine, w, x_t, states)
            if mask is None:
                states = new
            else:
                real = mask[t]  # (batch,)
                states = [F.where(real, after, before) for after, before in zip(new, states, strict=True)]
            outputs.append(states[0])
        output = F.stack(*outputs, axis=0)
        if lengths is not None:
            output = F.SequenceMask(output, lengths, use_sequence_length=True)
        return output, states

    def path(self) -> str:
        product = "einsum" if self._affine is affine_by_einsum else "FullyConnected"
        return f"MXNet operations in a Python loop over time, in one graph, with {product}"
