"""A train step in TensorFlow: a linear head, cross-entropy over the real steps, and plain SGD, all in one graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from backends.interface.layer import Training
from backends.tensorflow_keras.layer.lengths import States, step_mask

Variables = dict[str, tf.Variable]
"""Variables by name."""


class TrainedLayer(Protocol):
    """What training takes of an implementation, a ``TensorFlowImplementation``."""

    parameters: Mapping[str, Any]

    def tensor(self, array: np.ndarray) -> tf.Tensor:
        """A tensor in the run's dtype on its device."""
        ...


class LayerTrainer:
    """The head, the labels and the learning rate of one network, whose parameters become variables.

    Parameters
    ----------
    training
        What to train on.
    network
        The network; its parameters and inputs are on its device.
    """

    def __init__(self, training: Training, network: TrainedLayer, device: str) -> None:
        head = {"weight": network.tensor(training.weight.T), "bias": network.tensor(training.bias)}
        with tf.device(device):
            self.variables = {name: tf.Variable(value) for name, value in network.parameters.items()}
            self.head = {name: tf.Variable(value) for name, value in head.items()}
            self.labels = tf.constant(training.labels)
            self.learning_rate = tf.cast(tf.constant(training.learning_rate, tf.float64), head["weight"].dtype)


def train_step(run: Callable[..., Any]) -> Callable[..., tf.Tensor]:
    """A step around a network's ``run``: it moves the variables that it is given, and gives the loss.

    It does with each variable what keras.optimizers.SGD does (Keras 3.15, ``update_step`` without momentum:
    ``assign_sub(gradient * learning_rate)``). That optimizer itself belongs to the variables that it was built for,
    while the graph here is shared by all instances of a shape.
    """

    def step(
        variables: Variables,
        x: tf.Tensor,
        lengths: tf.Tensor | None,
        states: States,
        head: Variables,
        labels: tf.Tensor,
        learning_rate: tf.Tensor,
    ) -> tf.Tensor:
        every = [*variables.values(), *head.values()]
        with tf.GradientTape() as tape:
            output = run({name: variable.read_value() for name, variable in variables.items()}, x, lengths, states)
            flat = tf.reshape(output["output"], (-1, head["weight"].shape[0]))  # (batch·seq_len, output_size)
            logits = tf.matmul(flat, head["weight"]) + head["bias"]
            loss = _loss(tf.reshape(logits, (*labels.shape, -1)), labels, lengths)
        for variable, gradient in zip(every, tape.gradient(loss, every), strict=True):
            variable.assign_sub(gradient * learning_rate)
        return loss

    return step


def _loss(logits: tf.Tensor, labels: tf.Tensor, lengths: tf.Tensor | None) -> tf.Tensor:
    """The mean cross-entropy of the real steps; logits (batch, seq_len, classes), labels (batch, seq_len)."""
    if logits.dtype.size < 4:
        logits = tf.cast(logits, tf.float32)  # the softmax and the mean of a narrow format are float32's
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)  # (batch, seq_len)
    if lengths is None:
        return tf.reduce_mean(losses)
    real = step_mask(lengths, labels.shape[1])[..., 0]
    total = tf.reduce_sum(tf.where(real, losses, tf.zeros_like(losses)))
    return total / tf.cast(tf.maximum(tf.reduce_sum(lengths), 1), losses.dtype)
