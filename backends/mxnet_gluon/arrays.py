"""What a hand-written layer takes and gives in MXNet: NDArrays, and ``mxnet.autograd``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import autograd, nd

from backends.interface.arrays import FrameworkArrays, Function, Outputs
from common.judging.precision import numpy_dtype


class MxnetArrays(FrameworkArrays):
    """MXNet's NDArrays."""

    def array(self, value: np.ndarray) -> nd.NDArray:
        dtype = numpy_dtype(self.dtype) if value.dtype.kind == "f" else np.int64
        return nd.array(value, dtype=dtype, ctx=mx.gpu() if self.device == "gpu" else mx.cpu())

    def numpy(self, value: Any) -> np.ndarray:
        return value.asnumpy()

    def wait(self, values: Outputs) -> None:
        for value in values.values():
            value.wait_to_read()

    def gradients(self, function: Function, arrays: Mapping[str, Any], cotangents: Outputs) -> tuple[Outputs, Outputs]:
        leaves = {name: value.copy() for name, value in arrays.items()}
        for value in leaves.values():
            value.attach_grad()
        with autograd.record():
            outputs = function(leaves)
            total = sum((outputs[name] * cotangents[name]).sum() for name in cotangents)
        total.backward()
        return outputs, {name: value.grad for name, value in leaves.items()}


ARRAYS = MxnetArrays
"""The kind of arrays of this framework."""
