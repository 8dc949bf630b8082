"""manual: torch.nn's unidirectional layer run twice, the second time on input reversed by length.

With one direction it is run once: a module a layer in the place of one for the stack, and rows of length 0 go, too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from backends.pytorch.layer.implementation import DEVICES, DTYPES, Results, TorchImplementation
from backends.pytorch.layer.layout import build_layer, load_layer
from backends.pytorch.layer.lengths import States, run_stack, step_mask
from common.weights import merge_weights


class Manual(TorchImplementation):
    """torch.nn.RNN, GRU or LSTM, one module for each layer and direction.

    Packing refuses a length of 0, so such a row runs one step that is then masked: its outputs are 0 and its state
    stays.
    """

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self._modules = {}
        self.parameters = {}
        for layer in range(self.spec.num_layers):
            for direction in range(self.spec.num_directions):
                module = build_layer(self.spec, [layer], [direction], DTYPES[self.dtype], DEVICES[self.device])
                self.parameters |= load_layer(self.spec, module, weights, [layer], [direction])
                self._modules[layer, direction] = module
        self.parameters |= {
            name: self.tensor(value, requires_grad=True) for name, value in merge_weights(weights).items()
        }

    def run(self, x: torch.Tensor, lengths: torch.Tensor | None, states: States) -> Results:
        def run_direction(x: torch.Tensor, states: States, layer: int, direction: int) -> tuple[torch.Tensor, States]:
            initial = tuple(state[None] for state in states)  # to (1, batch, hidden_size), and back
            output, final = self._run_module(self._modules[layer, direction], x, lengths, initial)
            return output, tuple(state[0] for state in final)

        return run_stack(self.spec, self.parameters, x, lengths, states, run_direction)

    def _run_module(
        self, module: torch.nn.RNNBase, x: torch.Tensor, lengths: torch.Tensor | None, states: States
    ) -> tuple[torch.Tensor, States]:
        initial = states if len(states) == 2 else states[0]
        if lengths is None:
            output, final = module(x, initial)
            return output, final if isinstance(final, tuple) else (final,)
        assert self.host_lengths is not None
        at_least_one = self.host_lengths.clamp(min=1)
        packed, final = module(pack_padded_sequence(x, at_least_one, True, enforce_sorted=False), initial)
        output, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
        output = torch.where(step_mask(lengths, x.shape[1]), output, torch.zeros_like(output))
        final = final if isinstance(final, tuple) else (final,)
        some = (lengths > 0)[:, None]
        return output, tuple(torch.where(some, new, old) for new, old in zip(final, states, strict=True))

    def path(self) -> str:
        module = f"torch.nn.{type(self._modules[0, 0]).__name__}"
        flipped = ", flipped by length" if self.spec.num_directions == 2 else ""
        packed = "padded" if self.host_lengths is None else f"packed{flipped}"
        return f"{len(self._modules)} × unidirectional {module}, {packed}"
