"""ONNX Runtime's DynamicQuantizeLSTM, made by onnxruntime.quantization of the graph that birnn writes.

Kernels are int8, with one scale for each, or one for each row; activations are uint8 with one scale and zero point for
all rows of a batch. A GRU or RNN node stays as it is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from backends.interface.gaps import Refusal
from backends.interface.int8 import Int8Layer, Int8Offer
from backends.interface.layer import Inputs
from backends.onnx_runtime.native import NAME, Native
from backends.onnx_runtime.sessions import BoundRun, open_session
from common.specification import Specification


class QuantizedLayer(Int8Layer):
    """A session of the quantized graph."""

    def __init__(self, spec: Specification, weights: Mapping[str, np.ndarray], per_channel: bool) -> None:
        super().__init__(spec, weights)
        self._native = Native(spec, "float32", "cpu")
        self._native.load_weights(weights)
        self._graph = quantized(self._native.graph, per_channel)
        self._session = open_session(self._graph)

    def move_input(self, x: np.ndarray) -> None:
        zeros = np.zeros((self.spec.num_layers * self.spec.num_directions, len(x), self.spec.hidden_size))
        self._native.move_inputs(Inputs(x, None, zeros, zeros if self.spec.cell == "lstm" else None, {}))
        self._run = BoundRun(self._session, self._native.inputs)

    def forward(self) -> None:
        self._run.call()

    def output(self) -> np.ndarray:
        return self._run.outputs()[f"{NAME}.output"]

    def path(self) -> str:
        return ", ".join(dict.fromkeys(operators(self._graph)))


def quantized(graph: bytes, per_channel: bool = False) -> bytes:
    """A graph as quantize_dynamic makes it of another, with kernels of int8."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        before.write_bytes(graph)
        quantize_dynamic(before, after, per_channel=per_channel, weight_type=QuantType.QInt8)
        return after.read_bytes()


def operators(graph: bytes) -> list[str]:
    """The recurrent operators of a graph, in its order."""
    names = [node.op_type for node in onnx.load_from_string(graph).graph.node]
    return [name for name in names if name.endswith(("RNN", "GRU", "LSTM"))]


def int8_layers(spec: Specification) -> Int8Offer:
    """The dynamic kernels of a layer."""
    if spec.cell != "lstm":
        return Refusal("onnxruntime.quantization.quantize_dynamic (1.31) takes LSTM; GRU and RNN stay float32")
    return {
        "quantize_dynamic, a scale a kernel": partial(QuantizedLayer, per_channel=False),
        "quantize_dynamic, a scale a row": partial(QuantizedLayer, per_channel=True),
    }
