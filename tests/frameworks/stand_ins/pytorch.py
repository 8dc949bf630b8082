"""PyTorch's probes, fixed: for each, what a user expects, made of torch's own operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from backends.pytorch.probes.odd import float32_layer
from backends.pytorch.probes.silent import errors_on_the_gpu, half_rate_for_biases, one_rate, onnx_final_state
from backends.pytorch.probes.subject import HIDDEN, LENGTHS, Groups, a_layer


def packed(layer: nn.RNNBase, x: Tensor) -> tuple[Tensor, Tensor]:
    output, h_n = layer(pack_padded_sequence(x, LENGTHS, batch_first=True))
    return pad_packed_sequence(output, batch_first=True)[0], h_n


def final_states(layer: nn.RNNBase, x: Tensor) -> Tensor:
    h_n = layer(x)[1]
    return torch.cat([h_n[-2], h_n[-1]], -1)


def layers_first(h_n: Tensor) -> Tensor:
    return h_n.view(-1, 2, *h_n.shape[1:])[-1]


def transposed_state(layer: nn.RNNBase, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
    return layer(x, h_0.transpose(0, 1).contiguous())


def bias_hh_without_gradient(layer: nn.RNNBase) -> Groups:
    for name, parameter in layer.named_parameters():
        if name.startswith("bias_hh"):
            parameter.register_hook(torch.zeros_like)
    return one_rate(layer)


def sum_r_and_z(layer: nn.RNNBase) -> None:
    """Add the biases where a GRU's and an LSTM's add: rows r and z, which are i and f of an LSTM."""
    rows = slice(0, 2 * HIDDEN)
    with torch.no_grad():
        for end in ("l0", "l0_reverse"):
            getattr(layer, f"bias_ih_{end}")[rows] += getattr(layer, f"bias_hh_{end}")[rows]
            getattr(layer, f"bias_hh_{end}")[rows] = 0


def cho_direction(layer: nn.RNNBase, x: Tensor, end: str) -> Tensor:
    """One direction of the GRU of Cho et al. 2014, which resets the state before the product."""
    W, R, b, c = (getattr(layer, f"{kind}_{end}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    h, outputs = x.new_zeros(x.shape[0], HIDDEN), []
    for t in range(x.shape[1]):
        u, gates = x[:, t] @ W.T + b + c, h @ R[: 2 * HIDDEN].T
        r, z = torch.sigmoid(u[:, : 2 * HIDDEN] + gates).chunk(2, -1)
        n = torch.tanh(u[:, 2 * HIDDEN :] + (r * h) @ R[2 * HIDDEN :].T)
        h = (1 - z) * n + z * h
        outputs.append(h)
    return torch.stack(outputs, 1)


def cho(layer: nn.RNNBase, x: Tensor) -> tuple[Tensor]:
    return (torch.cat([cho_direction(layer, x, "l0"), cho_direction(layer, x.flip(1), "l0_reverse").flip(1)], -1),)


def without_tf32() -> list[float]:
    return errors_on_the_gpu()[1:] * 2


def padded_to(layer: nn.RNNBase, x: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Outputs of all seq_len steps, zeros for a row of length 0."""
    at_least_one = [max(length, 1) for length in lengths]
    output, _ = layer(pack_padded_sequence(x, at_least_one, batch_first=True, enforce_sorted=False))
    output, _ = pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])
    return output * (torch.tensor(lengths) > 0)[:, None, None]


def without_autocast(cell: type[nn.RNNBase], x: Any) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return float32_layer(cell, x)


def rows_alone(x: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    rows = [onnx_final_state(x[:length, row : row + 1], [length]) for row, length in enumerate(lengths)]
    return np.concatenate(rows, axis=1)


def dropout_after(num_layers: int) -> Callable[[Tensor], Tensor]:
    layer, drop = a_layer(num_layers=num_layers), nn.Dropout(0.5)
    return lambda x: drop(layer(x)[0])


STAND_INS: dict[str, Callable[..., Any]] = {
    "padding-fed-without-packing": packed,
    "time-runs-over-the-batch": partial(a_layer, batch_first=True),
    "last-output-is-no-final-state": final_states,
    "states-are-layers-first": layers_first,
    "batch-first-leaves-states-out": transposed_state,
    "two-biases-step-twice-as-far": half_rate_for_biases,
    "tied-biases-step-further-still": half_rate_for_biases,
    "clipping-counts-both-biases": bias_hh_without_gradient,
    "gru-biases-do-not-add": sum_r_and_z,
    "gru-resets-after-the-product": cho,
    "tf32-is-on-by-default": without_tf32,
    "onnx-reference-ignores-lengths": rows_alone,
    "int8-rows-depend-on-their-batch": lambda layer: layer,
    "quantize-dynamic-leaves-rnn-in-float32": lambda layer: nn.Identity(),
    "packing-shortens-seq-len": padded_to,
    "packing-refuses-length-0": padded_to,
    "autocast-hangs-on-cell-and-packing": without_autocast,
    "dropout-spares-the-last-layer": dropout_after,
}
