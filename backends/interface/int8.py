"""The interface of a framework's own int8 kernels of a recurrent layer, for whole rows: outputs alone, no gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import numpy as np

from backends.interface.gaps import Refusal
from common.specification import Specification


class Int8Layer(ABC):
    """A layer as a framework's own quantization makes it of float32 weights.

    Parameters
    ----------
    spec
        The specification; the framework has said that it has such a kernel.
    weights
        Canonical weights by name, float64.
    """

    def __init__(self, spec: Specification, weights: Mapping[str, np.ndarray]) -> None:
        self.spec = spec
        self.weights = weights

    @abstractmethod
    def move_input(self, x: np.ndarray) -> None:
        """Make the framework's own array of x, float32 (batch, seq_len, input_size), whose rows are all whole."""

    @abstractmethod
    def forward(self) -> None:
        """Compute the outputs from zero states, and wait for them."""

    @abstractmethod
    def output(self) -> np.ndarray:
        """The outputs (batch, seq_len, output_size) float32."""

    @abstractmethod
    def path(self) -> str:
        """What runs, as far as it can be told."""


Int8Layers = Mapping[str, Callable[[Specification, Mapping[str, np.ndarray]], Int8Layer]]
"""A framework's kernels by name, each a function that makes the layer of a specification and weights."""
Int8Offer = Int8Layers | Refusal
"""The kernels that a framework has for a specification, or why it has none."""
