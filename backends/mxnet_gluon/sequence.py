"""Lengths and directions on arrays, time first: masks, reversal by length, merging."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from backends.mxnet_gluon.implementation import Tensor
from common.specification import NUM_DIRECTIONS, Specification

States = list[Tensor]
RunDirection = Callable[[Tensor, States, int, int], tuple[Tensor, States]]


def step_mask(F: ModuleType, lengths: Tensor, seq_len: int) -> Tensor:
    """(seq_len, batch) int32, 1 where a step is real."""
    steps = F.arange(seq_len, dtype="int32")
    return F.broadcast_lesser(F.expand_dims(steps, axis=1), F.expand_dims(lengths, axis=0))


def flip(F: ModuleType, x: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverse the first ``lengths[b]`` steps of row b and leave the padding; x is (seq_len, batch, features)."""
    if lengths is None:
        return F.SequenceReverse(x)  # time reversed
    return F.SequenceReverse(x, lengths, use_sequence_length=True)  # time reversed within each length


def merge(F: ModuleType, spec: Specification, forward: Tensor, reverse: Tensor) -> Tensor:
    """Two directions' outputs, hidden_size along the last of three axes, to the layer's output."""
    if spec.merge == "concat":
        return F.concat(forward, reverse, dim=2)
    if spec.merge == "mul":
        return forward * reverse
    total = forward + reverse
    return total / 2 if spec.merge == "ave" else total


def run_stack(
    F: ModuleType, spec: Specification, x: Tensor, lengths: Tensor | None, states: States, run_direction: RunDirection
) -> list[Tensor]:
    """Every layer in both directions: ``run_direction(x, states, layer, direction)`` gives one direction's outputs and
    final states, (batch, hidden_size) each, and reads and writes the order of its own time. Batch first outside.
    """
    finals = []
    by_row = [unstack(F, state, NUM_DIRECTIONS * spec.num_layers) for state in states]
    x = F.swapaxes(x, 0, 1)  # (batch, seq_len, in) to (seq_len, batch, in)
    for layer in range(spec.num_layers):
        outputs = []
        for direction in range(NUM_DIRECTIONS):
            initial = [state[layer * NUM_DIRECTIONS + direction] for state in by_row]
            source = flip(F, x, lengths) if direction else x
            output, final = run_direction(source, initial, layer, direction)
            outputs.append(flip(F, output, lengths) if direction else output)
            finals.append(final)
        x = merge(F, spec, *outputs)
    joined = (F.stack(*group, axis=0) for group in zip(*finals, strict=True))
    return [F.swapaxes(x, 0, 1), *joined]  # (seq_len, batch, …) to (batch, seq_len, …)


def unstack(F: ModuleType, x: Tensor, count: int) -> list[Tensor]:
    """The ``count`` slices of x along its first axis."""
    found = F.split(x, num_outputs=count, axis=0, squeeze_axis=True)  # (count, …) to count arrays (…)
    return [found] if count == 1 else list(found)
