"""Lengths and directions on tensors: masks, reversal by length, merging."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import tensorflow as tf

from backends.interface.directions import merge_by_feature, split_states
from common.specification import Specification
from common.weights import merge_weight_name

States = tuple[tf.Tensor, ...]
"""The states of one layer in one direction, or of all: h, and for an LSTM c."""
RunDirection = Callable[[tf.Tensor, States, int, int], tuple[tf.Tensor, States]]
"""A function that runs one layer in one direction: from its input, its first states, its number and the direction to
its output and its last states.
"""


def step_mask(lengths: tf.Tensor, seq_len: int | tf.Tensor) -> tf.Tensor:
    """(batch, seq_len, 1) bool, true where a step is real."""
    return tf.sequence_mask(lengths, seq_len)[..., None]


def clear(x: tf.Tensor, lengths: tf.Tensor | None) -> tf.Tensor:
    """The input, (batch, seq_len, features), with zeros past the lengths, where it may hold NaN: what a mask drops
    after the arithmetic still reaches gradients, as 0·NaN.
    """
    if lengths is None:
        return x
    return tf.where(step_mask(lengths, x.shape[1]), x, tf.zeros_like(x))


def flip(x: tf.Tensor, lengths: tf.Tensor | None) -> tf.Tensor:
    """Reverse the first ``lengths[b]`` steps of row b and leave the padding; x is (batch, seq_len, features)."""
    if lengths is None:
        return tf.reverse(x, axis=[1])  # time reversed
    return tf.reverse_sequence(x, lengths, seq_axis=1, batch_axis=0)  # time reversed within each length


def merge(
    spec: Specification, weight: tf.Tensor | None, forward: tf.Tensor, reverse: tf.Tensor | None = None
) -> tf.Tensor:
    """Two directions' outputs, (batch, seq_len, hidden_size) each, to the layer's output; one direction's is that.

    ``weight`` (2, hidden_size) is that of a learned merge.
    """
    if reverse is None:
        return forward
    if spec.merge == "concat":
        return tf.concat([forward, reverse], axis=-1)
    return merge_by_feature(spec, weight, forward, reverse)


def join_states(spec: Specification, states: Iterable[States]) -> States:
    """The inverse of ``split_states``; beyond a direction's units stand zeros."""
    joined = []
    for rows in zip(*states, strict=True):
        missing = [spec.state_size - units for units in spec.hidden_sizes * spec.num_layers]
        padded = [tf.pad(row, ((0, 0), (0, count))) if count else row for row, count in zip(rows, missing, strict=True)]
        joined.append(tf.stack(padded))
    return tuple(joined)


def run_stack(
    spec: Specification,
    parameters: Mapping[str, tf.Tensor],
    x: tf.Tensor,
    lengths: tf.Tensor | None,
    states: States,
    run_direction: RunDirection,
) -> dict[str, tf.Tensor]:
    """Every layer in its directions: ``run_direction(x, states, layer, direction)`` gives one direction's outputs and
    final states, (batch, its units) each, and reads and writes the order of its own time.

    Of the ``parameters``, by canonical name, those of a learned merge are read here.
    """
    finals = []
    by_row = split_states(spec, states)
    x = clear(x, lengths)
    for layer in range(spec.num_layers):
        outputs = []
        for direction in range(spec.num_directions):
            source = flip(x, lengths) if direction else x
            output, final = run_direction(source, by_row[layer * spec.num_directions + direction], layer, direction)
            outputs.append(flip(output, lengths) if direction else output)
            finals.append(final)
        x = merge(spec, parameters.get(merge_weight_name(layer)), *outputs)
    return {"output": x} | dict(zip(("h_n", "c_n"), join_states(spec, finals), strict=False))
