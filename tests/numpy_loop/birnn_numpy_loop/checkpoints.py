"""Checkpoints read by the suite's own readers, and run by the reference: what a backend has for ``birnn convert``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from backends.interface.checkpoint import AskedLayer, LoadedCheckpoint
from backends.interface.layer import Arrays, Inputs
from common.checkpoints.contents import PlainLayer, RecurrentLayer
from common.checkpoints.opening import read_checkpoint_file
from common.reference import Reference


class NumPyCheckpoint(LoadedCheckpoint):
    """A checkpoint of any format whose stacks are single layers in it."""

    def __init__(self, path: Path) -> None:
        self._contents = read_checkpoint_file(path)

    def run(self, asked: AskedLayer, dtype: str, inputs: Inputs) -> Arrays:
        layer = self._contents.layers[asked.parts[0]]
        assert isinstance(layer, RecurrentLayer)
        c_0 = np.zeros_like(inputs.h_0) if inputs.c_0 is None else inputs.c_0
        network = Reference(asked.kind.specification(), layer.weights, dtype)
        return network.forward(inputs.x, inputs.lengths, inputs.h_0, c_0)

    def plain(self, name: str, kind: str) -> Arrays:
        layer = self._contents.layers[name]
        assert isinstance(layer, PlainLayer)
        return layer.arrays
