"""LiteRT's dynamic-range quantization of Keras' layers, by way of tf.lite (TensorFlow 2.21), beside its float32.

Kernels are int8, activations are rounded as they come, each row by itself, in the fully connected operators inside of
the loop; everything else is float32. tf.lite.Interpreter is deprecated in favour of the package ai-edge-litert, which
has the same kernels. Sizes are fixed when a model is converted.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from functools import partial

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from backends.interface.gaps import Refusal
from backends.interface.int8 import Int8Layer, Int8Offer
from backends.tensorflow_keras.layer.native import Native
from common.specification import Specification


class LiteRTLayer(Int8Layer):
    """Keras' layer, converted when the input's sizes are known, run by the interpreter with XNNPACK."""

    def __init__(self, spec: Specification, weights: Mapping[str, np.ndarray], quantized: bool) -> None:
        super().__init__(spec, weights)
        self._quantized = quantized

    def move_input(self, x: np.ndarray) -> None:
        self._interpreter = interpreter(converted(self.spec, self.weights, x.shape, self._quantized))
        self._interpreter.set_tensor(self._interpreter.get_input_details()[0]["index"], x.astype(np.float32))

    def forward(self) -> None:
        self._interpreter.invoke()

    def output(self) -> np.ndarray:
        return self._interpreter.get_tensor(self._interpreter.get_output_details()[0]["index"])

    def path(self) -> str:
        return f"tf.lite.Interpreter, {'dynamic range' if self._quantized else 'float32'}"


def converted(spec: Specification, weights: Mapping[str, np.ndarray], shape: tuple[int, ...], quantized: bool) -> bytes:
    """A LiteRT model of a layer on inputs of a shape (batch, seq_len, input_size)."""
    native = Native(spec, "float32", "cpu")
    native.load_weights(weights)
    native.build()
    zeros = tf.zeros((spec.num_layers * spec.num_directions, shape[0], spec.hidden_size))
    states = (zeros, zeros) if spec.cell == "lstm" else (zeros,)

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False)
    def layer(x: tf.Tensor) -> tf.Tensor:
        return native.run(native.parameters, x, None, states)["output"]

    constant = convert_variables_to_constants_v2(layer.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([constant])
    converter.optimizations = [tf.lite.Optimize.DEFAULT] if quantized else []
    return converter.convert()


def interpreter(model: bytes) -> tf.lite.Interpreter:
    """An interpreter of a model with the suite's number of threads, ready to run."""
    threads = int(os.environ.get("OMP_NUM_THREADS", "0")) or None
    with warnings.catch_warnings(action="ignore"):  # tf.lite.Interpreter is deprecated in TensorFlow 2.20 and later
        made = tf.lite.Interpreter(model_content=model, num_threads=threads)
    made.allocate_tensors()
    return made


def int8_layers(spec: Specification) -> Int8Offer:
    """The dynamic-range kernels of a layer, and the same interpreter's float32."""
    if spec.cell == "gru" and not spec.reset_after:
        return Refusal("it was never tried for a GRU that resets before the product")
    return {
        "LiteRT, float32": partial(LiteRTLayer, quantized=False),
        "LiteRT, dynamic range": partial(LiteRTLayer, quantized=True),
    }
