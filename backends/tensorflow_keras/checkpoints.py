"""Checkpoints read by Keras 3's loaders, those of Keras 2 among them, and their layers run as they were loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from backends.interface.checkpoint import AskedLayer, LoadedCheckpoint, Part, in_results, parts_with_states
from backends.interface.layer import Arrays, Inputs
from backends.tensorflow_keras.layer.lengths import step_mask

INNER = ("layer", "backward_layer")
"""The names under which Bidirectional holds its two layers."""


class KerasCheckpoint(LoadedCheckpoint):
    """A model of Keras; weights without one are loaded into the model of a configuration."""

    def __init__(self, path: Path, format_name: str, config: str | None) -> None:
        if format_name == "keras-weights":
            if config is None:
                raise ValueError("weights alone need the configuration of a model")
            self._model = keras.models.model_from_json(config)
            self._model.load_weights(path)
        else:
            self._model = keras.models.load_model(path, compile=False)

    def run(self, asked: AskedLayer, dtype: str, inputs: Inputs) -> Arrays:
        x = tf.constant(inputs.x.astype(dtype))
        mask = step_mask(tf.constant(inputs.lengths), x.shape[1])[..., 0]  # (batch, seq_len)
        finals: list[tuple[np.ndarray, ...]] = []
        for part in parts_with_states(asked, inputs):
            layer = self._with_states(part)
            initial = [
                tf.constant(state[row].astype(dtype)) for row in range(len(part.states[0])) for state in part.states
            ]
            x, *final = layer(x, initial_state=initial, mask=mask)  # forward h, c, reverse h, c
            count = len(part.states)
            arrays = [np.asarray(each) for each in final]
            finals += [tuple(arrays[start : start + count]) for start in range(0, len(arrays), count)]
        return in_results(np.asarray(x), finals, asked.kind)

    def _with_states(self, part: Part) -> keras.layers.Layer:
        """The layer that was loaded, made once more so that it gives its states, with the weights that were loaded."""
        loaded = self._layer(part.name)
        config = loaded.get_config()
        for values in [config[name]["config"] for name in INNER if config.get(name)] or [config]:
            values |= {"return_sequences": True, "return_state": True, "zero_output_for_mask": True}
        layer = type(loaded).from_config(config)
        layer.build((None, None, part.kind.input_size))
        layer.set_weights(loaded.get_weights())
        return layer

    def _layer(self, name: str) -> Any:
        """A layer by its name, behind those of the models that it lies in."""
        layer: Any = self._model
        while name:
            whole = name in [each.name for each in layer.layers]
            first, _, name = (name, "", "") if whole else name.partition(".")
            layer = layer.get_layer(first)
        return layer

    def plain(self, name: str, kind: str) -> Arrays:
        layer: Any = self._layer(name)
        values = layer.get_weights()
        if kind == "embedding":
            return {"weight": values[0]}
        return {"weight": values[0].T} | ({"bias": values[1]} if len(values) == 2 else {})  # (in, out) to (out, in)
