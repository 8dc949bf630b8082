"""Lengths and directions on tensors: masks, reversal by length, merging."""

from __future__ import annotations

import tensorflow as tf

from common.specification import Specification


def step_mask(lengths: tf.Tensor, seq_len: int | tf.Tensor) -> tf.Tensor:
    """(batch, seq_len, 1) bool, true where a step is real."""
    return tf.sequence_mask(lengths, seq_len)[..., None]


def flip(x: tf.Tensor, lengths: tf.Tensor | None) -> tf.Tensor:
    """Reverse the first ``lengths[b]`` steps of row b and leave the padding; x is (batch, seq_len, features)."""
    if lengths is None:
        return tf.reverse(x, axis=[1])  # time reversed
    return tf.reverse_sequence(x, lengths, seq_axis=1, batch_axis=0)  # time reversed within each length


def merge(spec: Specification, forward: tf.Tensor, reverse: tf.Tensor) -> tf.Tensor:
    """Two directions' outputs, (batch, seq_len, hidden_size) each, to the layer's output."""
    if spec.merge == "concat":
        return tf.concat([forward, reverse], axis=-1)
    if spec.merge == "mul":
        return forward * reverse
    total = forward + reverse
    return total / 2 if spec.merge == "ave" else total
