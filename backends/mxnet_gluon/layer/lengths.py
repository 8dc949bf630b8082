"""Lengths and directions on arrays, time first: masks, reversal by length, merging."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from common.specification import NUM_DIRECTIONS, Specification
from common.weights import merge_weight_name

Tensor = Any
"""mx.sym.Symbol while a graph is traced, mx.nd.NDArray otherwise; ``F`` is the module of its operations."""
States = list[Tensor]
"""The states of one layer in one direction, or of all: h, and for an LSTM c."""
RunDirection = Callable[[Tensor, States, int, int], tuple[Tensor, States]]
"""A function that runs one layer in one direction: from its input, its first states, its number and the direction to
its output and its last states.
"""


def step_mask(F: ModuleType, lengths: Tensor, seq_len: int) -> Tensor:
    """(seq_len, batch) int32, 1 where a step is real."""
    steps = F.arange(seq_len, dtype="int32")
    return F.broadcast_lesser(F.expand_dims(steps, axis=1), F.expand_dims(lengths, axis=0))


def clear(F: ModuleType, x: Tensor, lengths: Tensor | None) -> Tensor:
    """The input, (seq_len, batch, features), with zeros past the lengths, where it may hold NaN: what a mask drops
    after the arithmetic still reaches gradients, as 0·NaN.
    """
    if lengths is None:
        return x
    return F.SequenceMask(x, lengths, use_sequence_length=True)


def flip(F: ModuleType, x: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverse the first ``lengths[b]`` steps of row b and leave the padding; x is (seq_len, batch, features)."""
    if lengths is None:
        return F.SequenceReverse(x)  # time reversed
    return F.SequenceReverse(x, lengths, use_sequence_length=True)  # time reversed within each length


def merge(
    F: ModuleType, spec: Specification, weight: Tensor | None, forward: Tensor, reverse: Tensor | None = None
) -> Tensor:
    """Two directions' outputs, hidden_size along the last of three axes, to the layer's; one direction's is that.

    ``weight`` (2, hidden_size) is that of a learned merge.
    """
    if reverse is None:
        return forward
    if spec.merge == "concat":
        return F.concat(forward, reverse, dim=2)
    if weight is not None:
        rows = F.split(F.expand_dims(weight, axis=1), num_outputs=NUM_DIRECTIONS, axis=0)  # (1, 1, hidden_size) each
        return F.broadcast_mul(rows[0], forward) + F.broadcast_mul(rows[1], reverse)
    if spec.merge == "mul":
        return forward * reverse
    total = forward + reverse
    return total / 2 if spec.merge == "ave" else total


def split_states(F: ModuleType, spec: Specification, states: States) -> list[States]:
    """The states of each layer and direction, (batch, its units) each, of all, (num_layers·num_directions, batch,
    state_size) each.
    """
    by_row = []
    rows = zip(*(unstack(F, state, spec.num_directions * spec.num_layers) for state in states), strict=True)
    for units, row in zip(spec.hidden_sizes * spec.num_layers, rows, strict=True):
        whole = units == spec.state_size
        by_row.append([state if whole else F.slice_axis(state, axis=1, begin=0, end=units) for state in row])
    return by_row


def join_states(F: ModuleType, spec: Specification, states: Iterable[States]) -> States:
    """The inverse of ``split_states``; beyond a direction's units stand zeros."""
    joined = []
    for rows in zip(*states, strict=True):
        missing = [spec.state_size - units for units in spec.hidden_sizes * spec.num_layers]
        padded = [padded_by(F, row, count) if count else row for row, count in zip(rows, missing, strict=True)]
        joined.append(F.stack(*padded, axis=0))
    return joined


def run_stack(
    F: ModuleType,
    spec: Specification,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    lengths: Tensor | None,
    states: States,
    run_direction: RunDirection,
) -> list[Tensor]:
    """Every layer in its directions: ``run_direction(x, states, layer, direction)`` gives one direction's outputs and
    final states, (batch, its units) each, and reads and writes the order of its own time. Batch first outside.

    Of the ``parameters``, by canonical name, those of a learned merge are read here.
    """
    finals = []
    by_row = split_states(F, spec, states)
    x = clear(F, F.swapaxes(x, 0, 1), lengths)  # (batch, seq_len, in) to (seq_len, batch, in)
    for layer in range(spec.num_layers):
        outputs = []
        for direction in range(spec.num_directions):
            source = flip(F, x, lengths) if direction else x
            output, final = run_direction(source, by_row[layer * spec.num_directions + direction], layer, direction)
            outputs.append(flip(F, output, lengths) if direction else output)
            finals.append(final)
        x = merge(F, spec, parameters.get(merge_weight_name(layer)), *outputs)
    return [F.swapaxes(x, 0, 1), *join_states(F, spec, finals)]  # (seq_len, batch, …) to (batch, seq_len, …)


def padded_by(F: ModuleType, x: Tensor, count: int) -> Tensor:
    """Rows (batch, units) with ``count`` zeros behind each; F.pad is for four and five axes alone (MXNet 1.9.1)."""
    zero = F.zeros_like(F.slice_axis(x, axis=1, begin=0, end=1))
    return F.concat(x, F.tile(zero, reps=(1, count)), dim=1)


def unstack(F: ModuleType, x: Tensor, count: int) -> list[Tensor]:
    """The ``count`` slices of x along its first axis."""
    parts = F.split(x, num_outputs=count, axis=0, squeeze_axis=True)  # (count, …) to count arrays (…)
    return [parts] if count == 1 else list(parts)
