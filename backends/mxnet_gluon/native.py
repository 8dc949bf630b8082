"""native: Gluon's fused bidirectional layer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType

import mxnet as mx
import numpy as np

from backends.base import Inputs
from backends.mxnet_gluon.implementation import DEVICES, DTYPES, MXNetImplementation, Tensor
from backends.mxnet_gluon.layout import build_layer, load_layer
from backends.mxnet_gluon.sequence import merge
from common.specification import NUM_DIRECTIONS


class Native(MXNetImplementation):
    """mxnet.gluon.rnn.RNN, GRU or LSTM with bidirectional=True.

    With ``concat`` one module holds all layers. Gluon has no other merge, so for the rest there is one bidirectional
    module a layer, and the halves of its output are merged. Shorter rows are for an LSTM on a GPU alone (gaps.py),
    whose layer always takes lengths.
    """

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        every = list(range(self.spec.num_layers))
        self._groups = [every] if self.spec.merge == "concat" else [[layer] for layer in every]
        self._by_length = self.device == "gpu" and self.spec.cell == "lstm"
        self.blocks = []
        self.parameters = {}
        for layers in self._groups:
            module = build_layer(self.spec, layers, self._by_length, DTYPES[self.dtype], DEVICES[self.device])
            self.parameters |= load_layer(self.spec, module, weights, layers, (0, 1))
            self.blocks.append(module)

    def move_inputs(self, inputs: Inputs) -> None:
        lengths = None  # all rows are full then
        if self._by_length:
            full = np.full(inputs.x.shape[0], inputs.x.shape[1])
            lengths = full if inputs.lengths is None else inputs.lengths
        super().move_inputs(replace(inputs, lengths=lengths))

    def run(
        self, F: ModuleType, x: Tensor, lengths: Tensor | None, states: list[Tensor], weights: list[Tensor]
    ) -> list[Tensor]:
        finals = []
        rows = 0
        for module, layers in zip(self.blocks, self._groups, strict=True):
            end = rows + NUM_DIRECTIONS * len(layers)
            mine = [F.slice_axis(state, axis=0, begin=rows, end=end) for state in states]
            rows = end
            x, final = module(x, mine, lengths)
            finals.append(final)
            if self.spec.merge != "concat":
                halves = F.split(x, num_outputs=2, axis=2)  # (batch, seq_len, 2·hidden_size) to halves
                x = merge(F, self.spec, *halves)
        return [x, *(F.concat(*group, dim=0) for group in zip(*finals, strict=True))]

    def path(self) -> str:
        module = f"mxnet.gluon.rnn.{type(self.blocks[0]).__name__}"
        modules = module if len(self.blocks) == 1 else f"{len(self.blocks)} × {module}"
        return f"{modules}, {'by length' if self._by_length else 'padded'}, {self._kernel()}"

    def _kernel(self) -> str:
        if self.device == "gpu":
            return "cuDNN"
        has_onednn = mx.runtime.Features().is_enabled("MKLDNN") and os.environ.get("MXNET_USE_MKLDNN_RNN", "1") != "0"
        return "oneDNN" if has_onednn and self.dtype == "float32" else "MXNet's own kernel"
