"""native: ONNX's RNN, GRU or LSTM nodes, in the graph that birnn writes for a specification."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from backends.interface.layer import Arrays, Implementation, Inputs
from backends.interface.profile import Spent, most_important
from backends.onnx_runtime.sessions import BoundRun, open_session
from common.checkpoints.contents import Contents, RecurrentLayer, kind_of
from common.checkpoints.formats.onnx import NODES, write
from common.judging.precision import numpy_dtype

NAME = "rnn"
"""The layer's name in its graph."""


class Native(Implementation):
    """One node for each layer, bidirectional or, for one direction, forward; merges and transposes stand between."""

    forward_only = "ONNX Runtime's inference sessions have no automatic differentiation"

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        own = {name: value.astype(numpy_dtype(self.dtype)) for name, value in weights.items()}
        layer = RecurrentLayer(NAME, kind_of(self.spec), own)
        file = io.BytesIO()
        write(Contents("birnn", {NAME: layer}), file)
        self.graph = file.getvalue()
        self._session = open_session(self.graph)

    def move_inputs(self, inputs: Inputs) -> None:
        batch, seq_len = inputs.x.shape[:2]
        lengths = np.full(batch, seq_len) if inputs.lengths is None else inputs.lengths
        states = {"h_0": inputs.h_0} | ({} if inputs.c_0 is None else {"c_0": inputs.c_0})
        floats = {name: value.astype(numpy_dtype(self.dtype)) for name, value in {"x": inputs.x, **states}.items()}
        given = {**floats, "lengths": lengths.astype(np.int32)}
        self.inputs = {f"{NAME}.{name}": value for name, value in given.items()}
        self._run = BoundRun(self._session, self.inputs)

    def forward(self) -> None:
        self._run.call()

    def forward_backward(self) -> None:
        raise NotImplementedError(f"onnxruntime/native computes no gradients: {self.forward_only}")

    def synchronise(self) -> None:
        """On the CPU a session has computed when it returns."""

    def extract(self) -> Arrays:
        tensors = {name.removeprefix(f"{NAME}."): value for name, value in self._run.outputs().items()}
        narrow = numpy_dtype(self.dtype).itemsize < 4
        return {name: value.astype(np.float32) if narrow else value for name, value in tensors.items()}

    def path(self) -> str:
        node, count = NODES[kind_of(self.spec).gates], self.spec.num_layers
        nodes = f"ONNX {node}" if count == 1 else f"{count} × ONNX {node}"
        return f"{nodes}, {'bidirectional' if self.spec.num_directions == 2 else 'forward'}, CPUExecutionProvider"

    def kernels(self, work: str) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            session = open_session(self.graph, f"{folder}/profile")
            BoundRun(session, self.inputs).call()
            events = json.loads(Path(session.end_profiling()).read_text())
        spent: dict[str, Spent] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                name = event["args"]["op_name"]
                calls, time = spent.get(name, Spent(0, 0.0))
                spent[name] = Spent(calls + 1, time + event["dur"] / 1e3)  # microseconds to ms
        return most_important(spent)
