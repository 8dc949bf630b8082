"""Canonical weights to and from torch.nn's layers: the layout is the same, only layers and directions are picked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from common.specification import Specification
from common.weights import KINDS, weight_name

LAYERS = {"rnn_tanh": nn.RNN, "rnn_relu": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
"""The class of the framework's layer for each cell."""


def build_layer(
    spec: Specification, layers: Sequence[int], directions: Sequence[int], dtype: torch.dtype, device: str
) -> nn.RNNBase:
    """A torch.nn layer, batch first, for some of the specification's layers in one direction or both."""
    options = {"nonlinearity": spec.cell.removeprefix("rnn_")} if spec.cell.startswith("rnn") else {}
    first = spec.of_direction(layers[0], directions[0])
    return LAYERS[spec.cell](
        first.input_size,
        first.hidden_size,
        num_layers=len(layers),
        bias=spec.bias,
        batch_first=True,
        bidirectional=len(directions) == 2,
        dtype=dtype,
        device=device,
        **options,
    )


def load_layer(
    spec: Specification,
    module: nn.RNNBase,
    weights: Mapping[str, np.ndarray],
    layers: Sequence[int],
    directions: Sequence[int],
) -> dict[str, torch.Tensor]:
    """Copy canonical weights into ``module``; gives its parameters under their canonical names."""
    parameters = {}
    for i, layer in enumerate(layers):
        for j, direction in enumerate(directions):
            for kind in KINDS if spec.bias else KINDS[:2]:
                parameter = getattr(module, weight_name(kind, i, j))
                name = weight_name(kind, layer, direction)
                with torch.no_grad():
                    parameter.copy_(torch.tensor(weights[name]))
                parameters[name] = parameter
    module.flatten_parameters()
    return parameters
