"""For each probe of TensorFlow, what Keras' layers would do if they did what a user expects."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.layers import GRU, LSTM, Bidirectional

from backends.tensorflow_keras.layer.layout import KERAS_GATES
from backends.tensorflow_keras.probes.silent import (
    gru_with,
    joined,
    loss_and_gradients,
    outputs_in_a_graph,
    pulled_back,
)
from backends.tensorflow_keras.probes.subject import HIDDEN, MASK, SEQ_LEN, X, filled, run
from common.specification import GATES


def unrolled_by_length() -> np.ndarray:
    """Two unrolled layers, the reverse one on rows flipped by their lengths, instead of Bidirectional."""
    wrapper = filled(Bidirectional(LSTM(HIDDEN)))
    x, lengths, outputs = tf.constant(X), MASK.sum(1), []
    for half, is_reverse in ((wrapper.forward_layer, False), (wrapper.backward_layer, True)):
        layer = LSTM(HIDDEN, return_sequences=True, unroll=True, zero_output_for_mask=True)
        layer.build(X.shape)
        layer.set_weights(half.get_weights())
        output = layer(tf.reverse_sequence(x, lengths, 1) if is_reverse else x, mask=tf.constant(MASK))
        outputs.append(tf.reverse_sequence(output, lengths, 1) if is_reverse else output)
    return np.concatenate(outputs, axis=-1)


def gradients_without_padding(x: np.ndarray) -> list[np.ndarray]:
    return loss_and_gradients(np.where(MASK[..., None], x, np.float32(0)))


def gru_that_reads_r_z_n(variables: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    def reordered(array: np.ndarray) -> np.ndarray:
        gates = dict(zip(GATES["gru"], np.split(array, 3, axis=-1), strict=True))
        return np.concatenate([gates[gate] for gate in KERAS_GATES["gru"]], axis=-1)

    return gru_with([reordered(array) for array in variables], x)


def wrapped_with_weights(layer: keras.Layer, weights: list[np.ndarray]) -> keras.Layer:
    wrapper = Bidirectional(layer)
    wrapper.build(X.shape)
    wrapper.set_weights(weights)
    return wrapper


def wrapped_as_trained(layer: keras.Layer) -> keras.Layer:
    wrapper = Bidirectional(layer)
    wrapper.build(X.shape)
    wrapper.forward_layer.set_weights(layer.get_weights())
    return wrapper


def wrapped_with_two_seeds(layer: keras.Layer) -> keras.Layer:
    config = layer.get_config()
    other_seed = keras.initializers.GlorotUniform(seed=layer.kernel_initializer.seed + 1)
    backward = LSTM.from_config(config | {"name": "other", "go_backwards": True, "kernel_initializer": other_seed})
    return Bidirectional(layer, backward_layer=backward)


def backwards_in_the_time_of_the_input(x: tf.Tensor) -> tuple[np.ndarray, np.ndarray]:
    layer = filled(GRU(HIDDEN, go_backwards=True, return_sequences=True))
    return layer(x).numpy(), MASK[:, ::-1]


@keras.saving.register_keras_serializable("stand_ins")
class OrthogonalThroughFloat32(keras.initializers.Orthogonal):
    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> tf.Tensor:
        return tf.cast(super().__call__(shape, dtype="float32"), dtype)


class CountingBidirectional(Bidirectional):
    def call(self, sequences: tf.Tensor, initial_state: Any = None, mask: Any = None, training: Any = None) -> Any:
        if initial_state is not None and len(initial_state) != 2:
            raise ValueError(f"initial_state must hold 2 states; got {len(initial_state)}")
        return super().call(sequences, initial_state, mask, training)


def restored_with_cudnn_off(layer: keras.Layer) -> keras.Layer:
    other = Bidirectional.from_config(layer.get_config())
    other.forward_layer.use_cudnn = layer.forward_layer.use_cudnn
    other.backward_layer.use_cudnn = layer.backward_layer.use_cudnn
    return other


def states_by_kind(layer: keras.Layer) -> list[np.ndarray]:
    forward_h, forward_c, backward_h, backward_c = run(layer)[1:]
    return [forward_h, backward_h, forward_c, backward_c]


def scaled_up_and_down(cotangents: np.ndarray) -> np.ndarray:
    return np.ldexp(pulled_back(np.ldexp(cotangents, 20)), -20)


STAND_INS: dict[str, Callable[..., Any]] = {
    "unrolled-reverse-half-loses-real-steps": unrolled_by_length,
    "longer-mask-shifts-the-reverse-half": lambda mask: outputs_in_a_graph(mask[:, :SEQ_LEN]),
    "arithmetic-drops-the-mask": keras.layers.Rescaling(0.5),
    "nan-in-the-padding-reaches-gradients": gradients_without_padding,
    "gru-gates-lie-in-another-order": gru_that_reads_r_z_n,
    "extra-initial-states-are-dropped": lambda: CountingBidirectional(GRU(HIDDEN)),
    "weights-argument-is-ignored": wrapped_with_weights,
    "wrapping-a-layer-discards-its-weights": wrapped_as_trained,
    "wrapper-casts-its-float64-layers": partial(Bidirectional, dtype="float64"),
    "float64-input-is-cut-to-float32": partial(LSTM, dtype="float64"),
    "seeded-initializer-makes-the-halves-equal": wrapped_with_two_seeds,
    "go-backwards-reverses-outputs-but-not-the-mask": backwards_in_the_time_of_the_input,
    "single-layer-repeats-its-last-output": partial(LSTM, zero_output_for_mask=True),
    "unit-forget-bias-overrides-the-initializer": partial(LSTM, unit_forget_bias=False),
    "bfloat16-raises-in-the-initializer": partial(LSTM, recurrent_initializer=OrthogonalThroughFloat32()),
    "use-cudnn-is-not-saved": restored_with_cudnn_off,
    "states-are-flat-by-direction": states_by_kind,
    "xla-joins-products-wrongly": joined,
    "gru-bias-moves-twice-as-far": partial(GRU, reset_after=False),
    "importing-writes-into-home": lambda home: {"HOME": str(home), "KERAS_HOME": str(home.parent / "keras")},
    "quantize-leaves-recurrent-layers-in-float32": lambda: {"bidirectional": "int8", "dense": "int8"},
    "tanh-is-several-spacings-off": np.tanh,
    "subnormal-gradients-are-flushed-to-0": scaled_up_and_down,
}
