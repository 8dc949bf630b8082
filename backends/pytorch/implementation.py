"""What PyTorch's implementations share: arrays to and from the device, gradients, and waiting."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
import torch

from backends.base import Arrays, Implementation, Inputs
from backends.pytorch.sequence import States

DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}
DEVICES = {"cpu": "cpu", "gpu": "cuda:0"}
Results = dict[str, torch.Tensor]


class TorchImplementation(Implementation):
    """An implementation on tensors; subclasses give ``load_weights`` and ``run``."""

    parameters: Mapping[str, torch.Tensor]
    """The tensors that gradients are taken by, under their canonical names."""

    @abstractmethod
    def run(self, x: torch.Tensor, lengths: torch.Tensor | None, states: States) -> Results:
        """Output and final states by result name; ``lengths`` is on the device, ``self.host_lengths`` is not."""

    def tensor(self, array: np.ndarray, requires_grad: bool = False) -> torch.Tensor:
        """A tensor in the run's dtype on its device."""
        options = {"dtype": DTYPES[self.dtype], "device": DEVICES[self.device]}
        return torch.tensor(array, **options, requires_grad=requires_grad)

    def move_inputs(self, inputs: Inputs) -> None:
        self._x = self.tensor(inputs.x, requires_grad=True)
        initial = [inputs.h_0] if inputs.c_0 is None else [inputs.h_0, inputs.c_0]
        self._states = tuple(self.tensor(state, requires_grad=True) for state in initial)
        self.host_lengths = None if inputs.lengths is None else torch.tensor(inputs.lengths)
        self._lengths = None if self.host_lengths is None else self.host_lengths.to(DEVICES[self.device])
        self._cotangents = {name: self.tensor(value) for name, value in inputs.cotangents.items()}

    def forward(self) -> None:
        with torch.no_grad():
            self._found = self.run(self._x, self._lengths, self._states)

    def forward_backward(self) -> None:
        results = self.run(self._x, self._lengths, self._states)
        leaves = {"x": self._x, **dict(zip(("h_0", "c_0"), self._states, strict=False)), **self.parameters}
        cotangents = [self._cotangents[name] for name in results]
        gradients = torch.autograd.grad(list(results.values()), list(leaves.values()), cotangents)
        self._found = results | {f"grad.{name}": value for name, value in zip(leaves, gradients, strict=True)}

    def synchronise(self) -> None:
        if self.device == "gpu":
            torch.cuda.synchronize()

    def extract(self) -> Arrays:
        narrow = DTYPES[self.dtype].itemsize < 4
        found = {name: value.detach().cpu() for name, value in self._found.items()}
        return {name: (value.float() if narrow else value).numpy() for name, value in found.items()}
