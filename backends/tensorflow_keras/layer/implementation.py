"""What TensorFlow's implementations share: arrays to and from the device, graphs, training, and waiting."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from backends.interface.layer import Arrays, Implementation, Inputs, Training
from backends.interface.profile import added_up, most_important
from backends.tensorflow_keras.layer.lengths import States
from backends.tensorflow_keras.layer.programs import OURS, program
from backends.tensorflow_keras.layer.training import LayerTrainer, train_step
from common.specification import Specification
from common.training import trained_kernels

DTYPES = {
    "float16": tf.float16,
    "bfloat16": tf.bfloat16,
    "float32": tf.float32,
    "float64": tf.float64,
}
"""TensorFlow's dtype for each of the suite's."""
GRAPHS_KEPT = 128
"""Graphs of one process before the one unused for longest is dropped; each holds some 20 MB."""
DEVICES = {"cpu": "/CPU:0", "gpu": "/GPU:0"}
"""TensorFlow's name of each of the suite's devices."""
Parameters = Mapping[str, tf.Tensor]
"""The tensors of an implementation by its own names."""
Results = dict[str, tf.Tensor]
"""Arrays of the framework by result name."""


class TensorFlowImplementation(Implementation):
    """An implementation on tensors; subclasses give ``load_weights`` and ``run``, those on Keras also the other two.

    The network runs as one graph, gradients included. Tracing it takes a hundred times as long as running a small case,
    so a graph is kept for the process and shared by all instances with the same specification and shapes. The weights
    are among its arguments: what one instance loads, another one does not see.
    """

    parameters: Parameters
    """The tensors that gradients are taken by, in the layout that ``run`` reads."""
    _results: tuple[Results, Results, Results, Parameters]
    """Results, gradients by the inputs, gradients by ``parameters``, and the variables that a train step moved."""
    _reuses_programs = False

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

    def reuse_programs(self) -> None:
        self._reuses_programs = type(self).__module__.startswith(OURS)

    def forward(self) -> None:
        arguments = self.parameters, self._x, self._lengths, self._states
        with tf.device(DEVICES[self.device]):
            self._results = self._program("forward", arguments)(*arguments), {}, {}, {}

    def forward_backward(self) -> None:
        arguments = self.parameters, self._x, self._lengths, self._states, self._cotangents
        with tf.device(DEVICES[self.device]):
            results, by_inputs, by_parameters = self._program("forward_backward", arguments)(*arguments)
        self._results = results, by_inputs, by_parameters, {}

    def _program(self, work: str, arguments: tuple[Any, ...]) -> Callable[..., Any]:
        def traced() -> Callable[..., Any]:
            return _graph(type(self), self.spec, self.dtype, self.device, work)

        if not self._reuses_programs:
            return traced()
        return program(traced, [type(self).__qualname__, self.spec.as_json(), self.dtype, self.device, work], arguments)

    def load_training(self, training: Training) -> None:
        self._trainer = LayerTrainer(training, self, DEVICES[self.device])
        self.parameters = self._trainer.variables

    def train_step(self) -> None:
        trainer = self._trainer
        fixed = (self._x, self._lengths, self._states, trainer.head, trainer.labels, trainer.learning_rate)
        arguments = trainer.variables, *fixed
        with tf.device(DEVICES[self.device]):
            loss = self._program("train_step", arguments)(*arguments)
        self._results = {"loss": loss}, {}, {}, trainer.variables

    def synchronise(self) -> None:
        if self.device == "gpu":
            tf.test.experimental.sync_devices()

    def extract(self) -> Arrays:
        results, by_inputs, by_parameters, variables = (self._arrays(group) for group in self._results)
        gradients = by_inputs | (self.canonical(by_parameters) if by_parameters else {})
        results |= {f"grad.{name}": value for name, value in gradients.items()}
        if variables:
            moved = self.canonical(variables)
            head = self._arrays({"trained.head.weight": self._trainer.head["weight"]})
            results |= {name: value.T for name, value in head.items()}  # (output_size, classes) to (classes, …)
            results |= {f"trained.{name}": moved[name] for name in trained_kernels(self.spec)}
        return results

    def _arrays(self, tensors: Parameters) -> Arrays:
        narrow = DTYPES[self.dtype].size < 4
        arrays = {name: value.numpy() for name, value in tensors.items()}
        return {name: value.astype(np.float32) if narrow else value for name, value in arrays.items()}

    def kernels(self, work: str) -> list[str]:
        from tensorflow.tsl.profiler.protobuf import xplane_pb2  # not public, so not needed for anything else

        call = getattr(self, work)
        call()  # what happens only at first is not of interest
        self.synchronise()
        with tempfile.TemporaryDirectory() as folder:
            with tf.profiler.experimental.Profile(folder):
                call()
                self.synchronise()
            (file,) = Path(folder).rglob("*.xplane.pb")
            profile = xplane_pb2.XSpace.FromString(file.read_bytes())
        return most_important(added_up(in_profile(profile)))


def in_profile(profile: Any) -> Iterator[tuple[str, float]]:
    """Each operation that ran, with its time in ps: a GPU's kernels where one took part, else the CPU's operations by
    type, which the profile has as ``path/in/the/graph:Type``.
    """
    on_gpu = [plane for plane in profile.planes if "/device:GPU" in plane.name]
    for plane in on_gpu or [plane for plane in profile.planes if plane.name.startswith("/host:CPU")]:
        names = {number: event.name for number, event in plane.event_metadata.items()}
        for line in plane.lines:
            if on_gpu and not line.name.startswith("Stream"):
                continue
            for event in line.events:
                name = names[event.metadata_id]
                operation = name if on_gpu else _operation_type(name)
                if operation:
                    yield operation, event.duration_ps


def _operation_type(name: str) -> str:
    """The type at the end of an operation's event; empty for other events."""
    path, _, operation = name.rpartition(":")
    return operation if operation.isidentifier() and path and not path.endswith(":") else ""


def execution() -> str:
    """How a graph runs: as one, or operation by operation after ``tf.config.run_functions_eagerly(True)``."""
    return "run eagerly" if tf.config.functions_run_eagerly() else "in a graph"


@lru_cache(GRAPHS_KEPT)
def _graph(
    implementation: type[TensorFlowImplementation], spec: Specification, dtype: str, device: str, work: str
) -> Callable[..., Any]:
    """A pass around ``run`` as a tf.function; it traces once a set of shapes, with lengths and without."""
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

    passes = {"forward": model.run, "forward_backward": forward_backward, "train_step": train_step(model.run)}
    return tf.function(passes[work], autograph=False)
