"""What TensorFlow's implementations share: arrays to and from the device, graphs with gradients, and waiting."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf

from backends.base import Arrays, Implementation, Inputs
from backends.tensorflow_keras.sequence import States
from common.specification import Specification

DTYPES = {
    "float16": tf.float16,
    "bfloat16": tf.bfloat16,
    "float32": tf.float32,
    "float64": tf.float64,
}
GRAPHS_KEPT = 128
"""Graphs of one process before the one unused for longest is dropped; each holds some 20 MB."""
DEVICES = {"cpu": "/CPU:0", "gpu": "/GPU:0"}
Parameters = Mapping[str, tf.Tensor]
Results = dict[str, tf.Tensor]


class TensorFlowImplementation(Implementation):
    """An implementation on tensors; subclasses give ``load_weights`` and ``run``, those on Keras also the other two.

    The network runs as one graph, gradients included. Tracing it takes a hundred times as long as running a small case,
    so a graph is kept for the process and shared by all instances with the same specification and shapes. The weights
    are among its arguments: what one instance loads, another one does not see.
    """

    parameters: Parameters
    """The tensors that gradients are taken by, in the layout that ``run`` reads."""
    _found: tuple[Results, Results, Results]
    """Results, gradients by the inputs, and gradients by ``parameters``."""

    @abstractmethod
    def run(self, parameters: Parameters, x: tf.Tensor, lengths: tf.Tensor | None, states: States) -> Results:
        """Output and final states by result name; traced on an instance that has been built but holds no arrays."""

    def build(self) -> None:
        """Make the layers that ``run`` calls, where there are any."""

    def canonical(self, gradients: Arrays) -> Arrays:
        """Gradients in the layout of ``parameters`` under canonical names."""
        return gradients

    def tensor(self, array: np.ndarray) -> tf.Tensor:
        """A tensor in the run's dtype on its device."""
        with tf.device(DEVICES[self.device]):
            return tf.constant(array.astype(DTYPES[self.dtype].as_numpy_dtype))

    def move_inputs(self, inputs: Inputs) -> None:
        self._x = self.tensor(inputs.x)
        initial = [inputs.h_0] if inputs.c_0 is None else [inputs.h_0, inputs.c_0]
        self._states = tuple(self.tensor(state) for state in initial)
        with tf.device(DEVICES[self.device]):
            self._lengths = None if inputs.lengths is None else tf.constant(inputs.lengths)
        self._cotangents = {name: self.tensor(value) for name, value in inputs.cotangents.items()}

    def forward(self) -> None:
        graph = _graph(type(self), self.spec, self.dtype, self.device, gradients=False)
        with tf.device(DEVICES[self.device]):
            self._found = graph(self.parameters, self._x, self._lengths, self._states), {}, {}

    def forward_backward(self) -> None:
        graph = _graph(type(self), self.spec, self.dtype, self.device, gradients=True)
        with tf.device(DEVICES[self.device]):
            self._found = graph(self.parameters, self._x, self._lengths, self._states, self._cotangents)

    def synchronise(self) -> None:
        if self.device == "gpu":
            tf.test.experimental.sync_devices()

    def extract(self) -> Arrays:
        results, by_inputs, by_parameters = (self._arrays(group) for group in self._found)
        gradients = by_inputs | (self.canonical(by_parameters) if by_parameters else {})
        return results | {f"grad.{name}": value for name, value in gradients.items()}

    def _arrays(self, tensors: Results) -> Arrays:
        narrow = DTYPES[self.dtype].size < 4
        found = {name: value.numpy() for name, value in tensors.items()}
        return {name: value.astype(np.float32) if narrow else value for name, value in found.items()}


def execution() -> str:
    """How a graph runs: as one, or operation by operation after ``tf.config.run_functions_eagerly(True)``."""
    return "run eagerly" if tf.config.functions_run_eagerly() else "in a graph"


@lru_cache(GRAPHS_KEPT)
def _graph(
    implementation: type[TensorFlowImplementation], spec: Specification, dtype: str, device: str, gradients: bool
) -> Callable[..., Any]:
    """``run`` as a tf.function, alone or with gradients; it traces once a set of shapes, with lengths and without."""
    model = implementation(spec, dtype, device)
    with tf.device(DEVICES[device]):
        model.build()  # not while tracing: a tf.function that makes variables is traced twice

    def forward_backward(
        parameters: Parameters, x: tf.Tensor, lengths: tf.Tensor | None, states: States, cotangents: Results
    ) -> tuple[Results, Results, Results]:
        inputs = {"x": x, **dict(zip(("h_0", "c_0"), states, strict=False))}
        with tf.GradientTape() as tape:
            tape.watch([inputs, parameters])
            results = model.run(parameters, x, lengths, states)
        ordered = [cotangents[name] for name in results]
        by_inputs, by_parameters = tape.gradient(list(results.values()), [inputs, parameters], ordered)
        return results, by_inputs, by_parameters

    return tf.function(forward_backward if gradients else model.run, autograph=False)
