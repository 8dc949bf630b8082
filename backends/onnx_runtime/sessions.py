"""ONNX Runtime's sessions: made with the suite's number of threads, and called on arrays that stay where they are."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime

TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}
"""NumPy's types of a model's inputs by the names that onnxruntime gives them."""
PROVIDERS = ["CPUExecutionProvider"]
"""Where graphs are run."""


def open_session(graph: str | bytes, profile: str | None = None) -> onnxruntime.InferenceSession:
    """A session of a model's file or bytes; ``profile`` is how the names of its profile's files begin, or None."""
    options = onnxruntime.SessionOptions()
    # It reads none of the variables that other libraries take their number of threads from; 0 is one a core.
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0"))
    options.log_severity_level = 3  # errors alone: a warning for every node that is moved says nothing of the answer
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return onnxruntime.InferenceSession(graph, options, providers=PROVIDERS)


class BoundRun:
    """A session bound to its inputs, NumPy arrays by name, which it reads where they lie."""

    def __init__(self, session: onnxruntime.InferenceSession, inputs: Mapping[str, np.ndarray]) -> None:
        self._session, self._names = session, [each.name for each in session.get_outputs()]
        self._values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(value) for name, value in inputs.items()}
        self._binding = session.io_binding()
        for name, value in self._values.items():
            self._binding.bind_ortvalue_input(name, value)
        for name in self._names:
            self._binding.bind_output(name, "cpu")

    def call(self) -> None:
        """Compute all outputs, in new arrays; what an earlier call gave stays as it is."""
        self._session.run_with_iobinding(self._binding)

    def outputs(self) -> dict[str, np.ndarray]:
        """The outputs of the last call by name."""
        values = self._binding.get_outputs()
        return {name: value.numpy() for name, value in zip(self._names, values, strict=True)}


def one_operator(operator: str, dtype: np.dtype, inputs: int) -> bytes:
    """A model of one operator on matrices x0, x1, … of ``dtype``; its output is y."""
    element = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    names = [f"x{number}" for number in range(inputs)]
    values = [onnx.helper.make_tensor_value_info(name, element, [None, None]) for name in [*names, "y"]]
    node = onnx.helper.make_node(operator, names, ["y"])
    graph = onnx.helper.make_graph([node], operator, values[:-1], values[-1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    return model.SerializeToString()
