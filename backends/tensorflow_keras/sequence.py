"""Lengths and directions on tensors: masks, reversal by length, merging."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from common.specification import NUM_DIRECTIONS, Specification

States = tuple[tf.Tensor, ...]
RunDirection = Callable[[tf.Tensor, States, int, int], tuple[tf.Tensor, States]]


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


def run_stack(
    spec: Specification, x: tf.Tensor, lengths: tf.Tensor | None, states: States, run_direction: RunDirection
) -> dict[str, tf.Tensor]:
    """Every layer in both directions: ``run_direction(x, states, layer, direction)`` gives one direction's outputs and
    final states, (batch, hidden_size) each, and reads and writes the order of its own time.
    """
    finals = []
    for layer in range(spec.num_layers):
        outputs = []
        for direction in range(NUM_DIRECTIONS):
            initial = tuple(state[layer * NUM_DIRECTIONS + direction] for state in states)
            source = flip(x, lengths) if direction else x
            output, final = run_direction(source, initial, layer, direction)
            outputs.append(flip(output, lengths) if direction else output)
            finals.append(final)
        x = merge(spec, *outputs)
    joined = (tf.stack(group) for group in zip(*finals, strict=True))
    return {"output": x} | dict(zip(("h_n", "c_n"), joined, strict=False))
