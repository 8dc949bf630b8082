"""Gluon's bidirectional layers as a user calls them, with the weights that they are made with."""

from __future__ import annotations

from typing import Any

import mxnet as mx
from mxnet.gluon import rnn

KINDS = {"rnn_tanh": rnn.RNN, "gru": rnn.GRU, "lstm": rnn.LSTM}
"""Gluon's layers by the suite's names of their cells."""


def called(spec: Any, x: Any, h_0: Any, c_0: Any) -> Any:
    """The output of a new layer from initial states (num_directions, batch, hidden_size); it computes in float32."""
    also = {"activation": "tanh"} if spec.cell == "rnn_tanh" else {}
    layer = KINDS[spec.cell](spec.hidden_size, layout="NTC", bidirectional=True, **also)
    layer.initialize()
    states = [state.astype("float32") for state in (h_0, c_0) if state is not None]
    return layer(x.astype("float32"), states)[0].astype("float64")


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
    mx.random.seed(int(lengths[0].asscalar()))
    layer = rnn.GRU(spec.hidden_size, input_size=spec.input_size, bidirectional=True)
    layer.initialize()
    parameters = layer.collect_params()
    names = [f"{side}0_{kind}" for side in "lr" for kind in ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias")]
    numbers = [parameters[parameters.prefix + name].data().reshape(-1) for name in names]
    return mx.nd.concat(*numbers, dim=0).astype("float64").reshape(1, -1, 1), h_0
