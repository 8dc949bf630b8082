"""manual: Gluon's cells unrolled twice, the second time on input reversed by length; once for one direction."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

import numpy as np
from mxnet.gluon import rnn

from backends.mxnet_gluon.layer.implementation import DEVICES, DTYPES, MXNetImplementation, Tensor
from backends.mxnet_gluon.layer.layout import Held, build_cell, load_layer
from backends.mxnet_gluon.layer.lengths import States, run_stack
from common.weights import merge_weights


class Manual(MXNetImplementation):
    """mxnet.gluon.rnn.RNNCell, GRUCell or LSTMCell, one for each layer and direction.

    Cells, not the fused layer with bidirectional=False, which gives no c at the end of a shorter row. For a length of 0
    ``unroll`` would read its states from memory before the array (SequenceLast, MXNet 1.9.1), so such a row runs one
    step that is then masked: its outputs are 0 and its state stays.
    """

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self._modules = {}
        self.parameters = {}
        for layer in range(self.spec.num_layers):
            for direction in range(self.spec.num_directions):
                module = build_cell(self.spec, layer, direction, DTYPES[self.dtype], DEVICES[self.device])
                self.parameters |= load_layer(self.spec, module, weights, [layer], [direction])
                self._modules[layer, direction] = module
        self._merges = {name: Held(self.tensor(value)) for name, value in merge_weights(weights).items()}
        self.parameters |= {name: held.weight.data() for name, held in self._merges.items()}
        self.blocks = [*self._modules.values(), *self._merges.values()]

    def run(
        self, F: ModuleType, x: Tensor, lengths: Tensor | None, states: list[Tensor], weights: list[Tensor]
    ) -> list[Tensor]:
        def run_direction(x: Tensor, states: States, layer: int, direction: int) -> tuple[Tensor, States]:
            return self._run_module(F, self._modules[layer, direction], x, lengths, states)

        merges = {name: held(x) for name, held in self._merges.items()}
        return run_stack(F, self.spec, merges, x, lengths, states, run_direction)

    def _run_module(
        self,
        F: ModuleType,
        module: rnn.HybridRecurrentCell,
        x: Tensor,
        lengths: Tensor | None,
        states: list[Tensor],
    ) -> tuple[Tensor, list[Tensor]]:
        options = {"begin_state": states, "layout": "TNC", "merge_outputs": True}
        if lengths is None:
            return module.unroll(self.seq_len, x, **options)
        at_least_one = F.maximum(lengths, 1)
        output, final = module.unroll(self.seq_len, x, valid_length=at_least_one, **options)
        output = F.SequenceMask(output, lengths, use_sequence_length=True)
        some = lengths > 0  # (batch,)
        return output, [F.where(some, new, old) for new, old in zip(final, states, strict=True)]

    def path(self) -> str:
        module = f"mxnet.gluon.rnn.{type(self._modules[0, 0]).__name__}"
        by_length = "unrolled and flipped by length" if self.spec.num_directions == 2 else "unrolled by length"
        unrolled = "unrolled" if self._lengths is None else by_length
        return f"{len(self._modules)} × {module}, {unrolled}, in one graph"
