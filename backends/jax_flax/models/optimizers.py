"""The optimizers of optax, set so that they follow ``common.models.optimizers``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from backends.interface.layer import Arrays
from backends.jax_flax.layer.lengths import Tree
from common.models.optimizers import (
    STATE,
    OptimizerName,
    OptimizerSettings,
    decays,
    gradient_masks,
    trained_parameters,
)
from common.models.specification import Model, parameters

Numbers = dict[str, jax.Array]
"""The settings' numbers by name, on the device."""
OWN_NAMES = {"momentum": "trace", "first": "mu", "second": "nu"}
"""optax's names of what an optimizer keeps."""


class OptimizedNetwork(Protocol):
    """What an optimizer takes of a network, a ``JaxNetwork``."""

    spec: Model
    fixed: dict[str, jax.Array]
    parameters: Tree

    @property
    def device_used(self) -> jax.Device:
        """Where the parameters are."""
        ...

    def tree(self, arrays: Mapping[str, np.ndarray]) -> Tree:
        """Arrays by canonical name in the layout of ``parameters``."""
        ...

    def canonical(self, tree: Tree) -> Arrays:
        """The inverse of ``tree``."""
        ...


class Optimizer:
    """optax.sgd or optax.adamw on a network's trained parameters, in the layout that they are in.

    Parameters
    ----------
    settings
        Which optimizer, and its numbers.
    network
        The network, its weights loaded; its train step reads and moves ``kept`` and ``count``.

    Attributes
    ----------
    kept, count
        optax's own state, and the steps taken.
    numbers
        The settings' numbers on the device, the learning rate that of the next step. They are arguments of the compiled
        step, of weak types so that they take on the parameters' dtype, and not a part of it: other settings, and other
        rates, need no other program.
    masks
        For parameters with frozen elements, 1 where an element is trained and 0 where not; None for all others.
    """

    def __init__(self, settings: OptimizerSettings, network: OptimizedNetwork) -> None:
        self.settings = settings
        self.count = 0
        self._network = network
        self._shapes = {name: shape for name, shape in parameters(network.spec).items() if name not in network.fixed}
        numbers = settings.model_dump(exclude={"name"})
        numbers["clip_norm"] = np.inf if settings.clip_norm is None else settings.clip_norm
        for name in ("schedule", "warm_up", "steps"):  # the rate is all of them
            numbers.pop(name, None)
        self.numbers: Numbers = {key: self._number(value) for key, value in numbers.items()}
        self._set_rate()
        trained = {name: np.ones(self._shapes[name]) for name in trained_parameters(network.spec)}
        masks = self._tree(trained | gradient_masks(network.spec))
        self.masks = jax.tree.map(lambda mask: None if np.asarray(mask).all() else mask, masks)
        # Zeros from NumPy, for optax's own ask for a compilation for every shape; and on the device like what a step
        # gives, else the second step is compiled anew.
        empty = jax.eval_shape(partial(_first_state, settings.name), self.numbers, network.parameters)
        self.kept = jax.tree.map(
            lambda like: jax.device_put(np.zeros(like.shape, like.dtype), network.device_used), empty
        )

    def moved(self, kept: Tree) -> None:
        """Take over optax's state after a step."""
        self.kept = kept
        self.count += 1
        self._set_rate()

    def _set_rate(self) -> None:
        """Set the next step's learning rate, where it is not that of all steps."""
        if self.settings.varies:
            self.numbers["learning_rate"] = self._number(self.settings.rate(self.count + 1))

    def _number(self, value: float) -> jax.Array:
        """A number on the device, of a weak type."""
        return jax.device_put(jnp.asarray(float(value)), self._network.device_used)

    def _tree(self, arrays: Mapping[str, np.ndarray]) -> Tree:
        """Arrays by canonical name in the layout of the trained parameters, zeros for those that are not given."""
        every = {name: arrays[name] if name in arrays else np.zeros(shape) for name, shape in self._shapes.items()}
        return self._network.tree(every)

    def state(self) -> Arrays:
        """What the optimizer keeps under its canonical names, float64, and ``count`` () int64."""
        frozen = gradient_masks(self._network.spec)
        state: Arrays = {}
        for kind in STATE[self.settings.name]:
            values = self._network.canonical(optax.tree_utils.tree_get(self.kept, OWN_NAMES[kind]))
            for name in trained_parameters(self._network.spec):
                state[f"{kind}.{name}"] = values[name].astype(np.float64) * frozen.get(name, 1)
        return state | {"count": np.array(self.count, np.int64)}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what ``state`` of any framework gave."""
        self.count = int(arrays["count"])
        self._set_rate()
        own: dict[str, Any] = {}
        for kind in STATE[self.settings.name]:
            given = {name: arrays[f"{kind}.{name}"] for name in trained_parameters(self._network.spec)}
            own[OWN_NAMES[kind]] = self._tree(given)
        if self.settings.name == "adam":
            own["count"] = jax.device_put(np.array(self.count, np.int32), self._network.device_used)
        self.kept = optax.tree_utils.tree_set(self.kept, **own)


def optimizer_of(name: OptimizerName, numbers: Numbers) -> optax.GradientTransformation:
    """Optax's optimizer; adamw has epsilon and decoupled decay where the rule has them, sgd has no decay of its own."""
    rate, decay = numbers["learning_rate"], numbers["weight_decay"]
    if name == "adam":
        moments = {"b1": numbers["beta1"], "b2": numbers["beta2"], "eps": numbers["epsilon"]}
        return optax.adamw(rate, **moments, weight_decay=decay, mask=_matrices)
    momentum = numbers["momentum"] if name == "momentum" else None
    return optax.chain(optax.sgd(rate, momentum), optax.add_decayed_weights(-rate * decay, mask=_matrices))


def _first_state(name: OptimizerName, numbers: Numbers, parameters: Tree) -> Tree:
    """The state of an optimizer before its first step."""
    return optimizer_of(name, numbers).init(parameters)


def move(
    name: OptimizerName, numbers: Numbers, masks: Tree, parameters: Tree, gradients: Tree, kept: Tree
) -> tuple[jax.Array, Tree, Tree]:
    """The global norm of the trained gradients before clipping, float64, and the parameters and optax's state moved
    once; a pure function.

    optax.clip_by_global_norm adds up squares in the gradients' dtype, which is not enough in a narrow one: clipping is
    written out.
    """
    gradients = jax.tree.map(lambda gradient, mask: gradient if mask is None else gradient * mask, gradients, masks)
    norm = jnp.sqrt(sum(jnp.square(gradient.astype(jnp.float64)).sum() for gradient in jax.tree.leaves(gradients)))
    scale = jnp.where(norm > numbers["clip_norm"], numbers["clip_norm"] / norm, 1)
    gradients = jax.tree.map(lambda gradient: gradient * scale.astype(gradient.dtype), gradients)
    updates, kept = optimizer_of(name, numbers).update(gradients, kept, parameters)
    return norm, optax.apply_updates(parameters, updates), kept


def _matrices(tree: Tree) -> Tree:
    """Whether decay applies to a parameter; kernels have two axes in every layout."""
    return jax.tree.map(lambda parameter: decays(parameter.shape), tree)
