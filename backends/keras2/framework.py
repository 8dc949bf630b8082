"""Keras 2's loader, and the layers that it loads run as they are: Keras 3 refuses its recurrent layers in ``.h5`` files
(time_major; keras-team/keras#19898).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from backends.interface.checkpoint import AskedLayer, LoadedCheckpoint, Part, in_results, parts_with_states
from backends.interface.framework import Framework
from backends.interface.layer import Arrays, Implementation, Inputs

INNER = ("layer", "backward_layer")
"""Where the configuration of Keras' Bidirectional holds those of its halves."""


class Keras2(Framework):
    """Keras 2 on the CPU: it implements nothing of its own, and loads checkpoints."""

    name = "keras2"
    gaps = ()
    implementations: Mapping[str, type[Implementation]] = {}

    def versions(self) -> dict[str, str]:
        return {"tensorflow": tf.__version__, "keras": keras.__version__}

    def devices(self) -> dict[str, str]:
        return {"cpu": "TensorFlow's"}

    def checkpoint(self, path: Path, format_name: str, config: str | None) -> LoadedCheckpoint:
        return Keras2Checkpoint(path)


class Keras2Checkpoint(LoadedCheckpoint):
    """A whole model of Keras 2."""

    def __init__(self, path: Path) -> None:
        self._model = tf.keras.models.load_model(path, compile=False)

    def run(self, asked: AskedLayer, dtype: str, inputs: Inputs) -> Arrays:
        x = inputs.x.astype(dtype)
        assert inputs.lengths is not None
        mask = np.arange(x.shape[1]) < inputs.lengths[:, None]  # (batch, seq_len)
        finals: list[tuple[np.ndarray, ...]] = []
        for part in parts_with_states(asked, inputs):
            rows = zip(*part.states, strict=True)  # forward h, c, reverse h, c
            initial = [tf.constant(state.astype(dtype)) for row in rows for state in row]
            x, *final = self._with_states(part)(tf.constant(x), initial_state=initial, mask=tf.constant(mask))
            x = np.where(mask[..., None], np.asarray(x), 0).astype(dtype)
            arrays, count = [np.asarray(each) for each in final], len(part.states)
            finals += [tuple(arrays[start : start + count]) for start in range(0, len(arrays), count)]
        return in_results(x, finals, asked.kind)

    def _with_states(self, part: Part) -> Any:
        """The layer that was loaded, made once more so that it gives its states, with the weights that were loaded."""
        loaded = self._model.get_layer(part.name)
        config = loaded.get_config()
        for values in [config[name]["config"] for name in INNER if config.get(name)] or [config]:
            values |= {"return_sequences": True, "return_state": True}
        layer = type(loaded).from_config(config)
        layer.build((None, None, part.kind.input_size))
        layer.set_weights(loaded.get_weights())
        return layer

    def plain(self, name: str, kind: str) -> Arrays:
        tensors = self._model.get_layer(name).get_weights()
        if kind == "embedding":
            return {"weight": tensors[0]}
        return {"weight": tensors[0].T} | ({"bias": tensors[1]} if len(tensors) == 2 else {})  # (in, out) to (out, in)
