"""Lengths and directions on arrays: masks, reversal by length, merging."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from common.specification import NUM_DIRECTIONS, Specification

States = tuple[jax.Array, ...]
RunDirection = Callable[[jax.Array, States, int, int], tuple[jax.Array, States]]


def step_mask(lengths: jax.Array, seq_len: int) -> jax.Array:
    """(batch, seq_len, 1) bool, true where a step is real."""
    return (jnp.arange(seq_len, dtype=lengths.dtype) < lengths[:, None])[..., None]


def flip(x: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """Reverse the first ``lengths[b]`` steps of row b and leave the padding; x is (batch, seq_len, features)."""
    if lengths is None:
        return jnp.flip(x, 1)  # time reversed
    steps = jnp.arange(x.shape[1], dtype=lengths.dtype)
    source = jnp.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)  # (batch, seq_len)
    return jnp.take_along_axis(x, source[..., None], axis=1)  # time reversed within each length


def merge(spec: Specification, forward: jax.Array, reverse: jax.Array) -> jax.Array:
    """Two directions' outputs, (batch, seq_len, hidden_size) each, to the layer's output."""
    if spec.merge == "concat":
        return jnp.concatenate([forward, reverse], axis=-1)
    if spec.merge == "mul":
        return forward * reverse
    total = forward + reverse
    return total / 2 if spec.merge == "ave" else total


def run_stack(
    spec: Specification, x: jax.Array, lengths: jax.Array | None, states: States, run_direction: RunDirection
) -> dict[str, jax.Array]:
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
    joined = (jnp.stack(group) for group in zip(*finals, strict=True))
    return {"output": x} | dict(zip(("h_n", "c_n"), joined, strict=False))
