"""torch.ao.quantization's dynamic kernels of LSTM and GRU (torch 2.13, where they are deprecated in favour of torchao).

Kernels are int8, with one scale for each, or one for each row where the configuration says so; activations are uint8 of
7 bits with one scale and zero point for all rows of a batch (``reduce_range``, so that no product saturates in 16 bits
on a CPU without VNNI).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.ao.quantization import default_dynamic_qconfig, per_channel_dynamic_qconfig, quantize_dynamic

from backends.interface.gaps import Refusal
from backends.interface.int8 import Int8Layer, Int8Offer
from backends.pytorch.layer.layout import build_layer, load_layer
from common.specification import Specification


class QuantizedLayer(Int8Layer):
    """torch.ao.nn.quantized.dynamic.LSTM or GRU, made of torch.nn's layer by quantize_dynamic."""

    def __init__(self, spec: Specification, weights: Mapping[str, np.ndarray], qconfig: Any) -> None:
        super().__init__(spec, weights)
        layers, directions = range(spec.num_layers), range(spec.num_directions)
        module = build_layer(spec, layers, directions, torch.float32, "cpu")
        load_layer(spec, module, weights, layers, directions)
        self._module = quantized(module, qconfig)

    def move_input(self, x: np.ndarray) -> None:
        self._x = torch.tensor(x, dtype=torch.float32)

    def forward(self) -> None:
        with torch.no_grad():
            self._output = self._module(self._x)[0]

    def output(self) -> np.ndarray:
        return self._output.numpy()

    def path(self) -> str:
        kind = type(self._module)
        return f"{kind.__module__.partition('.modules')[0]}.{kind.__name__}, {torch.backends.quantized.engine}"


def quantized(module: nn.RNNBase, qconfig: Any) -> nn.Module:
    """The layer that quantize_dynamic makes of another; the same one where it has none for it, as of torch.nn.RNN."""
    with warnings.catch_warnings(action="ignore"):  # torch 2.13 warns of its deprecation at every call
        return quantize_dynamic(nn.Sequential(module), {type(module): qconfig})[0]


def int8_layers(spec: Specification) -> Int8Offer:
    """The dynamic kernels of a layer."""
    if spec.cell not in ("lstm", "gru"):
        return Refusal("torch.ao.quantization.quantize_dynamic (torch 2.13) takes LSTM and GRU; RNN stays float32")
    if not spec.bias:
        return Refusal("torch.ao.quantization.quantize_dynamic (torch 2.13) takes layers with biases")
    if not spec.reset_after or not spec.keeps_directions:
        return Refusal("torch.nn's layers reset after the product, and keep their directions side by side")
    if spec.hidden_size_reverse is not None:
        return Refusal("torch.nn's layers have directions of one size")
    return {
        "quantize_dynamic, a scale a kernel": partial(QuantizedLayer, qconfig=default_dynamic_qconfig),
        "quantize_dynamic, a scale a row": partial(QuantizedLayer, qconfig=per_channel_dynamic_qconfig),
    }
