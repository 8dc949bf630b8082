"""A layer that somebody wrote as one function: an implementation like any other, and a worker's own backend."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from backends.interface.arrays import FrameworkArrays, arrays_of
from backends.interface.framework import Framework
from backends.interface.gaps import Refusal
from backends.interface.layer import Arrays, Implementation, Inputs
from backends.registry import BUILT_IN, Backend
from backends.worker.execution import Unsupported
from common.errors import InputError, shown
from common.judging.precision import numpy_dtype

NAME = "own"
"""The backend's name; its implementation has the function's."""
VARIABLE = "BIRNN_LAYER"
"""The environment variable that tells a worker which function of which file it is to load, as JSON."""
Layer = Callable[..., Any]
"""``layer(spec, weights, x, lengths, h_0, c_0)``; see ``birnn.verify``."""


class OwnLayer(Implementation):
    """Calls the layer with a framework's arrays; gradients come from the framework's own differentiation."""

    layer: Layer
    arrays_kind: type[FrameworkArrays]

    def __init__(self, spec: Any, dtype: str, device: str) -> None:
        super().__init__(spec, dtype, device)
        self._arrays = self.arrays_kind(dtype, device)
        self._names = ("output", "h_n", "c_n") if spec.cell == "lstm" else ("output", "h_n")
        self._results: dict[str, Any] = {}

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        with self._arrays.settings():
            self._weights = {name: self._arrays.array(value) for name, value in weights.items()}

    def move_inputs(self, inputs: Inputs) -> None:
        given = {"x": inputs.x, "h_0": inputs.h_0} | ({} if inputs.c_0 is None else {"c_0": inputs.c_0})
        with self._arrays.settings():
            self._lengths = None if inputs.lengths is None else self._arrays.array(inputs.lengths)
            self._inputs = {name: self._arrays.array(value) for name, value in given.items()}
            self._cotangents = {name: self._arrays.array(value) for name, value in inputs.cotangents.items()}

    def forward(self) -> None:
        with self._arrays.settings():
            self._results = self._declined(lambda: dict(self._called(self._inputs | self._weights)))

    def forward_backward(self) -> None:
        given = self._inputs | self._weights
        with self._arrays.settings():
            outputs, gradients = self._declined(lambda: self._arrays.gradients(self._called, given, self._cotangents))
            zeros = {name: value * 0 for name, value in given.items() if name not in gradients}
            self._results = dict(outputs) | {f"grad.{name}": value for name, value in (zeros | dict(gradients)).items()}

    def synchronise(self) -> None:
        self._arrays.wait(self._results)

    def extract(self) -> Arrays:
        """The tensors; float32 for narrower dtypes.

        Raises
        ------
        InputError
            If the layer gave another dtype than that of its inputs.
        """
        with self._arrays.settings():
            arrays = {name: np.array(self._arrays.numpy(value)) for name, value in self._results.items()}
        wanted = numpy_dtype(self.dtype)
        for name, value in arrays.items():
            if value.dtype != wanted:
                raise InputError(f"{name} must be {self.dtype}; got {value.dtype}")
        return {name: value.astype(np.float32) if wanted.itemsize < 4 else value for name, value in arrays.items()}

    def path(self) -> str:
        return f"the function {getattr(self.layer, '__name__', type(self.layer).__name__)}"

    def _called(self, values: Mapping[str, Any]) -> dict[str, Any]:
        weights = {name: values[name] for name in self._weights}
        outputs = type(self).layer(self.spec, weights, values["x"], self._lengths, values["h_0"], values.get("c_0"))
        if not isinstance(outputs, tuple | list) or len(outputs) != len(self._names):
            what = f"{len(outputs)} things" if isinstance(outputs, tuple | list) else type(outputs).__name__
            raise InputError(f"the layer must return {', '.join(self._names)}; got {what}")
        return dict(zip(self._names, outputs, strict=True))

    def _declined(self, call: Callable[[], Any]) -> Any:
        """What ``call`` returns; a NotImplementedError of the layer's is its declaration."""
        try:
            return call()
        except NotImplementedError as error:
            raise Unsupported(Refusal(str(error) or "it raises NotImplementedError")) from None


def implementation_of(layer: Layer, framework: str) -> type[OwnLayer]:
    """The implementation that calls a function with a framework's arrays.

    Raises
    ------
    InputError
        If there is no such framework, or it cannot be imported here.
    """
    return type("OwnLayer", (OwnLayer,), {"layer": staticmethod(layer), "arrays_kind": arrays_of(framework)})


class OwnFramework(Framework):
    """The backend of one layer; its versions and devices are those of the framework that it is written in."""

    name = NAME
    gaps = ()

    def __init__(self, implementation: str, layer: Layer, framework: str) -> None:
        self.implementations = {implementation: implementation_of(layer, framework)}
        known = {backend.name: backend for backend in BUILT_IN}
        self._below = known[framework].load_framework() if framework in known else None

    def versions(self) -> dict[str, str]:
        return {} if self._below is None else self._below.versions()

    def devices(self) -> dict[str, str]:
        return {"cpu": "NumPy"} if self._below is None else self._below.devices()

    def use_lane(self, lane: str) -> None:
        if self._below is None:
            super().use_lane(lane)
        else:
            self._below.use_lane(lane)


def layer_backend(text: str, framework: str) -> Backend:
    """The backend of ``FILE:NAME``, a function of a Python file that takes a framework's arrays; workers that are
    started from now on know it.

    Raises
    ------
    InputError
        If the text is not a file and a name, or there is no such framework.
    """
    path, _, name = text.rpartition(":")
    file = Path(path)
    if not (path and name.isidentifier() and file.suffix == ".py" and file.is_file()):
        what = "a Python file and a function of it, such as mine.py:layer"
        raise InputError(f"--layer must be {what}; got {shown(text)}")
    environments: dict[str, str | None] = {backend.name: backend.environment for backend in BUILT_IN} | {"numpy": None}
    if framework not in environments:
        raise InputError(f"--framework must be one of {', '.join(environments)}; got {shown(framework)}")
    os.environ[VARIABLE] = json.dumps({"file": str(file.resolve()), "name": name, "framework": framework})
    return Backend(NAME, "backends.worker.own_layer:load", environments[framework], files=(file.resolve(),))


def load() -> Framework:
    """Load the function that the environment variable names, inside a worker."""
    asked = json.loads(os.environ[VARIABLE])
    file, name = Path(asked["file"]), asked["name"]
    spec = importlib.util.spec_from_file_location(f"birnn_own_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent))  # as Python does for a script
    spec.loader.exec_module(module)
    layer = getattr(module, name, None)
    if not callable(layer):
        raise InputError(f"{file.name} must have a function {name}; it has none")
    return OwnFramework(name, layer, asked["framework"])
