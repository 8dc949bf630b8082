"""Lengths and directions on tensors: masks, reversal by length, merging."""

from __future__ import annotations

from collections.abc import Callable

import torch

from common.specification import NUM_DIRECTIONS, Specification

States = tuple[torch.Tensor, ...]
RunDirection = Callable[[torch.Tensor, States, int, int], tuple[torch.Tensor, States]]


def step_mask(lengths: torch.Tensor, seq_len: int) -> torch.Tensor:
    """(batch, seq_len, 1) bool, true where a step is real."""
    return (torch.arange(seq_len, device=lengths.device) < lengths[:, None])[..., None]


def flip(x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """Reverse the first ``lengths[b]`` steps of row b and leave the padding; x is (batch, seq_len, features)."""
    if lengths is None:
        return x.flip(1)  # time reversed
    steps = torch.arange(x.shape[1], device=x.device)
    source = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)  # (batch, seq_len)
    return x.gather(1, source[..., None].expand_as(x))  # time reversed within each length


def merge(spec: Specification, forward: torch.Tensor, reverse: torch.Tensor) -> torch.Tensor:
    """Two directions' outputs, (batch, seq_len, hidden_size) each, to the layer's output."""
    if spec.merge == "concat":
        return torch.cat([forward, reverse], dim=-1)
    if spec.merge == "mul":
        return forward * reverse
    total = forward + reverse
    return total / 2 if spec.merge == "ave" else total


def run_stack(
    spec: Specification, x: torch.Tensor, lengths: torch.Tensor | None, states: States, run_direction: RunDirection
) -> dict[str, torch.Tensor]:
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
    joined = (torch.stack(group) for group in zip(*finals, strict=True))
    return {"output": x} | dict(zip(("h_n", "c_n"), joined, strict=False))
