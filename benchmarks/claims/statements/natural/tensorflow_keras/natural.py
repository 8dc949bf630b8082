"""Keras' bidirectional layers as a user calls them, with the weights that they are made with."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

KINDS = {"rnn_tanh": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}
"""Keras' layers by the suite's names of their cells."""


def called(spec: Any, x: Any, h_0: Any, c_0: Any) -> Any:
    """The output of a new layer from initial states (num_directions, batch, hidden_size), listed by direction."""
    half = KINDS[spec.cell](spec.hidden_size, return_sequences=True, dtype="float64")
    layer = keras.layers.Bidirectional(half, dtype="float64")
    states = [h_0] if c_0 is None else [h_0, c_0]
    listed = [state[direction] for direction in range(h_0.shape[0]) for state in states]
    return layer(x, initial_state=listed)


def state_of_one_direction(spec: Any, weights: Any, x: Any, lengths: Any, h_0: Any, c_0: Any) -> tuple[Any, ...]:
    """The layer called with an initial state of one direction; its output is what counts."""
    return (called(spec, x, h_0[:1], None if c_0 is None else c_0[:1]), h_0, *([] if c_0 is None else [c_0]))


def state_of_two_directions(spec: Any, weights: Any, x: Any, lengths: Any, h_0: Any, c_0: Any) -> tuple[Any, ...]:
    """The layer called with an initial state of both, as it has to be."""
    return (called(spec, x, h_0, c_0), h_0, *([] if c_0 is None else [c_0]))


def default_weights(spec: Any, weights: Any, x: Any, lengths: Any, h_0: Any, c_0: Any) -> tuple[Any, Any]:
    """The weights that a new GRU is made with, in canonical order and shape, one after the other in the output
    (1, numbers, 1); the seed is the row's length.
    """
    keras.utils.set_random_seed(int(lengths[0]))
    half = keras.layers.GRU(spec.hidden_size, return_sequences=True, dtype="float64")
    layer = keras.layers.Bidirectional(half, dtype="float64")
    layer(x)
    numbers = []
    for value in layer.weights:  # kernel, recurrent_kernel, bias (2, 3·H) of each direction, gates z, r, n
        z, r, n = tf.split(value, 3, axis=-1)
        in_order = tf.concat([r, z, n], axis=-1)
        numbers.append(tf.reshape(in_order if "bias" in value.path else tf.transpose(in_order), [-1]))
    return tf.concat(numbers, axis=0)[None, :, None], h_0
