"""keras.optimizers set so that it follows ``common.models.optimizers``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from backends.interface.layer import Arrays
from common.errors import InputError
from common.models.optimizers import STATE, OptimizerSettings, decays, gradient_masks, trained_parameters
from common.models.specification import Model, parameters


class Optimizer:
    """keras.optimizers.SGD or Adam on the trained variables.

    Clipping and decay are Keras' own; it is told which variables are vectors, which do not decay. What Keras' Adam does
    otherwise is made good for each step.

    Parameters
    ----------
    settings
        Which optimizer, and its numbers.
    spec
        The model.
    variables
        Its variables by their own names; they are moved in place.
    own, canonical
        From canonical names and layout to those of the variables, and back; see ``TensorFlowNetwork``.

    Raises
    ------
    InputError
        For Adam in less than float32: Keras computes 1 − beta2^t in the parameters' dtype, which is 0 there.
    """

    def __init__(
        self,
        settings: OptimizerSettings,
        spec: Model,
        variables: Mapping[str, tf.Variable],
        own: Callable[[Mapping[str, np.ndarray]], dict[str, tf.Tensor]],
        canonical: Callable[[Arrays], Arrays],
    ) -> None:
        self.settings = settings
        self.count = 0
        self._variables, self._own, self._canonical = variables, own, canonical
        self._shapes, self._trained_parameters = parameters(spec), trained_parameters(spec)
        masks = gradient_masks(spec)
        self._elements = {
            name: np.broadcast_to(masks.get(name, 1.0) if name in self._trained_parameters else 0.0, shape)
            for name, shape in self._shapes.items()
        }
        moved = own(self._elements)  # 1 for the elements that are trained
        decaying = own({name: np.full(shape, float(decays(shape))) for name, shape in self._shapes.items()})
        self.trained = {name: variable for name, variable in variables.items() if moved[name].numpy().any()}
        self._masks = {name: moved[name] for name in self.trained if not moved[name].numpy().all()}
        self._dtype = next(iter(self.trained.values())).dtype
        if settings.name == "adam" and self._dtype.size < 4:
            raise InputError(f"adam of tensorflow must train in float32 or float64; got {self._dtype.name}")
        self._rate = tf.Variable(settings.rate(1), dtype=self._dtype)
        self._optimizer = self._make([self.trained[name] for name in self.trained if not decaying[name].numpy().any()])

    def _make(self, vectors: list[tf.Variable]) -> keras.optimizers.Optimizer:
        """The framework's own optimizer with the numbers of the settings."""
        settings = self.settings
        # Keras 3.15 casts to the variables' dtype what TensorFlow has made of a number: of Python's a float32.
        number = np.float64 if self._dtype == tf.float64 else float
        options: dict[str, Any] = {
            "learning_rate": self._rate.read_value,
            "weight_decay": number(settings.weight_decay) or None,
            "global_clipnorm": settings.clip_norm,
        }
        if settings.name == "adam":
            betas = {"beta_1": number(settings.beta1), "beta_2": number(settings.beta2)}
            optimizer = keras.optimizers.Adam(**betas, epsilon=tf.Variable(0, dtype=self._dtype), **options)
        else:
            momentum = settings.momentum if settings.name == "momentum" else 0
            optimizer = keras.optimizers.SGD(momentum=number(momentum), **options)
        optimizer.exclude_from_weight_decay(var_list=vectors)
        optimizer.build(list(self.trained.values()))
        return optimizer

    def next_rate(self) -> tf.Tensor:
        """The learning rate () of the step that is begun with it, float64."""
        self.count += 1
        return tf.constant(self.settings.rate(self.count), tf.float64)

    def step(self, gradients: Mapping[str, tf.Tensor], rate: tf.Tensor) -> tf.Tensor:
        """Move the trained variables once, by raw gradients under the variables' names, at ``next_rate``; gives the
        global norm before clipping, float64. It is traced.
        """
        by_name = {name: gradients[name] for name in self.trained}
        by_name |= {name: by_name[name] * mask for name, mask in self._masks.items()}
        norm = tf.linalg.global_norm([tf.cast(gradient, tf.float64) for gradient in by_name.values()])
        if self.settings.name == "adam":
            self._correct(rate)
        elif self.settings.varies:
            self._follow(rate)
        self._optimizer.apply(list(by_name.values()), list(self.trained.values()))
        return norm

    def _follow(self, rate: tf.Tensor) -> None:
        """Set the learning rate for SGD's next step, and with it the momentum, which Keras keeps in units of it."""
        rate = tf.cast(rate, self._dtype)
        for momentum in self._kept().get("momentum", {}).values():
            momentum.assign(momentum * (rate / self._rate))
        self._rate.assign(rate)

    def _correct(self, rate: tf.Tensor) -> None:
        """Set the learning rate and epsilon for Adam's next step.

        Keras 3.15 adds epsilon to the root of the second moment before its bias is corrected, so it is given
        epsilon·√(1 − beta2^t). And it computes 1 − beta^t in the variables' dtype, in float32 wrong in the fifth digit
        for beta2 = 0.999, so the learning rate holds the right factor over Keras'.
        """
        betas = np.float64(self.settings.beta1), np.float64(self.settings.beta2)
        count = tf.cast(self._optimizer.iterations + 1, tf.float64)
        first, second = (1 - beta**count for beta in betas)
        epsilon = self.settings.epsilon * tf.sqrt(second)
        self._optimizer.epsilon.assign(tf.cast(epsilon, self._dtype))
        count = tf.cast(count, self._dtype)
        own_first, own_second = (1 - tf.cast(beta, self._dtype) ** count for beta in betas)
        own = tf.cast(tf.sqrt(own_second) / own_first, tf.float64)
        self._rate.assign(tf.cast(rate * tf.sqrt(second) / first / own, self._dtype))

    def beside(self) -> list[tf.Tensor]:
        """What a traced ``step`` may read beside its arguments and the trained variables."""
        own = [self._rate, *([self._optimizer.epsilon] if self.settings.name == "adam" else [])]
        kept = [variable.value for variable in self._optimizer.variables]
        return [variable.handle for variable in (*kept, *own)] + list(self._masks.values())

    def reset(self) -> None:
        """Start anew, as before the first step."""
        self.count = 0
        for variable in self._optimizer.variables:
            variable.assign(tf.zeros_like(variable))

    def state(self) -> Arrays:
        """What the optimizer keeps under its canonical names, float64, and ``count`` () int64."""
        state: Arrays = {}
        for kind, variables in self._kept().items():
            own = {name: np.zeros(variable.shape) for name, variable in self._variables.items()}
            scale = self._scale(kind)
            own |= {name: variable.numpy().astype(np.float64) / scale for name, variable in variables.items()}
            canonical = self._canonical(own)
            for name in self._trained_parameters:
                state[f"{kind}.{name}"] = canonical[name] * self._elements[name]
        return state | {"count": np.array(self.count, np.int64)}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what ``state`` of any framework gave."""
        self.count = int(arrays["count"])
        self._optimizer.iterations.assign(self.count)
        self._rate.assign(self._last_rate())
        for kind, variables in self._kept().items():
            every = {name: arrays.get(f"{kind}.{name}", np.zeros(shape)) for name, shape in self._shapes.items()}
            own = self._own({name: value * self._scale(kind) for name, value in every.items()})
            for name, variable in variables.items():
                variable.assign(own[name])

    def _kept(self) -> dict[str, dict[str, keras.Variable]]:
        """Keras' variables by kind and by the name of what they are for; its first one counts the steps."""
        kinds = STATE[self.settings.name]
        rest = self._optimizer.variables[1:]  # for each trained variable one of each kind
        # For a momentum of 0 Keras keeps none.
        return {kind: dict(zip(self.trained, rest[i :: len(kinds)], strict=bool(rest))) for i, kind in enumerate(kinds)}

    def _scale(self, kind: str) -> float:
        """What Keras keeps in units of what the rule keeps: its momentum is what the variable moves by."""
        return -self._last_rate() if kind == "momentum" else 1.0

    def _last_rate(self) -> float:
        """The learning rate of the last step, before the first one its own."""
        return self.settings.rate(max(self.count, 1))
