"""native: torch.nn's bidirectional layer, or its unidirectional one for one direction, lengths as a PackedSequence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from backends.pytorch.layer.implementation import DEVICES, DTYPES, Results, TorchImplementation
from backends.pytorch.layer.layout import build_layer, load_layer
from backends.pytorch.layer.lengths import States, merge
from common.weights import merge_weight_name, merge_weights


class Native(TorchImplementation):
    """torch.nn.RNN, GRU or LSTM with bidirectional=True, or without for one direction.

    With ``concat``, or one direction, one module holds all layers. torch.nn has no other merge, so for the rest there
    is one bidirectional module a layer, and the halves of its output are merged.
    """

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        every = list(range(self.spec.num_layers))
        groups = [every] if self.spec.keeps_directions else [[layer] for layer in every]
        directions = range(self.spec.num_directions)
        self._modules = []
        self.parameters = {}
        for layers in groups:
            module = build_layer(self.spec, layers, directions, DTYPES[self.dtype], DEVICES[self.device])
            self.parameters |= load_layer(self.spec, module, weights, layers, directions)
            self._modules.append(module)
        self.parameters |= {
            name: self.tensor(value, requires_grad=True) for name, value in merge_weights(weights).items()
        }

    def run(self, x: torch.Tensor, lengths: torch.Tensor | None, states: States) -> Results:
        finals = []
        rows = 0
        for layer, module in enumerate(self._modules):
            mine = tuple(state[rows : rows + self.spec.num_directions * module.num_layers] for state in states)
            rows += self.spec.num_directions * module.num_layers
            x, final = self._run_module(module, x, mine)
            finals.append(final)
            if not self.spec.keeps_directions:
                halves = x.chunk(2, dim=-1)  # (batch, seq_len, 2·hidden_size) to halves
                x = merge(self.spec, self.parameters.get(merge_weight_name(layer)), *halves)
        joined = (torch.cat(group) for group in zip(*finals, strict=True))
        return {"output": x} | dict(zip(("h_n", "c_n"), joined, strict=False))

    def _run_module(self, module: torch.nn.RNNBase, x: torch.Tensor, states: States) -> tuple[torch.Tensor, States]:
        initial = states if len(states) == 2 else states[0]
        if self.host_lengths is None:
            output, final = module(x, initial)
        else:
            packed = pack_padded_sequence(x, self.host_lengths, batch_first=True, enforce_sorted=False)
            packed, final = module(packed, initial)
            output, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
        return output, final if isinstance(final, tuple) else (final,)

    def path(self) -> str:
        module = f"torch.nn.{type(self._modules[0]).__name__}"
        modules = module if len(self._modules) == 1 else f"{len(self._modules)} × {module}"
        modules += "" if self.spec.num_directions == 2 else ", unidirectional"
        return f"{modules}, {'padded' if self.host_lengths is None else 'packed'}"
