"""scratch: the equations step by step in torch operations, as in Dive into Deep Learning, section 10.4."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from backends.pytorch.layer.implementation import Results, TorchImplementation
from backends.pytorch.layer.lengths import States, run_stack, step_mask
from common.specification import Specification
from common.weights import KINDS, weight_name


def step(spec: Specification, w: list[torch.Tensor], x: torch.Tensor, states: States) -> States:
    """One step of the cell: x (batch, in) and states (batch, hidden_size) to the new states; equations in common.cells.

    ``w`` is weight_ih, weight_hh and, with biases, bias_ih and bias_hh.
    """
    kernel, recurrent_kernel, bias, recurrent_bias = (*w, 0, 0)[:4]
    h = states[0]
    from_x = x @ kernel.T + bias
    if spec.cell == "gru" and not spec.reset_after:
        rows = 2 * spec.hidden_size
        bias_rz, bias_n = (recurrent_bias[:rows], recurrent_bias[rows:]) if spec.bias else (0, 0)
        x_rz, x_n = from_x[:, :rows], from_x[:, rows:]
        r, z = torch.sigmoid(x_rz + h @ recurrent_kernel[:rows].T + bias_rz).chunk(2, dim=1)
        n = torch.tanh(x_n + (r * h) @ recurrent_kernel[rows:].T + bias_n)
        return ((1 - z) * n + z * h,)
    from_h = h @ recurrent_kernel.T + recurrent_bias
    if spec.cell == "gru":
        x_r, x_z, x_n = from_x.chunk(3, dim=1)
        h_r, h_z, h_n = from_h.chunk(3, dim=1)
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + r * h_n)
        return ((1 - z) * n + z * h,)
    if spec.cell == "lstm":
        i, f, g, o = (from_x + from_h).chunk(4, dim=1)
        c = torch.sigmoid(f) * states[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
    return (torch.tanh(from_x + from_h) if spec.cell == "rnn_tanh" else torch.relu(from_x + from_h),)


class Scratch(TorchImplementation):
    """A Python loop over time; states stay and outputs are 0 past a length."""

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self.parameters = {name: self.tensor(value, requires_grad=True) for name, value in weights.items()}

    def run(self, x: torch.Tensor, lengths: torch.Tensor | None, states: States) -> Results:
        mask = None if lengths is None else step_mask(lengths, x.shape[1])

        def run_direction(x: torch.Tensor, states: States, layer: int, direction: int) -> tuple[torch.Tensor, States]:
            kinds = KINDS if self.spec.bias else KINDS[:2]
            w = [self.parameters[weight_name(kind, layer, direction)] for kind in kinds]
            return self._run_direction(self.spec.of_direction(layer, direction), w, x, mask, states)

        return run_stack(self.spec, self.parameters, x, lengths, states, run_direction)

    def _run_direction(
        self, spec: Specification, w: list[torch.Tensor], x: torch.Tensor, mask: torch.Tensor | None, states: States
    ) -> tuple[torch.Tensor, States]:
        outputs = []
        for t in range(x.shape[1]):
            new = step(spec, w, x[:, t], states)
            if mask is None:
                states = new
                outputs.append(new[0])
            else:
                real = mask[:, t]  # (batch, 1)
                states = tuple(torch.where(real, after, before) for after, before in zip(new, states, strict=True))
                outputs.append(torch.where(real, new[0], torch.zeros_like(new[0])))
        return torch.stack(outputs, dim=1), states

    def path(self) -> str:
        return "torch operations in a Python loop over time"
