"""Canonical weights to and from Keras' layers: transposed kernels, gates in Keras' order, one bias for two.

Keras 3.15: ``kernel`` (in, G·units), ``recurrent_kernel`` (units, G·units) and ``bias`` (G·units,), which for a GRU
with reset_after=True is (2, G·units). Along the columns lie the gates: z, r, n (gru) and i, f, g, o (lstm).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from backends.interface.layer import Arrays
from common.specification import GATES, Specification
from common.weights import KINDS, merge_weights, weight_name

LAYERS = {
    "rnn_tanh": keras.layers.SimpleRNN,
    "rnn_relu": keras.layers.SimpleRNN,
    "gru": keras.layers.GRU,
    "lstm": keras.layers.LSTM,
}
"""The class of the framework's layer for each cell."""
KERAS_GATES = GATES | {"gru": ("z", "r", "n")}
"""The gates of each cell in Keras' order."""
VARIABLES = ("kernel", "recurrent_kernel", "bias")
"""The variables of a layer in Keras' order."""


def build_layer(spec: Specification, dtype: str, device: str, reverse: bool = False) -> keras.layers.RNN:
    """A Keras layer for a specification of one layer in one direction, without variables yet; a ``reverse`` one is for
    Bidirectional's other half and reads time from its end.

    The dtype is the layer's own policy, since the global one is float32. ``unroll`` stays off: its graph grows with
    seq_len, and it rules out cuDNN. ``use_cudnn="auto"`` asks whether the machine has a GPU, not whether the layer runs
    there. The initial values are never used; they are zeros because the recurrent kernel's default has no bfloat16
    (Keras 3.15, keras-team/keras#16970).
    """
    options: dict[str, Any] = {}
    if spec.cell.startswith("rnn"):
        options["activation"] = spec.cell.removeprefix("rnn_")
    else:
        options["use_cudnn"] = "auto" if device == "gpu" else False
    if spec.cell == "gru":
        options["reset_after"] = spec.reset_after
    return LAYERS[spec.cell](
        spec.hidden_size,
        use_bias=spec.bias,
        return_sequences=True,
        return_state=True,
        go_backwards=reverse,
        kernel_initializer="zeros",
        recurrent_initializer="zeros",
        dtype=dtype,
        **options,
    )


def variable_names(spec: Specification, layer: int, *directions: int) -> list[str]:
    """Names for the variables of a layer, ``kernel_l{k}[_reverse]`` and so on, in the order in which Keras has them."""
    kinds = VARIABLES if spec.bias else VARIABLES[:2]
    return [weight_name(kind, layer, direction) for direction in directions for kind in kinds]


def summed_gates(spec: Specification) -> tuple[str, ...]:
    """The gates whose two biases Keras holds as one, their sum: all, or none where it has two."""
    return () if _has_two_biases(spec) else GATES[spec.cell]


def load_layer(spec: Specification, weights: Mapping[str, np.ndarray], layer: int, direction: int) -> Arrays:
    """Canonical weights as Keras' variables by name; where Keras has one bias, it is the sum of the two."""
    kinds = KINDS if spec.bias else KINDS[:2]
    arrays = [_reorder(weights[weight_name(kind, layer, direction)], GATES, KERAS_GATES, spec) for kind in kinds]
    variables = [arrays[0].T, arrays[1].T]  # (G·units, in) to (in, G·units)
    if spec.bias:
        variables.append(np.stack(arrays[2:]) if _has_two_biases(spec) else arrays[2] + arrays[3])
    return dict(zip(variable_names(spec, layer, direction), variables, strict=True))


def canonical_gradients(spec: Specification, gradients: Arrays) -> Arrays:
    """The adjoint of ``load_layer`` for all layers and directions: the gradient of one bias is that of both.

    Those of a learned merge, which Keras has not, are as they come.
    """
    canonical: Arrays = merge_weights(gradients)
    for layer in range(spec.num_layers):
        for direction in range(spec.num_directions):
            variables = [gradients[name] for name in variable_names(spec, layer, direction)]
            arrays = [variables[0].T, variables[1].T]  # (in, G·units) to (G·units, in)
            if spec.bias:
                arrays += list(variables[2]) if _has_two_biases(spec) else [variables[2]] * 2
            for kind, array in zip(KINDS, arrays, strict=False):
                canonical[weight_name(kind, layer, direction)] = _reorder(array, KERAS_GATES, GATES, spec)
    return canonical


def _has_two_biases(spec: Specification) -> bool:
    """Whether Keras has a bias for the input product and one for the recurrent one."""
    return spec.cell == "gru" and spec.reset_after


def _reorder(array: np.ndarray, before: Mapping, after: Mapping, spec: Specification) -> np.ndarray:
    """Put the gates along the rows, (G·units, …), from the order ``before`` into the order ``after``."""
    gates = dict(zip(before[spec.cell], np.split(array, spec.num_gates), strict=True))  # (units, …) each
    return np.concatenate([gates[gate] for gate in after[spec.cell]])
