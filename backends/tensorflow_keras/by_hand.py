"""A plain timing loop around Keras' bidirectional layer, written without this suite, to hold its numbers against.

    python -m backends.tensorflow_keras.by_hand CELL SEQ_LEN BATCH INPUT_SIZE HIDDEN_SIZE

prints the seconds of each call, forward and backward, float32, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import tensorflow as tf

LAYERS = {"rnn_tanh": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}
"""The class for each cell that is timed here."""
WARM_UP, CALLS = 10, 40
"""Calls before the timed ones, and the timed ones."""


def main(cell: str, seq_len: int, batch: int, input_size: int, hidden_size: int) -> None:
    """Time a bidirectional layer's forward and backward pass, and print the seconds of each timed call."""
    layer = keras.layers.Bidirectional(LAYERS[cell](hidden_size, return_sequences=True, return_state=True))
    x = tf.random.normal((batch, seq_len, input_size))
    states = [tf.random.normal((batch, hidden_size)) for _ in range(4 if cell == "lstm" else 2)]
    by_output = tf.random.normal((batch, seq_len, 2 * hidden_size))
    layer(x, initial_state=states)  # makes its variables

    @tf.function(autograph=False)
    def forward_backward(x: tf.Tensor, states: list[tf.Tensor], by_output: tf.Tensor) -> tuple:
        with tf.GradientTape() as tape:
            tape.watch([x, states])
            outputs = layer(x, initial_state=states)
        return outputs, tape.gradient(outputs, [x, states, layer.trainable_variables], [by_output, *states])

    samples = []
    for _ in range(WARM_UP + CALLS):
        started = time.perf_counter()
        forward_backward(x, states, by_output)
        samples.append(time.perf_counter() - started)
    print(json.dumps(samples[WARM_UP:]))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
