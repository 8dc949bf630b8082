"""Make Keras' files: ``python with_keras.py FOLDER`` where Keras 3.15 is, or tensorflow-cpu 2.15.1, which has Keras 2.

The second needs no more than ``pip install tensorflow-cpu==2.15.1 safetensors``, with Python 3.11.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from safetensors.numpy import save_file
from tensorflow import keras

folder = Path(sys.argv[1])
old = tf.__version__.startswith("2.15")
random = np.random.default_rng(0)


def both(layer, name, **options):
    return keras.layers.Bidirectional(layer, name=name, **options)


ids = keras.Input((None,), name="ids", dtype="int32")
x = embedded = keras.layers.Embedding(7, 3, name="embedding")(ids)
steps = {}
layers = {
    "lstm": both(keras.layers.LSTM(4, return_sequences=True), "lstm"),
    "gru": both(keras.layers.GRU(3, return_sequences=True), "gru", merge_mode="sum"),
    "before": both(keras.layers.GRU(3, return_sequences=True, reset_after=False), "before"),
    "rnn": keras.layers.SimpleRNN(5, activation="relu", return_sequences=True, name="rnn"),
    "bare": both(keras.layers.LSTM(2, use_bias=False, return_sequences=True), "bare", merge_mode="ave"),
    "hard": keras.layers.LSTM(2, recurrent_activation="hard_sigmoid", return_sequences=True, name="hard"),
}
for name, layer in layers.items():
    steps[name] = x, (x := layer(x))
output = keras.layers.Dense(2, name="head")(keras.layers.Dropout(0.5, name="drop")(x))
model = keras.Model(ids, output, name="model")
model.set_weights([random.normal(scale=0.5, size=each.shape).astype(np.float32) for each in model.get_weights()])
every = keras.Model(ids, [part for pair in steps.values() for part in pair])
computed = [np.asarray(each) for each in every(random.integers(7, size=(2, 5)).astype(np.int32))]
answers = {
    f"{name}.{what}": computed[2 * i + j] for i, name in enumerate(steps) for j, what in enumerate(("x", "output"))
}
if old:
    model.save(folder / "keras2.h5")
    model.save_weights(folder / "keras2-weights.h5")
    save_file(answers, folder / "keras2.answers.safetensors")
else:
    model.save(folder / "keras.keras")
    model.save_weights(folder / "keras.weights.h5")
    model.save(folder / "keras-old-format.h5")
    save_file(answers, folder / "keras.answers.safetensors")
