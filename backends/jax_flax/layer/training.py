"""A train step in JAX: a linear head, cross-entropy over the real steps, and optax.sgd, all in one compiled program."""

from __future__ import annotations

from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from backends.interface.layer import Training
from backends.jax_flax.layer.lengths import Results, States, Tree, step_mask
from common.specification import Specification


class TrainedLayer(Protocol):
    """What training takes of an implementation, a ``JaxImplementation``."""

    device: str

    def array(self, array: np.ndarray) -> jax.Array:
        """An array in the run's dtype on its device."""
        ...

    @classmethod
    def run(
        cls, spec: Specification, parameters: Tree, x: jax.Array, lengths: jax.Array | None, states: States
    ) -> Results:
        """Output and final states by result name."""
        ...


class LayerTrainer:
    """The head, the labels and the learning rate of one network.

    Parameters
    ----------
    training
        What to train on.
    network
        The network; its parameters are moved, and its inputs read.
    """

    def __init__(self, training: Training, network: TrainedLayer) -> None:
        self.head = {"weight": network.array(training.weight), "bias": network.array(training.bias)}
        self.labels = jax.device_put(training.labels.astype(np.int32), jax.devices(network.device)[0])
        self.learning_rate = network.array(np.array(training.learning_rate))


@partial(jax.jit, static_argnums=(0, 1, 2))
def train_step(
    implementation: type[TrainedLayer],
    program: Specification,
    has_biases: bool,
    parameters: Tree,
    x: jax.Array,
    lengths: jax.Array | None,
    states: States,
    head: dict[str, jax.Array],
    labels: jax.Array,
    learning_rate: jax.Array,
) -> tuple[jax.Array, Tree, dict[str, jax.Array]]:
    """The loss, and the parameters and the head moved once; labels (batch, seq_len) int32, the rate a scalar.

    Without ``has_biases`` the biases are zeros that stand for absent ones (``JaxImplementation.program``), and stay.
    """

    def loss_of(weights: tuple[Tree, dict[str, jax.Array]]) -> jax.Array:
        parameters, head = weights
        if not has_biases:
            parameters = jax.tree.map(_held_if_bias, parameters)
        output = implementation.run(program, parameters, x, lengths, states)["output"]
        return _loss(output @ head["weight"].T + head["bias"], labels, lengths)

    weights = (parameters, head)
    loss, gradients = jax.value_and_grad(loss_of)(weights)
    optimizer = optax.sgd(learning_rate)
    updates, _ = optimizer.update(gradients, optimizer.init(weights))  # plain SGD has no state to keep
    return loss, *optax.apply_updates(weights, updates)


def _loss(logits: jax.Array, labels: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """The mean cross-entropy of the real steps; logits (batch, seq_len, classes)."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))  # a narrow format's softmax is float32's
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)  # (batch, seq_len)
    if lengths is None:
        return losses.mean()
    real = step_mask(lengths, labels.shape[1])[..., 0]
    return jnp.where(real, losses, 0).sum() / jnp.maximum(real.sum(), 1).astype(losses.dtype)


def _held_if_bias(leaf: jax.Array) -> jax.Array:
    """``leaf`` without a gradient if it is a bias: of a network's weights they alone are vectors."""
    return jax.lax.stop_gradient(leaf) if leaf.ndim == 1 else leaf
