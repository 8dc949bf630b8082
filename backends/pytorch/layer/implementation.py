"""What PyTorch's implementations share: arrays to and from the device, gradients, training, and waiting."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from backends.interface.layer import Arrays, Implementation, Inputs, Training
from backends.interface.profile import Spent, most_important
from backends.pytorch.layer.lengths import States
from backends.pytorch.layer.training import LayerTrainer

DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}
"""PyTorch's dtype for each of the suite's."""
DEVICES = {"cpu": "cpu", "gpu": "cuda:0"}
"""PyTorch's name of each of the suite's devices."""
Results = dict[str, torch.Tensor]
"""Arrays of the framework by result name."""


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
            self._results = self.run(self._x, self._lengths, self._states)

    def forward_backward(self) -> None:
        results = self.run(self._x, self._lengths, self._states)
        leaves = {"x": self._x, **dict(zip(("h_0", "c_0"), self._states, strict=False)), **self.parameters}
        cotangents = [self._cotangents[name] for name in results]
        gradients = torch.autograd.grad(list(results.values()), list(leaves.values()), cotangents)
        self._results = results | {f"grad.{name}": value for name, value in zip(leaves, gradients, strict=True)}

    def load_training(self, training: Training) -> None:
        self._trainer = LayerTrainer(training, self.parameters, self._lengths)
        # Without gradients of their own, which inputs that are no parameters do not need.
        self._data = (self._x.detach(), self._lengths, tuple(state.detach() for state in self._states))

    def train_step(self) -> None:
        self._results = self._trainer.step(self.run(*self._data)["output"])

    def synchronise(self) -> None:
        if self.device == "gpu":
            torch.cuda.synchronize()

    def extract(self) -> Arrays:
        narrow = DTYPES[self.dtype].itemsize < 4
        tensors = {name: value.detach().cpu() for name, value in self._results.items()}
        return {name: (value.float() if narrow else value).numpy() for name, value in tensors.items()}

    def kernels(self, work: str) -> list[str]:
        call = getattr(self, work)
        call()  # what happens only at first is not of interest
        self.synchronise()
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.device == "gpu" else [])]
        with profile(activities=activities) as profiler:
            call()
            self.synchronise()
        return most_important(in_profile(profiler.key_averages()))


def in_profile(profile: Iterable[Any]) -> dict[str, Spent]:
    """What ran, with its own time in µs: a GPU's kernels where one took part, else the CPU's operators."""
    on_gpu = [event for event in profile if event.device_type == torch.autograd.DeviceType.CUDA]
    if on_gpu:
        return {event.key: Spent(event.count, event.self_device_time_total) for event in on_gpu}
    return {event.key: Spent(event.count, event.self_cpu_time_total) for event in profile}
