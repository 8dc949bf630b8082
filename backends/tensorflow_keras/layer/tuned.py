"""tuned: RNN, GRU and LSTM with a backward pass written by hand; docs/tuning.md has the figures.

The loops over time are compiled by XLA, one for each direction, which have nothing to wait for in each other and so run
side by side. The large products stay outside, where oneDNN computes them: the input product before the loop, the
gradients of weights and inputs after it. Going back, the factors between the gradient of a state and those of its gates
are computed for all steps at once before the loop.

XLA of TensorFlow 2.21 gets some products wrong that it joins on a CPU, and says nothing (the probe
``xla-joins-products-wrongly``). So ``factors`` gives the gates apart, and they are joined outside. What is joined
inside, an LSTM's gradients by c and h of one step, tests/frameworks/test_implementations.py holds at several sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from backends.tensorflow_keras.layer.implementation import Parameters, Results, TensorFlowImplementation, execution
from backends.tensorflow_keras.layer.lengths import States, run_stack, step_mask
from common.specification import Specification
from common.weights import KINDS, weight_name

Step = Callable[[Sequence[tf.Tensor], States], tuple[States, Sequence[tf.Tensor]]]
"""A function from a step's inputs and the states before it to the states after it and what is kept."""


class Kept(NamedTuple):
    """What a forward loop leaves: the final states, (batch, hidden_size); the states after each step and the gates,
    (seq_len, batch, hidden_size).
    """

    final: States
    states: States
    gates: Sequence[tf.Tensor]


class Factors(NamedTuple):
    """What the loop back reads, each (seq_len, batch, hidden_size): for each gate, what the gradient by its sum is as a
    multiple of that by the state (by c for an LSTM's i, f and g); and the rest.
    """

    gates: Sequence[tf.Tensor]
    rest: Sequence[tf.Tensor]


class Totals(NamedTuple):
    """What a backward loop leaves: the gradient by the initial states; those by the sums of a step, (seq_len, batch,
    gates·hidden_size), as the recurrent product sees them; and a GRU's last gate as the input product sees it.
    """

    initial: States
    recurrent: tf.Tensor
    input_n: tf.Tensor | None


def over_time(
    step: Step,
    inputs: Sequence[tf.Tensor],
    states: States,
    widths: Sequence[int],
    real: tf.Tensor | None,
    reverse: bool = False,
) -> Any:
    """Run ``step`` over inputs, (seq_len, batch, …) each: the final states, and what the steps give, each
    (seq_len, batch, width), stacked.

    Where ``real`` (seq_len, batch, 1) is false, states stay and steps give 0.
    """
    seq_len, batch = inputs[0].shape[:2]
    sources = [tf.TensorArray(value.dtype, seq_len).unstack(value) for value in inputs]
    targets = [tf.TensorArray(states[0].dtype, seq_len, element_shape=(batch, width)) for width in widths]
    if real is not None:
        mask = tf.TensorArray(tf.bool, seq_len).unstack(real)

    def body(i: tf.Tensor, states: States, targets: list[tf.TensorArray]) -> tuple:
        t = seq_len - 1 - i if reverse else i
        new, given = step([source.read(t) for source in sources], states)
        if real is not None:
            here = mask.read(t)  # (batch, 1)
            new = tuple(tf.where(here, after, before) for after, before in zip(new, states, strict=True))
            given = [tf.where(here, value, tf.zeros_like(value)) for value in given]
        return i + 1, new, [target.write(t, value) for target, value in zip(targets, given, strict=True)]

    _, states, targets = tf.while_loop(lambda i, *_: i < seq_len, body, (0, states, targets))
    return states, [target.stack() for target in targets]


def run_rnn(
    cell: str, real: tf.Tensor | None, from_x: tf.Tensor, initial: States, kernel: tf.Tensor, bias: tf.Tensor
) -> Kept:
    """The loop of one direction; ``from_x`` (seq_len, batch, gates·hidden_size) is the input product with its bias,
    ``kernel`` (hidden_size, gates·hidden_size) and ``bias`` are the recurrent ones.
    """
    activation = tf.tanh if cell == "rnn_tanh" else tf.nn.relu

    def step(inputs: Sequence[tf.Tensor], states: States) -> tuple[States, Sequence[tf.Tensor]]:
        h = activation(inputs[0] + bias + tf.matmul(states[0], kernel))
        return (h,), (h,)

    final, (h,) = over_time(step, [from_x], initial, [initial[0].shape[1]], real)
    return Kept(final, (h,), ())


def factors_rnn(cell: str, kept: Kept, earlier: States) -> Factors:
    """What the loop back reads; ``earlier`` are the states before each step."""
    (h,) = kept.states
    return Factors([1 - h * h if cell == "rnn_tanh" else tf.cast(h > 0, h.dtype)], [])


def differentiate_rnn(
    real: tf.Tensor | None, factor: tf.Tensor, rest: Sequence[tf.Tensor], kernel: tf.Tensor, by_h: tf.Tensor, by: States
) -> Totals:
    """The loop back; ``factor`` (seq_len, batch, gates·hidden_size) are the gates' factors, ``by_h`` (seq_len, batch,
    hidden_size) the gradients by each step's output, ``by`` those by the final states. ``kernel`` is
    (gates·hidden_size, hidden_size) here.
    """

    def step(inputs: Sequence[tf.Tensor], by: States) -> tuple[States, Sequence[tf.Tensor]]:
        total = inputs[0] * (by[0] + inputs[1])
        return (tf.matmul(total, kernel),), (total,)

    by, (total,) = over_time(step, [factor, by_h], by, [kernel.shape[0]], real, reverse=True)
    return Totals(by, total, None)


def run_gru(
    cell: str, real: tf.Tensor | None, from_x: tf.Tensor, initial: States, kernel: tf.Tensor, bias: tf.Tensor
) -> Kept:
    """The loop of a GRU in one direction, as ``run_rnn``; the gates are r, z, R h + b_hh for n, and n."""
    size = initial[0].shape[1]

    def step(inputs: Sequence[tf.Tensor], states: States) -> tuple[States, Sequence[tf.Tensor]]:
        from_h = tf.matmul(states[0], kernel) + bias
        r, z = tf.split(tf.sigmoid(inputs[0][:, : 2 * size] + from_h[:, : 2 * size]), 2, axis=1)
        h_n = from_h[:, 2 * size :]
        n = tf.tanh(inputs[0][:, 2 * size :] + r * h_n)
        h = n + z * (states[0] - n)
        return (h,), (h, r, z, h_n, n)

    final, (h, *gates) = over_time(step, [from_x], initial, [size] * 5, real)
    return Kept(final, (h,), gates)


def factors_gru(cell: str, kept: Kept, earlier: States) -> Factors:
    """What the loop back of a GRU reads, as ``factors_rnn``."""
    r, z, h_n, n = kept.gates
    by_n = (1 - z) * (1 - n * n)
    return Factors([by_n * h_n * r * (1 - r), (earlier[0] - n) * z * (1 - z), by_n * r], [z, by_n])


def differentiate_gru(
    real: tf.Tensor | None, factor: tf.Tensor, rest: Sequence[tf.Tensor], kernel: tf.Tensor, by_h: tf.Tensor, by: States
) -> Totals:
    """The loop back of a GRU, as ``differentiate_rnn``."""
    rows, size = kernel.shape

    def step(inputs: Sequence[tf.Tensor], by: States) -> tuple[States, Sequence[tf.Tensor]]:
        factor, z, by_n, by_h = inputs
        by_h = by[0] + by_h
        total = tf.reshape(tf.reshape(factor, (-1, rows // size, size)) * by_h[:, None], (-1, rows))
        return (by_h * z + tf.matmul(total, kernel),), (total, by_n * by_h)

    by, (total, input_n) = over_time(step, [factor, *rest, by_h], by, [rows, size], real, reverse=True)
    return Totals(by, total, input_n)


def run_lstm(
    cell: str, real: tf.Tensor | None, from_x: tf.Tensor, initial: States, kernel: tf.Tensor, bias: tf.Tensor
) -> Kept:
    """The loop of an LSTM in one direction, as ``run_rnn``; the gates are i, f, g and o.

    All four come from one tanh over the whole row, sigmoid(x) = tanh(x/2)/2 + 1/2: XLA's loops are slow on single
    gates where hidden_size is small. A gate that is all but shut is then as far off as an open one.
    """
    size = initial[0].shape[1]
    scale = tf.constant([0.5] * (2 * size) + [1] * size + [0.5] * size, from_x.dtype)
    shift = tf.constant([0.5] * (2 * size) + [0] * size + [0.5] * size, from_x.dtype)

    def step(inputs: Sequence[tf.Tensor], states: States) -> tuple[States, Sequence[tf.Tensor]]:
        total = inputs[0] + bias + tf.matmul(states[0], kernel)
        i, f, g, o = tf.split(tf.tanh(total * scale) * scale + shift, 4, axis=1)
        c = f * states[1] + i * g
        h = o * tf.tanh(c)
        return (h, c), (h, c, i, f, g, o)

    final, (h, c, *gates) = over_time(step, [from_x], initial, [size] * 6, real)
    return Kept(final, (h, c), gates)


def factors_lstm(cell: str, kept: Kept, earlier: States) -> Factors:
    """What the loop back of an LSTM reads, as ``factors_rnn``."""
    i, f, g, o = kept.gates
    tanh_c = tf.tanh(kept.states[1])
    gates = [g * i * (1 - i), earlier[1] * f * (1 - f), i * (1 - g * g), tanh_c * o * (1 - o)]
    return Factors(gates, [o * (1 - tanh_c * tanh_c), f])


def differentiate_lstm(
    real: tf.Tensor | None, factor: tf.Tensor, rest: Sequence[tf.Tensor], kernel: tf.Tensor, by_h: tf.Tensor, by: States
) -> Totals:
    """The loop back of an LSTM, as ``differentiate_rnn``."""
    rows, _ = kernel.shape

    def step(inputs: Sequence[tf.Tensor], by: States) -> tuple[States, Sequence[tf.Tensor]]:
        factor, c_by_h, f, by_h = inputs
        by_h = by[0] + by_h
        by_c = by[1] + by_h * c_by_h
        total = factor * tf.concat([by_c, by_c, by_c, by_h], axis=1)
        return (tf.matmul(total, kernel), by_c * f), (total,)

    by, (total,) = over_time(step, [factor, *rest, by_h], by, [rows], real, reverse=True)
    return Totals(by, total, None)


LOOPS = {
    "rnn_tanh": (run_rnn, factors_rnn, differentiate_rnn),
    "rnn_relu": (run_rnn, factors_rnn, differentiate_rnn),
    "gru": (run_gru, factors_gru, differentiate_gru),
    "lstm": (run_lstm, factors_lstm, differentiate_lstm),
}
"""Each cell's forward loop, the factors of its derivative, and its backward loop."""


def flat(x: tf.Tensor) -> tf.Tensor:
    """(seq_len, batch, features) to (seq_len·batch, features)."""
    return tf.reshape(x, (-1, x.shape[2]))


def turned(x: tf.Tensor) -> tf.Tensor:
    """(batch, seq_len, features) to (seq_len, batch, features), or back."""
    return tf.transpose(x, (1, 0, 2))


class Tuned(TensorFlowImplementation):
    """One XLA loop for each layer and direction.

    Past a length the input is zeros, and the loops leave states as they are and give 0.
    """

    paths = ("padded", "flipped by length", "masked by length")

    def __init__(self, spec: Specification, dtype: str, device: str) -> None:
        if not spec.reset_after or device != "cpu":
            raise NotImplementedError("tensorflow/tuned must be asked for a CPU, and for a GRU with reset_after")
        super().__init__(spec, dtype, device)

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self.parameters = {name: self.tensor(value) for name, value in weights.items()}

    def build(self) -> None:
        # One function for all layers and directions, so that XLA compiles it once a shape.
        compiled = (tf.function(part, jit_compile=True, autograph=False) for part in LOOPS[self.spec.cell])
        self._run, self._factors, self._differentiate = compiled

    def run(self, parameters: Parameters, x: tf.Tensor, lengths: tf.Tensor | None, states: States) -> Results:
        real = None if lengths is None else step_mask(lengths, x.shape[1])

        def run_direction(x: tf.Tensor, states: States, layer: int, direction: int) -> tuple[tf.Tensor, States]:
            kinds = KINDS if self.spec.bias else KINDS[:2]
            weights = [parameters[weight_name(kind, layer, direction)] for kind in kinds]
            absent = [tf.zeros_like(weights[1][:, 0])] * (len(KINDS) - len(kinds))
            output, *final = self._layer(real, len(states))(x, *states, *weights, *absent)
            return output, tuple(final)

        return run_stack(self.spec, parameters, x, lengths, states, run_direction)

    def _layer(self, real: tf.Tensor | None, num_states: int) -> Callable[..., Any]:
        """One layer in one direction as a function of x, (batch, seq_len, in), the initial states and the weights."""
        cell = self.spec.cell
        if real is not None:
            real = turned(real)

        @tf.custom_gradient
        def layer(x: tf.Tensor, *arguments: tf.Tensor) -> tuple[Any, Callable]:
            initial, (kernel, recurrent_kernel, bias, recurrent_bias) = arguments[:num_states], arguments[num_states:]
            x = turned(x)
            from_x = tf.matmul(flat(x), kernel, transpose_b=True) + bias  # (in, gates·hidden_size)
            from_x = tf.reshape(from_x, (*x.shape[:2], -1))
            from_h = tf.transpose(recurrent_kernel)  # (hidden_size, gates·hidden_size); XLA takes longer for it
            kept = self._run(cell, real, from_x, initial, from_h, recurrent_bias)

            def differentiate(by_output: tf.Tensor, *by_final: tf.Tensor) -> tuple:
                pairs = zip(initial, kept.states, strict=True)
                earlier = tuple(tf.concat([first[None], states[:-1]], axis=0) for first, states in pairs)
                gates, rest = self._factors(cell, kept, earlier)
                factor = tf.concat(gates, axis=2)  # (seq_len, batch, gates·hidden_size)
                totals = self._differentiate(real, factor, rest, recurrent_kernel, turned(by_output), by_final)
                by_h = by_x = flat(totals.recurrent)
                if totals.input_n is not None:
                    columns = by_h.shape[1] - totals.input_n.shape[2]
                    by_x = tf.concat([by_h[:, :columns], flat(totals.input_n)], axis=1)
                kernels = (
                    tf.matmul(by_x, flat(x), transpose_a=True),
                    tf.matmul(by_h, flat(earlier[0]), transpose_a=True),
                )
                biases = tf.reduce_sum(by_x, axis=0), tf.reduce_sum(by_h, axis=0)
                return turned(tf.reshape(tf.matmul(by_x, kernel), x.shape)), *totals.initial, *kernels, *biases

            return (turned(kept.states[0]), *kept.final), differentiate

        return layer

    def path(self) -> str:
        by_length = "flipped by length" if self.spec.num_directions == 2 else "masked by length"
        padded = "padded" if self._lengths is None else by_length
        return f"a while loop for each direction, compiled by XLA, gradients by hand, {padded}, {execution()}"
