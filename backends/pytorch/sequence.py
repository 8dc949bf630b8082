"""Lengths and directions on tensors: masks, reversal by length, merging."""

from __future__ import annotations

import torch

from common.specification import Specification


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
