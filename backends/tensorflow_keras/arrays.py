"""What a hand-written layer takes and gives in TensorFlow: tensors, and ``tf.GradientTape``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import tensorflow as tf

from backends.interface.arrays import FrameworkArrays, Function, Outputs
from common.judging.precision import numpy_dtype


class TensorflowArrays(FrameworkArrays):
    """TensorFlow's tensors."""

    def settings(self) -> AbstractContextManager[Any]:
        return tf.device("/GPU:0" if self.device == "gpu" else "/CPU:0")

    def array(self, value: np.ndarray) -> tf.Tensor:
        return tf.constant(value.astype(numpy_dtype(self.dtype)) if value.dtype.kind == "f" else value)

    def numpy(self, value: Any) -> np.ndarray:
        return np.asarray(value)

    def wait(self, values: Outputs) -> None:
        if self.device == "gpu":
            tf.test.experimental.sync_devices()

    def gradients(self, function: Function, arrays: Mapping[str, Any], cotangents: Outputs) -> tuple[Outputs, Outputs]:
        with tf.GradientTape() as tape:
            for value in arrays.values():
                tape.watch(value)
            outputs = function(arrays)
            total = tf.add_n([tf.reduce_sum(outputs[name] * cotangents[name]) for name in cotangents])
        gradients = tape.gradient(total, dict(arrays))
        return outputs, {name: tf.convert_to_tensor(value) for name, value in gradients.items() if value is not None}


ARRAYS = TensorflowArrays
"""The kind of arrays of this framework."""
