"""PyTorch's bidirectional layers as a user calls them, with the weights that they are made with."""

from __future__ import annotations

from typing import Any

import torch

KINDS = {"rnn_tanh": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
"""PyTorch's layers by the suite's names of their cells."""


def called(spec: Any, x: Any, h_0: Any, c_0: Any) -> Any:
    """The output of a new layer from initial states (num_directions, batch, hidden_size)."""
    layer = KINDS[spec.cell](spec.input_size, spec.hidden_size, bidirectional=True, batch_first=True, dtype=x.dtype)
    return layer(x, h_0.contiguous() if c_0 is None else (h_0.contiguous(), c_0.contiguous()))[0]


def state_of_one_direction(spec: Any, weights: Any, x: Any, lengths: Any, h_0: Any, c_0: Any) -> tuple[Any, ...]:
    """The layer called with an initial state of one direction; its output is what counts."""
    return (called(spec, x, h_0[:1], None if c_0 is None else c_0[:1]), h_0, *([] if c_0 is None else [c_0]))


def state_of_two_directions(spec: Any, weights: Any, x: Any, lengths: Any, h_0: Any, c_0: Any) -> tuple[Any, ...]:
    """The layer called with an initial state of both, as it has to be."""
    return (called(spec, x, h_0, c_0), h_0, *([] if c_0 is None else [c_0]))


def default_weights(spec: Any, weights: Any, x: Any, lengths: Any, h_0: Any, c_0: Any) -> tuple[Any, Any]:
    """The weights that a new GRU is made with, in canonical order and shape, one after the other in the output
    (1, numbers, 1); the seed is the row's length.
    """
    torch.manual_seed(int(lengths[0]))
    layer = torch.nn.GRU(spec.input_size, spec.hidden_size, bidirectional=True, dtype=x.dtype)
    return torch.cat([value.detach().ravel() for value in layer.parameters()])[None, :, None], h_0
