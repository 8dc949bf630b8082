"""What a hand-written layer takes and gives: a framework's arrays, and its automatic differentiation.

Each framework's ``arrays.py`` implements it, in the same order; nothing here needs a tox environment, so that a layer
can be judged in the process that it is written in.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from common.errors import InputError, shown
from common.judging.precision import numpy_dtype

Outputs = Mapping[str, Any]
"""A framework's arrays by result name: output, h_n, and c_n of an LSTM."""
Function = Callable[[Mapping[str, Any]], Outputs]
"""A layer as a function of its differentiable inputs by name (x, h_0, c_0, and the canonical weights)."""


class FrameworkArrays(ABC):
    """Arrays of one framework in one dtype on one device.

    Parameters
    ----------
    dtype
        One of ``common.judging.precision.DTYPES``: what ``array`` makes of floating-point numbers.
    device
        ``cpu`` or ``gpu``.
    """

    differentiates = True
    """Whether the framework can differentiate a layer."""

    def __init__(self, dtype: str, device: str) -> None:
        self.dtype = dtype
        self.device = device

    def settings(self) -> AbstractContextManager[Any]:
        """What must hold while arrays are made and used, such as 64-bit types in JAX."""
        return nullcontext()

    @abstractmethod
    def array(self, value: np.ndarray) -> Any:
        """The framework's array of floating-point numbers in ``dtype``, or of int64, on the device."""

    @abstractmethod
    def numpy(self, value: Any) -> np.ndarray:
        """A framework's array as NumPy's, in its own dtype."""

    def wait(self, values: Outputs) -> None:
        """Return when the arrays are computed; at once where a framework computes before it returns."""
        return

    @abstractmethod
    def gradients(self, function: Function, arrays: Mapping[str, Any], cotangents: Outputs) -> tuple[Outputs, Outputs]:
        """The function's outputs, and the gradients, by the inputs' names, of the sum of products of the outputs with
        the cotangents; zeros for an input that nothing depends on.
        """


class NumpyArrays(FrameworkArrays):
    """NumPy's arrays, and those of anything that exchanges by ``__array__`` or DLPack; nothing is differentiated."""

    differentiates = False

    def array(self, value: np.ndarray) -> np.ndarray:
        return value.astype(numpy_dtype(self.dtype)) if value.dtype.kind == "f" else value.copy()

    def numpy(self, value: Any) -> np.ndarray:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        return np.asarray(value)

    def gradients(self, function: Function, arrays: Mapping[str, Any], cotangents: Outputs) -> tuple[Outputs, Outputs]:
        raise NotImplementedError("NumPy has no automatic differentiation")


MODULES = {
    "torch": "backends.pytorch.arrays",
    "jax": "backends.jax_flax.arrays",
    "tensorflow": "backends.tensorflow_keras.arrays",
    "mxnet": "backends.mxnet_gluon.arrays",
    "numpy": "backends.interface.arrays",
}
"""Where a framework's ``ARRAYS``, its ``FrameworkArrays``, is."""
ARRAYS = NumpyArrays
"""The kind of arrays of this module; each framework's arrays.py names its own so."""


def arrays_of(framework: str) -> type[FrameworkArrays]:
    """The arrays of a framework, which is imported into this process.

    Raises
    ------
    InputError
        If there is no such framework, or it cannot be imported here.
    """
    if framework not in MODULES:
        raise InputError(f"framework must be one of {', '.join(MODULES)}; got {shown(framework)}")
    try:
        kind: type[FrameworkArrays] = importlib.import_module(MODULES[framework]).ARRAYS
    except ImportError as error:
        raise InputError(f"framework {framework} must be importable here; got: {error}") from None
    return kind
