"""Keras' bidirectional layers as a user calls them, with the weights that they are made with."""

from __future__ import annotations

from typing import Any

import keras

KINDS = {"rnn_tanh": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}


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
