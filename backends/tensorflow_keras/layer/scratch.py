"""scratch: the equations step by step in TensorFlow operations, as in Dive into Deep Learning, section 10.4."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from backends.tensorflow_keras.layer.implementation import Parameters, Results, TensorFlowImplementation, execution
from backends.tensorflow_keras.layer.lengths import States, run_stack, step_mask
from common.specification import Specification
from common.weights import KINDS, weight_name


def product(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """(batch, in) times a kernel (rows, in): (batch, rows)."""
    return tf.matmul(x, kernel, transpose_b=True)  # (rows, in) to (in, rows)


def step(spec: Specification, w: list[tf.Tensor], x: tf.Tensor, states: States) -> States:
    """One step of the cell: x (batch, in) and states (batch, hidden_size) to the new states; equations in common.cells.

    ``w`` is weight_ih, weight_hh and, with biases, bias_ih and bias_hh.
    """
    kernel, recurrent_kernel, bias, recurrent_bias = (*w, 0, 0)[:4]
    h = states[0]
    from_x = product(x, kernel) + bias
    if spec.cell == "gru" and not spec.reset_after:
        rows = 2 * spec.hidden_size
        bias_rz, bias_n = (recurrent_bias[:rows], recurrent_bias[rows:]) if spec.bias else (0, 0)
        x_rz, x_n = from_x[:, :rows], from_x[:, rows:]
        rz = tf.sigmoid(x_rz + product(h, recurrent_kernel[:rows]) + bias_rz)
        r, z = tf.split(rz, 2, axis=1)  # (batch, hidden_size) each
        n = tf.tanh(x_n + product(r * h, recurrent_kernel[rows:]) + bias_n)
        return ((1 - z) * n + z * h,)
    from_h = product(h, recurrent_kernel) + recurrent_bias
    if spec.cell == "gru":
        x_r, x_z, x_n = tf.split(from_x, 3, axis=1)  # (batch, hidden_size) each
        h_r, h_z, h_n = tf.split(from_h, 3, axis=1)
        r, z = tf.sigmoid(x_r + h_r), tf.sigmoid(x_z + h_z)
        n = tf.tanh(x_n + r * h_n)
        return ((1 - z) * n + z * h,)
    if spec.cell == "lstm":
        i, f, g, o = tf.split(from_x + from_h, 4, axis=1)  # (batch, hidden_size) each
        c = tf.sigmoid(f) * states[1] + tf.sigmoid(i) * tf.tanh(g)
        return tf.sigmoid(o) * tf.tanh(c), c
    return (tf.tanh(from_x + from_h) if spec.cell == "rnn_tanh" else tf.nn.relu(from_x + from_h),)


class Scratch(TensorFlowImplementation):
    """A while loop over time; states stay and outputs are 0 past a length."""

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self.parameters = {name: self.tensor(value) for name, value in weights.items()}

    def run(self, parameters: Parameters, x: tf.Tensor, lengths: tf.Tensor | None, states: States) -> Results:
        mask = None if lengths is None else step_mask(lengths, x.shape[1])

        def run_direction(x: tf.Tensor, states: States, layer: int, direction: int) -> tuple[tf.Tensor, States]:
            kinds = KINDS if self.spec.bias else KINDS[:2]
            w = [parameters[weight_name(kind, layer, direction)] for kind in kinds]
            return self._run_direction(self.spec.of_direction(layer, direction), w, x, mask, states)

        return run_stack(self.spec, parameters, x, lengths, states, run_direction)

    def _run_direction(
        self, spec: Specification, w: list[tf.Tensor], x: tf.Tensor, mask: tf.Tensor | None, states: States
    ) -> tuple[tf.Tensor, States]:
        seq_len = x.shape[1]
        inputs = tf.TensorArray(x.dtype, seq_len).unstack(tf.transpose(x, (1, 0, 2)))  # (seq_len, batch, in)
        if mask is not None:
            masks = tf.TensorArray(tf.bool, seq_len).unstack(tf.transpose(mask, (1, 0, 2)))  # (seq_len, batch, 1)

        def body(t: tf.Tensor, outputs: tf.TensorArray, states: States) -> tuple[tf.Tensor, tf.TensorArray, States]:
            new = step(spec, w, inputs.read(t), states)
            if mask is None:
                return t + 1, outputs.write(t, new[0]), new
            real = masks.read(t)  # (batch, 1)
            states = tuple(tf.where(real, after, before) for after, before in zip(new, states, strict=True))
            return t + 1, outputs.write(t, tf.where(real, new[0], tf.zeros_like(new[0]))), states

        outputs = tf.TensorArray(x.dtype, seq_len, element_shape=states[0].shape)
        _, outputs, states = tf.while_loop(lambda t, *_: t < seq_len, body, (0, outputs, states))
        return tf.transpose(outputs.stack(), (1, 0, 2)), states  # (batch, seq_len, hidden_size)

    def path(self) -> str:
        return f"TensorFlow operations in a while loop over time, {execution()}"
