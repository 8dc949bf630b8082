"""Lengths and directions on arrays, time first: masks, reversal by length, merging."""

from __future__ import annotations

from types import ModuleType

from backends.mxnet_gluon.implementation import Tensor
from common.specification import Specification


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


def unstack(F: ModuleType, x: Tensor, count: int) -> list[Tensor]:
    """The ``count`` slices of x along its first axis."""
    found = F.split(x, num_outputs=count, axis=0, squeeze_axis=True)  # (count, …) to count arrays (…)
    return [found] if count == 1 else list(found)
