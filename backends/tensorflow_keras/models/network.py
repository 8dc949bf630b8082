"""What TensorFlow's models share: variables, the rnn in one of the implementations, loss, answers and training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import tensorflow as tf

from backends.interface.layer import Arrays
from backends.interface.network import TrainedNetwork
from backends.tensorflow_keras.layer.implementation import (
    DEVICES,
    DTYPES,
    GRAPHS_KEPT,
    Parameters,
    Results,
    TensorFlowImplementation,
)
from backends.tensorflow_keras.layer.programs import OURS, SOURCES, program
from backends.tensorflow_keras.models.optimizers import Optimizer
from common.models.batch import Batch, check_batch, counted, dropout_name, labels
from common.models.optimizers import OptimizerSettings
from common.models.specification import Model, model_as_json, parameters
from common.models.trace import Step
from common.weights import with_prefix, without_prefix

LAID_OUT = ("rnn.", "encoder.", "decoder.")
"""What the canonical names of parameters begin with that may lie otherwise in the variables."""
Tensors = Mapping[str, tf.Tensor]
"""A batch on the device, with ``labels`` and ``counted`` for any model where it is labelled."""
Shapes = tuple[tuple[str, tuple[int, ...]], ...]
"""The names and shapes of a batch's arrays."""
OF_MODELS = (*SOURCES, "backends/tensorflow_keras/models", "common/answers", "common/models", "common/models/crf")
"""Folders of ours whose files tracing a model may read."""


class TensorFlowNetwork(TrainedNetwork[Optimizer]):
    """A model as graphs; subclasses give ``forward``.

    A graph is traced once for each set of shapes in a batch. That takes long, so graphs are kept for the process and
    shared by all networks of a specification, the variables being among the arguments. Only a train step's graph is a
    network's own: the shared one of the gradients, and in the same graph a Keras optimizer, which belongs to the
    variables that it was built for.

    Parameters
    ----------
    spec, implementation, dtype, device
        As in ``Network``.
    kind
        The implementation's class.
    """

    variables: dict[str, tf.Variable]
    """By canonical name; but those of the implementation for stage i as it names them, behind ``stage.{i}.``."""
    _reuses_programs = False

    def __init__(
        self, spec: Model, implementation: str, dtype: str, device: str, kind: type[TensorFlowImplementation]
    ) -> None:
        super().__init__(spec, implementation, dtype, device)
        self._kind = kind
        self._rnn = [kind(stage, dtype, device) for stage in self.stages]
        self._steps: dict[Shapes, Callable[..., Any]] = {}
        self.variables = {}

    @abstractmethod
    def forward(self, parameters: Parameters, batch: Tensors) -> tuple[tf.Tensor, Results]:
        """The logits (batch, seq_len, classes), (batch, classes) or (batch, target_len, target_size), 0 past a length;
        and what else of ``results`` comes on the way: ``vectors`` and ``attention``.

        It is traced, as is all that takes ``parameters``, on a network that has been built but holds no variables.
        """

    def total_loss(self, parameters: Parameters, logits: tf.Tensor, batch: Tensors) -> tf.Tensor:
        """The sum of the losses of all counted labels ()."""
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["labels"], wide(logits))
        return tf.reduce_sum(tf.where(batch["counted"], losses, tf.zeros_like(losses)))

    def answers(self, parameters: Parameters, logits: tf.Tensor, batch: Tensors) -> tf.Tensor:
        """The labels that the model gives, in the shape of the labels."""
        return best(logits)

    def build(self) -> None:
        """Make the layers that ``forward`` calls."""
        for layer in self._rnn:
            layer.build()

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        own = self.own(weights)
        if not self.variables:
            with tf.device(DEVICES[self.device]):
                self.variables = {name: tf.Variable(value) for name, value in own.items()}
        for name, value in own.items():
            self.variables[name].assign(value)
        self._summed = self.summed_biases(self._rnn)
        self._loaded_biases = {name: doubles(self.tensor(weights[name])) for name in self._summed}
        if self._optimizer is not None:
            self._optimizer.reset()

    def weights(self) -> Arrays:
        canonical = self.canonical({name: doubles(value) for name, value in self.variables.items()})
        for name, summed in self._summed.items():
            canonical[name] = np.where(summed, self._loaded_biases[name], canonical[name])
            canonical[name.replace("bias_hh", "bias_ih")] -= np.where(summed, canonical[name], 0)
        return {name: canonical[name] for name in parameters(self.spec)}

    def reuse_programs(self) -> None:
        self._reuses_programs = all(kind.__module__.startswith(OURS) for kind in (type(self), self._kind))

    def results(self, batch: Batch) -> Arrays:
        check_batch(self.spec, batch)
        loss, correct, passed, gradients = self.run_graph("judge", self.tensors(batch, labelled=True))
        results = {"loss": loss, "correct": correct} | passed
        raw = self.canonical({name: array(value) for name, value in gradients.items()})
        return {name: array(value) for name, value in results.items()} | {
            f"grad.{name}": raw[name] for name in parameters(self.spec) if name in raw
        }

    def loss(self, batch: Batch) -> float:
        check_batch(self.spec, batch)
        return float(self.run_graph("judge_alone", self.tensors(batch, labelled=True)).numpy())

    def set_optimizer(self, settings: OptimizerSettings) -> None:
        if self._optimizer is not None and self._optimizer.settings == settings:
            self._optimizer.reset()
            return
        self._steps.clear()
        with tf.device(DEVICES[self.device]):
            self._optimizer = Optimizer(settings, self.spec, self.variables, self.own, self.canonical)

    def train(self, batches: Sequence[Batch]) -> list[Step]:
        steps = []
        for batch in batches:
            check_batch(self.spec, batch)
            tensors = self.tensors(batch, labelled=True)
            shapes = _shapes(tensors)
            with tf.device(DEVICES[self.device]):
                arguments = tensors, self.optimizer.next_rate()
                if shapes not in self._steps:
                    self._steps[shapes] = self._step_program(arguments)
                loss, correct, norm = self._steps[shapes](*arguments)
            steps.append((loss, correct, norm, max(int(counted(self.spec, batch).sum()), 1)))
        # Only now are numbers asked for: until then a GPU need not be waited for.
        return [
            Step(float(loss.numpy()), int(correct.numpy()) / number, float(norm.numpy()))
            for loss, correct, norm, number in steps
        ]

    def tensor(self, values: np.ndarray) -> tf.Tensor:
        """A tensor on the device: floats in the run's dtype, all else as it is."""
        dtype = DTYPES[self.dtype].as_numpy_dtype if values.dtype.kind == "f" else values.dtype
        with tf.device(DEVICES[self.device]):
            return tf.constant(values.astype(dtype))

    def tensors(self, batch: Batch, labelled: bool) -> Tensors:
        """The batch on the device."""
        arrays = dict(batch)
        if labelled:
            arrays |= {"labels": labels(self.spec, batch), "counted": counted(self.spec, batch)}
        return {name: self.tensor(value) for name, value in arrays.items()}

    def own(self, weights: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
        """All weights, or anything else by canonical name that is added where they are, laid out as ``variables``."""
        arrays = {name: self.tensor(value) for name, value in weights.items() if not name.startswith(LAID_OUT)}
        for i, (layer, of_layer) in enumerate(zip(self._rnn, self.split(weights), strict=True)):
            layer.load_weights(of_layer)
            arrays |= with_prefix(f"stage.{i}.", layer.parameters)
        return arrays

    def canonical(self, gradients: Arrays) -> Arrays:
        """The adjoint of ``own``: the gradient of one bias is that of both."""
        layers = [layer.canonical(without_prefix(f"stage.{i}.", gradients)) for i, layer in enumerate(self._rnn)]
        return {name: value for name, value in gradients.items() if name in parameters(self.spec)} | self.join(layers)

    def values(self) -> Parameters:
        """What the variables hold."""
        return {name: variable.read_value() for name, variable in self.variables.items()}

    def run_graph(self, work: str, tensors: Tensors, *rest: Any) -> Any:
        """What a method that takes ``parameters`` gives for a batch."""
        with tf.device(DEVICES[self.device]):
            arguments = self.values(), tensors, *rest
            if not self._reuses_programs:
                return self._graph(work, tensors)(*arguments)
            return program(lambda: self._graph(work, tensors), self._what(work), arguments, sources=OF_MODELS)(
                *arguments
            )

    def run_rnn(self, parameters: Parameters, x: tf.Tensor, batch: Tensors) -> tuple[tf.Tensor, tf.Tensor]:
        """The top layer's output (batch, seq_len, output_size) and h_n (num_layers·2, batch, hidden_size) from zero
        states, with dropout's factors between the layers where the batch has them.
        """
        rnn = self.spec.recurrent
        states = []
        for i, layer in enumerate(self._rnn):
            zeros = tf.zeros((rnn.num_directions * layer.spec.num_layers, x.shape[0], rnn.state_size), x.dtype)
            own = without_prefix(f"stage.{i}.", parameters)
            results = layer.run(own, x, batch.get("lengths"), (zeros, zeros) if rnn.cell == "lstm" else (zeros,))
            states.append(results["h_n"])
            x = results["output"]
            if dropout_name(i) in batch:
                x = x * batch[dropout_name(i)]
        return x, tf.concat(states, axis=0)

    def head(self, parameters: Parameters, x: tf.Tensor) -> tf.Tensor:
        """The linear layers with ReLU between them, (…, readout_size) to (…, classes)."""
        count = sum(name.startswith("head.") for name in parameters) // 2
        for i in range(count):
            x = tf.nn.relu(x) if i > 0 else x
            x = linear(x, parameters[f"head.{i}.weight"]) + parameters[f"head.{i}.bias"]
        return x

    def judge(self, parameters: Parameters, batch: Tensors) -> tuple[tf.Tensor, tf.Tensor, Results, Results]:
        """The loss, the number of right answers, the logits with what comes on the way to them, and the loss's
        gradients by all but a frozen embedding.
        """
        watched = {name: value for name, value in parameters.items() if name not in self.spec.frozen}
        with tf.GradientTape() as tape:
            tape.watch(watched)
            logits, passed = self.forward(parameters, batch)
            loss = self._mean_loss(parameters, logits, batch)
        right = (self.answers(parameters, logits, batch) == batch["labels"]) & batch["counted"]
        sparse = tape.gradient(loss, watched)
        # What was looked up in a table has a gradient of its rows alone; here all of them count.
        gradients = {name: tf.convert_to_tensor(value) for name, value in sparse.items()}
        return loss, tf.math.count_nonzero(right), {"logits": logits} | passed, gradients

    def judge_alone(self, parameters: Parameters, batch: Tensors) -> tf.Tensor:
        """The loss ()."""
        return self._mean_loss(parameters, self.forward(parameters, batch)[0], batch)

    def _mean_loss(self, parameters: Parameters, logits: tf.Tensor, batch: Tensors) -> tf.Tensor:
        """The mean of the losses of all counted labels ()."""
        total = self.total_loss(parameters, logits, batch)
        number = tf.maximum(tf.math.count_nonzero(batch["counted"]), 1)
        return total / tf.cast(number, total.dtype)

    def _train_step(self, tensors: Tensors, rate: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The loss, the number of right answers, and the norm of the gradients by which the variables are moved."""
        loss, correct, _, gradients = self._graph("judge", tensors)(self.values(), tensors)
        return loss, correct, self.optimizer.step(gradients, rate)

    def _step_program(self, arguments: tuple[Any, ...]) -> Callable[..., Any]:
        """A train step for these arguments."""
        traced = partial(tf.function, self._train_step, autograph=False)
        if not self._reuses_programs:
            return traced()
        what = [*self._what("train_step"), self.optimizer.settings.model_dump(mode="json")]
        beside = [variable.handle for variable in self.variables.values()] + self.optimizer.beside()
        return program(traced, what, arguments, beside, OF_MODELS)

    def _what(self, work: str) -> list[Any]:
        """What a kept program of a method follows from beside its arguments, for JSON."""
        kinds = type(self).__qualname__, self._kind.__qualname__
        return [*kinds, model_as_json(self.spec), self.implementation, self.dtype, self.device, work]

    def _graph(self, work: str, tensors: Tensors) -> Callable[..., Any]:
        """The shared graph of a method that takes ``parameters``."""
        return _graph(
            work, _shapes(tensors), type(self), self.spec, self.implementation, self.dtype, self.device, self._kind
        )


def _shapes(tensors: Tensors) -> Shapes:
    """The names and shapes of a batch's tensors, in the order of their names."""
    return tuple((name, tuple(value.shape)) for name, value in sorted(tensors.items()))


@lru_cache(GRAPHS_KEPT)
def _graph(work: str, shapes: Shapes, *network: Any) -> Callable[..., Any]:
    """A method of ``_built`` as a tf.function for batches of these shapes."""
    return tf.function(getattr(_built(*network), work), autograph=False)


@lru_cache(GRAPHS_KEPT)
def _built(
    network: type[TensorFlowNetwork],
    spec: Model,
    implementation: str,
    dtype: str,
    device: str,
    kind: type[TensorFlowImplementation],
) -> TensorFlowNetwork:
    """A network whose layers have been made, for tracing; it holds no weights."""
    built = network(spec, implementation, dtype, device, kind)
    with tf.device(DEVICES[device]):
        built.build()  # not while tracing: a tf.function that makes variables is traced twice
    return built


def linear(x: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Multiply x (…, in) with a weight (out, in): (…, out)."""
    flat = tf.matmul(tf.reshape(x, (-1, x.shape[-1])), weight, transpose_b=True)  # (out, in) to (in, out)
    return tf.reshape(flat, (*x.shape[:-1], weight.shape[0]))


def wide(x: tf.Tensor) -> tf.Tensor:
    """The array in at least float32, what softmax and means are computed in."""
    return tf.cast(x, tf.float32) if x.dtype.size < 4 else x


def best(logits: tf.Tensor) -> tf.Tensor:
    """The first largest logit of each position, int64."""
    return tf.argmax(wide(logits), axis=-1)


def array(x: tf.Tensor) -> np.ndarray:
    """The array in NumPy, float32 for narrower floats."""
    return (wide(x) if x.dtype.is_floating else x).numpy()


def doubles(x: tf.Tensor) -> np.ndarray:
    """The array in NumPy, float64."""
    return x.numpy().astype(np.float64)
