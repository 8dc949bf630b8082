"""Canonical weights: their names, shapes and a seeded initialisation.

The layout is PyTorch's (torch.nn.LSTM, version 2.13), for G gates (1 rnn, 3 gru: r z n, 4 lstm: i f g o):
``weight_ih_l{k}[_reverse]`` (G·hidden_size, layer input), ``weight_hh_…`` (G·hidden_size, hidden_size), ``bias_ih_…``
and ``bias_hh_…`` (G·hidden_size,). hidden_size is the direction's own. A learned merge adds ``merge_weight_l{k}``
(2, hidden_size), after the layer's others; where there is one direction, nothing is ``_reverse``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.specification import NUM_DIRECTIONS, Specification

SUFFIXES = ("", "_reverse")
"""How the names of each direction's weights end."""
KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
"""The kinds of weights of a layer in one direction, in canonical order."""


@dataclass(frozen=True)
class DirectionWeights:
    """One layer's weights in one direction, canonical layout; the biases are zeros where there are none."""

    weight_ih: np.ndarray
    weight_hh: np.ndarray
    bias_ih: np.ndarray
    bias_hh: np.ndarray


def weight_name(kind: str, layer: int, direction: int) -> str:
    """The canonical name of a weight; direction 0 is forward, 1 is reverse."""
    return f"{kind}_l{layer}{SUFFIXES[direction]}"


def merge_weight_name(layer: int) -> str:
    """The canonical name of a layer's learned merge."""
    return f"merge_weight_l{layer}"


def merge_weights(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The weights, or anything else by canonical name, that are a learned merge's."""
    return {name: value for name, value in arrays.items() if name.startswith("merge")}


def shapes(spec: Specification) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight, in PyTorch's order."""
    by_name: dict[str, tuple[int, ...]] = {}
    for layer in range(spec.num_layers):
        for direction in range(spec.num_directions):
            hidden_size = spec.hidden_sizes[direction]
            rows = spec.num_gates * hidden_size
            of_kind: dict[str, tuple[int, ...]] = {
                "weight_ih": (rows, spec.layer_input_size(layer)),
                "weight_hh": (rows, hidden_size),
                "bias_ih": (rows,),
                "bias_hh": (rows,),
            }
            for kind in KINDS if spec.bias else KINDS[:2]:
                by_name[weight_name(kind, layer, direction)] = of_kind[kind]
        if spec.merge == "weighted":
            by_name[merge_weight_name(layer)] = (NUM_DIRECTIONS, spec.hidden_size)
    return by_name


def count(spec: Specification) -> int:
    """How many numbers all weights hold, told without listing them: all layers above the first are alike."""
    numbers = 0
    for layer, times in ((0, 1), (1, spec.num_layers - 1)):
        for units in spec.hidden_sizes:
            numbers += times * spec.num_gates * units * (spec.layer_input_size(layer) + units + 2 * spec.bias)
    return numbers + (spec.num_layers * 2 * spec.hidden_size if spec.merge == "weighted" else 0)


def initialise(spec: Specification, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights drawn from U(−1/√hidden_size, 1/√hidden_size), as torch.nn.RNNBase does, those of a learned merge from
    U(0, 1); float64.
    """
    arrays = {}
    for name, shape in shapes(spec).items():
        if name.startswith("merge"):
            arrays[name] = rng.uniform(size=shape)
        else:
            bound = 1 / np.sqrt(spec.hidden_sizes[name.endswith(SUFFIXES[1])])
            arrays[name] = rng.uniform(-bound, bound, shape)
    return arrays


def of_direction(
    spec: Specification, weights: Mapping[str, np.ndarray], layer: int, direction: int
) -> DirectionWeights:
    """Pick the weights of one layer and direction, with zero biases for a specification without them."""
    weight_ih, weight_hh = (weights[weight_name(kind, layer, direction)] for kind in KINDS[:2])
    if spec.bias:
        bias_ih, bias_hh = (weights[weight_name(kind, layer, direction)] for kind in KINDS[2:])
    else:
        bias_ih = bias_hh = np.zeros(weight_ih.shape[0], weight_ih.dtype)
    return DirectionWeights(weight_ih, weight_hh, bias_ih, bias_hh)


def with_prefix(prefix: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Values under names that begin with ``prefix``."""
    return {prefix + name: value for name, value in arrays.items()}


def without_prefix(prefix: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The values whose names begin with ``prefix``, under the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


# One layer of a stack at a time, for dropout between layers.


def one_layer(rnn: Specification, layer: int) -> Specification:
    """Layer ``layer`` of a stack as a specification of its own."""
    return rnn.model_copy(update={"input_size": rnn.layer_input_size(layer), "num_layers": 1})


def split_layers(rnn: Specification, stack: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A stack's weights (or anything else by canonical name) as those of one-layer specifications."""
    return [
        {name: stack[_in_layer(name, layer)] for name in shapes(one_layer(rnn, layer))}
        for layer in range(rnn.num_layers)
    ]


def join_layers(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """The inverse of ``split_layers``."""
    return {_in_layer(name, layer): value for layer, of_layer in enumerate(layers) for name, value in of_layer.items()}


def _in_layer(name: str, layer: int) -> str:
    """The name of a one-layer RNN's weight as one of a stack's."""
    return name.replace("_l0", f"_l{layer}", 1)
