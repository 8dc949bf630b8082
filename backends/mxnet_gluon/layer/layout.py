"""Canonical weights to and from Gluon's layers and cells: the layout is the same, only the names differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import gluon, nd
from mxnet.gluon import rnn

from common.specification import NUM_DIRECTIONS, Specification
from common.weights import KINDS, weight_name

LAYERS = {"rnn_tanh": rnn.RNN, "rnn_relu": rnn.RNN, "gru": rnn.GRU, "lstm": rnn.LSTM}
"""The class of the framework's layer for each cell."""
CELLS = {"rnn_tanh": rnn.RNNCell, "rnn_relu": rnn.RNNCell, "gru": rnn.GRUCell, "lstm": rnn.LSTMCell}
"""The class of Gluon's cell for each cell."""
NAMES = {"weight_ih": "i2h_weight", "weight_hh": "h2h_weight", "bias_ih": "i2h_bias", "bias_hh": "h2h_bias"}
"""Gluon's name for each kind of weight."""
SIDES = "lr"
"""Gluon's letter for each direction."""


def build_layer(
    spec: Specification, layers: Sequence[int], by_length: bool, dtype: np.dtype, device: mx.Context
) -> gluon.HybridBlock:
    """An mxnet.gluon.rnn layer, batch first, for some of the specification's layers in its directions."""
    module = LAYERS[spec.cell](
        spec.hidden_size,
        num_layers=len(layers),
        layout="NTC",
        bidirectional=spec.num_directions == NUM_DIRECTIONS,
        input_size=spec.layer_input_size(layers[0]),
        dtype=dtype,
        use_sequence_length=by_length,
        **activation(spec),
    )
    module.initialize(mx.init.Zero(), ctx=device)
    return module


def build_cell(
    spec: Specification, layer: int, direction: int, dtype: np.dtype, device: mx.Context
) -> rnn.HybridRecurrentCell:
    """An mxnet.gluon.rnn cell for one of the specification's layers in one direction."""
    own = spec.of_direction(layer, direction)
    module = CELLS[spec.cell](own.hidden_size, input_size=own.input_size, **activation(spec))
    module.cast(dtype)
    module.initialize(mx.init.Zero(), ctx=device)
    return module


class Held(gluon.HybridBlock):
    """A weight that is in no layer of Gluon's; called with whatever a graph has, the block gives the weight."""

    def __init__(self, value: nd.NDArray) -> None:
        super().__init__()
        self.weight = self.params.get("weight", shape=value.shape, dtype=value.dtype)
        self.weight.initialize(mx.init.Zero(), ctx=value.context)
        self.weight.set_data(value)

    def hybrid_forward(self, F: ModuleType, x: Any, weight: Any) -> Any:
        return weight


def activation(spec: Specification) -> dict[str, str]:
    """The option that makes an RNN tanh or relu; left out, rnn.RNN is relu and rnn.RNNCell tanh (MXNet 1.9.1)."""
    return {"activation": spec.cell.removeprefix("rnn_")} if spec.cell.startswith("rnn") else {}


def load_layer(
    spec: Specification,
    module: gluon.HybridBlock,
    weights: Mapping[str, np.ndarray],
    layers: Sequence[int],
    directions: Sequence[int],
) -> dict[str, nd.NDArray]:
    """Copy canonical weights into ``module``; gives its parameters under their canonical names.

    Gluon has no layer or cell without biases: where the specification has none, they stay zeros and get no gradient.
    """
    parameters = {}
    for i, layer in enumerate(layers):
        for j, direction in enumerate(directions):
            prefix = "" if isinstance(module, rnn.HybridRecurrentCell) else f"{SIDES[j]}{i}_"  # a cell has one of each
            for kind in KINDS:
                parameter = getattr(module, prefix + NAMES[kind])
                if kind.startswith("bias") and not spec.bias:
                    parameter.grad_req = "null"
                    continue
                name = weight_name(kind, layer, direction)
                parameter.set_data(nd.array(weights[name], dtype="float64").astype(parameter.dtype))
                parameters[name] = parameter.data()
    return parameters
