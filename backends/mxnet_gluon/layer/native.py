"""native: Gluon's fused layer, bidirectional or, for one direction, not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import ModuleType

import mxnet as mx
import numpy as np
from mxnet import nd

from backends.mxnet_gluon.layer.implementation import DEVICES, DTYPES, MXNetImplementation, Tensor
from backends.mxnet_gluon.layer.layout import Held, build_layer, load_layer
from backends.mxnet_gluon.layer.lengths import merge
from common.weights import merge_weight_name, merge_weights

OWN_KERNEL = "MXNet's own kernel"
"""The name of the kernel that runs where oneDNN's does not."""


class Native(MXNetImplementation):
    """mxnet.gluon.rnn.RNN, GRU or LSTM with bidirectional=True, or without for one direction.

    With ``concat``, or one direction, one module holds all layers. Gluon has no other merge, so for the rest there is
    one bidirectional module a layer, and the halves of its output are merged. Shorter rows are for an LSTM on a GPU
    alone (gaps.py), whose layer always takes lengths.
    """

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        every = list(range(self.spec.num_layers))
        self._groups = [every] if self.spec.keeps_directions else [[layer] for layer in every]
        self._by_length = self.device == "gpu" and self.spec.cell == "lstm"
        self._modules = []
        self.parameters = {}
        for layers in self._groups:
            module = build_layer(self.spec, layers, self._by_length, DTYPES[self.dtype], DEVICES[self.device])
            self.parameters |= load_layer(self.spec, module, weights, layers, range(self.spec.num_directions))
            self._modules.append(module)
        self._merges = {name: Held(self.tensor(value)) for name, value in merge_weights(weights).items()}
        self.parameters |= {name: held.weight.data() for name, held in self._merges.items()}
        self.blocks = [*self._modules, *self._merges.values()]

    def given_lengths(self, lengths: np.ndarray | None, batch: int, seq_len: int) -> np.ndarray | None:
        if not self._by_length:
            if lengths is not None and (lengths < seq_len).any():
                raise NotImplementedError(f"rows must be full, {seq_len} steps, on this device; got {lengths.tolist()}")
            return None
        return np.full(batch, seq_len) if lengths is None else lengths

    def run(
        self, F: ModuleType, x: Tensor, lengths: Tensor | None, states: list[Tensor], weights: list[Tensor]
    ) -> list[Tensor]:
        finals = []
        rows = 0
        merges = {name: held(x) for name, held in self._merges.items()}
        for module, layers in zip(self._modules, self._groups, strict=True):
            end = rows + self.spec.num_directions * len(layers)
            mine = [F.slice_axis(state, axis=0, begin=rows, end=end) for state in states]
            rows = end
            x, final = module(x, mine, lengths)
            finals.append(final)
            if not self.spec.keeps_directions:
                halves = F.split(x, num_outputs=2, axis=2)  # (batch, seq_len, 2·hidden_size) to halves
                x = merge(F, self.spec, merges.get(merge_weight_name(layers[0])), *halves)
        return [x, *(F.concat(*group, dim=0) for group in zip(*finals, strict=True))]

    def data(self) -> nd.NDArray:
        # Where x needs no gradient, the own CPU kernel of MXNet 1.9.1 reads those of the lower layers' weights from
        # unwritten memory (silent_probes.py: lower_gradients_wrong_unless_data_has_one).
        return self._x if self._kernel() == OWN_KERNEL else super().data()

    def path(self) -> str:
        module = f"mxnet.gluon.rnn.{type(self._modules[0]).__name__}"
        modules = module if len(self._modules) == 1 else f"{len(self._modules)} × {module}"
        modules += "" if self.spec.num_directions == 2 else ", unidirectional"
        return f"{modules}, {'by length' if self._by_length else 'padded'}, {self._kernel()}"

    def _kernel(self) -> str:
        if self.device == "gpu":
            return "cuDNN"
        has_onednn = mx.runtime.Features().is_enabled("MKLDNN") and os.environ.get("MXNET_USE_MKLDNN_RNN", "1") != "0"
        return "oneDNN" if has_onednn and self.dtype == "float32" else OWN_KERNEL
