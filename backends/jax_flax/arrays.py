"""What a hand-written layer takes and gives in JAX: arrays, and ``jax.vjp``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backends.interface.arrays import FrameworkArrays, Function, Outputs
from common.judging.precision import numpy_dtype


class JaxArrays(FrameworkArrays):
    """JAX's arrays; 64-bit types are on for float64 alone, so that a layer is otherwise run as it is used."""

    def settings(self) -> AbstractContextManager[Any]:
        return jax.enable_x64(self.dtype == "float64")

    def array(self, value: np.ndarray) -> jax.Array:
        dtype = numpy_dtype(self.dtype) if value.dtype.kind == "f" else jnp.int32
        return jax.device_put(np.asarray(value, dtype), jax.devices("gpu" if self.device == "gpu" else "cpu")[0])

    def numpy(self, value: Any) -> np.ndarray:
        return np.asarray(value)

    def wait(self, values: Outputs) -> None:
        jax.block_until_ready(dict(values))

    def gradients(self, function: Function, arrays: Mapping[str, Any], cotangents: Outputs) -> tuple[Outputs, Outputs]:
        def differentiated(values: Mapping[str, Any]) -> tuple[dict[str, Any], Outputs]:
            outputs = function(values)
            return {name: outputs[name] for name in cotangents}, outputs

        _, pull_back, outputs = jax.vjp(differentiated, dict(arrays), has_aux=True)
        (gradients,) = pull_back(dict(cotangents))
        return outputs, gradients


ARRAYS = JaxArrays
"""The kind of arrays of this framework."""
