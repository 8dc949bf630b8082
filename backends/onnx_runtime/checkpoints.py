"""ONNX Runtime's own loader, and the layers of a graph that birnn has written, run one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from backends.interface.checkpoint import AskedLayer, LoadedCheckpoint
from backends.interface.layer import Arrays, Inputs
from backends.onnx_runtime.sessions import TYPES, open_session


class OnnxCheckpoint(LoadedCheckpoint):
    """A graph whose layers have inputs and outputs of their own, ``<layer>.x`` and so on."""

    def __init__(self, path: Path) -> None:
        self._session = open_session(str(path))
        self._initialisers = {each.name: each for each in onnx.load(path).graph.initializer}

    def run(self, asked: AskedLayer, dtype: str, inputs: Inputs) -> Arrays:
        states = {"h": inputs.h_0} if inputs.c_0 is None else {"h": inputs.h_0, "c": inputs.c_0}
        given = {"x": inputs.x, "lengths": inputs.lengths, **{f"{name}_0": value for name, value in states.items()}}
        names = ["output", *(f"{name}_n" for name in states)]
        outputs = {each.name for each in self._session.get_outputs()}
        if f"{asked.name}.output" not in outputs:
            raise ValueError(f"a graph must have the output {asked.name}.output, as those that birnn writes have")
        feed = self._feed(*inputs.x.shape[:2])
        for name, value in given.items():
            key = f"{asked.name}.{name}"
            feed[key] = np.asarray(value).astype(feed[key].dtype)
        arrays = self._session.run([f"{asked.name}.{name}" for name in names], feed)
        return dict(zip(names, (np.asarray(each) for each in arrays), strict=True))

    def _feed(self, batch: int, seq_len: int) -> dict[str, np.ndarray]:
        """Zeros for every input of the graph, whose other layers run, too."""
        sizes = {"batch": batch, "seq_len": seq_len}
        return {
            each.name: np.zeros([sizes.get(size, size) for size in each.shape], TYPES[each.type])
            for each in self._session.get_inputs()
        }

    def plain(self, name: str, kind: str) -> Arrays:
        arrays = {key: self._initialisers.get(f"{name}.{key}") for key in ("weight", "bias")}
        return {key: onnx.numpy_helper.to_array(each) for key, each in arrays.items() if each is not None}
