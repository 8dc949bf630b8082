"""What PyTorch, JAX and TensorFlow do with states and directions in the same words, for arrays with equal operators.

MXNet's symbols cannot be indexed like arrays, so mxnet_gluon/sequence.py has its own.
"""

from __future__ import annotations

from typing import Any

from common.specification import Specification

Array = Any
"""An array of any framework: torch.Tensor, jax.Array or tf.Tensor."""


def split_states(spec: Specification, states: tuple[Array, ...]) -> list[tuple[Array, ...]]:
    """The states of each layer and direction, (batch, its units) each, of all, (num_layers·num_directions, batch,
    state_size) each.
    """
    by_row = []
    for row, units in enumerate(spec.hidden_sizes * spec.num_layers):
        mine = tuple(state[row] for state in states)
        by_row.append(mine if units == spec.state_size else tuple(state[:, :units] for state in mine))
    return by_row


def merge_by_feature(spec: Specification, weight: Array | None, forward: Array, reverse: Array) -> Array:
    """Two directions' outputs, (batch, seq_len, hidden_size) each, to one of that shape, for every merge but concat.

    ``weight`` (2, hidden_size) is that of a learned merge.
    """
    if weight is not None:
        return weight[0] * forward + weight[1] * reverse
    if spec.merge == "mul":
        return forward * reverse
    total = forward + reverse
    return total / 2 if spec.merge == "ave" else total
