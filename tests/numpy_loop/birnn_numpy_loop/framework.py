"""A framework's facts and its one implementation, ``numpy/loop``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from backends.interface.checkpoint import LoadedCheckpoint
from backends.interface.framework import Framework
from backends.interface.gaps import Gap
from backends.interface.layer import Arrays, Implementation, Inputs
from backends.interface.network import Network
from common.models.specification import Model
from common.reference import Reference

GAPS = (
    Gap(
        implementations=("loop",),
        what="dtype bfloat16",
        reason="NumPy has no bfloat16",
        applies=lambda request: request.dtype == "bfloat16",
    ),
)


class Loop(Implementation):
    """The reference's equations, in the run's own dtype."""

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self._network = Reference(self.spec, weights, self.dtype)

    def move_inputs(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._c_0 = np.zeros_like(inputs.h_0) if inputs.c_0 is None else inputs.c_0

    def forward(self) -> None:
        self._results = self._network.forward(self._inputs.x, self._inputs.lengths, self._inputs.h_0, self._c_0)

    def forward_backward(self) -> None:
        self.forward()
        cotangents = self._inputs.cotangents
        d_c_n = cotangents.get("c_n", np.zeros_like(cotangents["h_n"]))
        self._results |= self._network.backward(cotangents["output"], cotangents["h_n"], d_c_n)

    def synchronise(self) -> None:
        """NumPy has computed when it returns."""

    def extract(self) -> Arrays:
        narrow = np.dtype(self.dtype).itemsize < 4
        return {name: value.astype(np.float32) if narrow else value for name, value in self._results.items()}

    def path(self) -> str:
        return "NumPy operations in a Python loop over time"


class NumPy(Framework):
    """NumPy as a framework: on the CPU alone."""

    name = "numpy"
    gaps = GAPS
    implementations = {"loop": Loop}

    def versions(self) -> dict[str, str]:
        return {}  # NumPy's own is named for every backend

    def devices(self) -> dict[str, str]:
        return {"cpu": "1 thread"}

    def checkpoint(self, path: Path, format_name: str, config: str | None) -> LoadedCheckpoint:
        from birnn_numpy_loop.checkpoints import NumPyCheckpoint

        return NumPyCheckpoint(path)

    def network(self, spec: Model, implementation: str, dtype: str, device: str) -> Network:
        from birnn_numpy_loop.networks import LoopNetwork

        return LoopNetwork(spec, implementation, dtype, device)
