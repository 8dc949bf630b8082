"""Flax's bidirectional layers as a user calls them, with the weights that they are made with."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

KINDS = {"rnn_tanh": linen.SimpleCell, "gru": linen.GRUCell, "lstm": linen.OptimizedLSTMCell}
"""Flax's cells by the suite's names."""


def called(spec: Any, x: Any, h_0: Any, c_0: Any) -> Any:
    """The output of a new layer from initial states (num_directions, batch, hidden_size): a carry each."""
    cells = [KINDS[spec.cell](spec.hidden_size, dtype=x.dtype, param_dtype=x.dtype) for _ in range(2)]
    layer = linen.Bidirectional(*(linen.RNN(cell) for cell in cells))
    carries = tuple(h_0) if c_0 is None else tuple(zip(c_0, h_0, strict=True))
    return layer.init_with_output(jax.random.key(0), x, initial_carry=carries)[0]


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
    cells = [linen.GRUCell(spec.hidden_size, dtype=x.dtype, param_dtype=x.dtype) for _ in range(2)]
    layer = linen.Bidirectional(*(linen.RNN(cell) for cell in cells))
    parameters = layer.init(jax.random.key(int(lengths[0])), x)["params"]
    numbers = []
    for direction in ("forward_rnn", "backward_rnn"):
        cell = parameters[direction]["cell"]
        numbers += [cell[name]["kernel"].T for name in ("ir", "iz", "in")]
        numbers += [cell[name]["kernel"].T for name in ("hr", "hz", "hn")]
        numbers += [cell[name]["bias"] for name in ("ir", "iz", "in")]
        numbers += [jnp.zeros_like(cell["hn"]["bias"])] * 2 + [cell["hn"]["bias"]]  # r and z have none of their own
    return jnp.concatenate([value.ravel() for value in numbers])[None, :, None], h_0
