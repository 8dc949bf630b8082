"""What PyTorch's probes run: sizes, inputs and layers, and how far results are apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from backends.interface.probe import Probes

PROBES = Probes()
"""The framework's probes; silent.py and then odd.py put theirs in."""

LENGTHS = (5, 3, 1)
"""The lengths of three rows of five steps."""
HIDDEN = 6
"""Units in each direction."""
ENDS = ("l0", "l0_reverse")
"""How the names of both directions' parameters end."""
BIASES = ("bias_ih_l0", "bias_hh_l0")
"""The names of the forward direction's two biases."""
RATE, STEPS, OPTIMISERS = 0.05, 50, (torch.optim.SGD, torch.optim.Adam)
"""The learning rate, how many steps, and by which optimizers."""
SAME, FAR = 1e-9, 1e-4
"""The largest difference that is rounding, and the smallest that is not; nothing lies between."""
Groups = list[dict[str, Any]]
"""Parameter groups as torch.optim takes them."""
Prepare = Callable[[nn.RNNBase], Groups]
"""A function that gets a layer ready for training: its parameters in groups."""


def a_layer(cell: type[nn.RNNBase] = nn.LSTM, num_layers: int = 1, **options: Any) -> nn.RNNBase:
    """A bidirectional layer with the same weights at every call; 4 features in, 6 units a direction, batch first."""
    options = {"batch_first": True, "bidirectional": True, "dtype": torch.float64} | options
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return cell(4, HIDDEN, num_layers, **options)


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Numbers from N(0, 1), equal at every call."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def apart(a: Tensor, b: Tensor) -> float:
    """The largest absolute difference; NaN where either is."""
    return (a.detach() - b.detach()).abs().max().item()


def each_row_alone(layer: nn.RNNBase, x: Tensor) -> tuple[Tensor, Tensor]:
    """The right answer for LENGTHS: every row run without its padding; outputs past the length are 0."""
    rows = [layer(x[b : b + 1, :length]) for b, length in enumerate(LENGTHS)]
    return nn.utils.rnn.pad_sequence([output[0] for output, _ in rows], True), torch.cat([h_n for _, h_n in rows], 1)
