"""manual: Keras' unidirectional layer run twice, the second time on input reversed by length.

With one direction it is run once: outputs are masked here and not by Keras, and rows of length 0 go on a GPU, too.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from backends.interface.layer import Arrays
from backends.tensorflow_keras.gaps import uses_cudnn
from backends.tensorflow_keras.layer.implementation import Parameters, Results, TensorFlowImplementation, execution
from backends.tensorflow_keras.layer.layout import (
    LAYERS,
    build_layer,
    canonical_gradients,
    load_layer,
    summed_gates,
    variable_names,
)
from backends.tensorflow_keras.layer.lengths import States, run_stack, step_mask
from common.weights import merge_weights


class Manual(TensorFlowImplementation):
    """keras.layers.SimpleRNN, GRU or LSTM, one for each layer and direction.

    A Keras layer repeats its last output past a length, so the outputs are masked here. cuDNN refuses a row that is
    masked as a whole, so a row of length 0 runs one step that is then masked: its outputs are 0 and its state stays.
    """

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self.parameters = {}
        for layer in range(self.spec.num_layers):
            for direction in range(self.spec.num_directions):
                arrays = load_layer(self.spec, weights, layer, direction)
                self.parameters |= {name: self.tensor(array) for name, array in arrays.items()}
        self.parameters |= {name: self.tensor(array) for name, array in merge_weights(weights).items()}

    def build(self) -> None:
        self._modules = {}
        for layer in range(self.spec.num_layers):
            for direction in range(self.spec.num_directions):
                own = self.spec.of_direction(layer, direction)
                module = build_layer(own, self.dtype, self.device)
                module.build((None, None, own.input_size))
                self._modules[layer, direction] = module

    def run(self, parameters: Parameters, x: tf.Tensor, lengths: tf.Tensor | None, states: States) -> Results:
        def run_direction(x: tf.Tensor, states: States, layer: int, direction: int) -> tuple[tf.Tensor, States]:
            module = self._modules[layer, direction]
            values = [parameters[name] for name in variable_names(self.spec, layer, direction)]
            with keras.StatelessScope(zip(module.trainable_variables, values, strict=True)):
                return self._run_module(module, x, lengths, states)

        return run_stack(self.spec, parameters, x, lengths, states, run_direction)

    def _run_module(
        self, module: keras.layers.RNN, x: tf.Tensor, lengths: tf.Tensor | None, states: States
    ) -> tuple[tf.Tensor, States]:
        if lengths is None:
            output, *final = module(x, initial_state=list(states))
            return output, tuple(final)
        at_least_one = step_mask(tf.maximum(lengths, 1), x.shape[1])[..., 0]  # (batch, seq_len)
        output, *final = module(x, initial_state=list(states), mask=at_least_one)
        output = tf.where(step_mask(lengths, x.shape[1]), output, tf.zeros_like(output))
        some = (lengths > 0)[:, None]
        return output, tuple(tf.where(some, new, old) for new, old in zip(final, states, strict=True))

    def canonical(self, gradients: Arrays) -> Arrays:
        return canonical_gradients(self.spec, gradients)

    def summed_gates(self) -> tuple[str, ...]:
        return summed_gates(self.spec)

    def path(self) -> str:
        module = f"unidirectional keras.layers.{LAYERS[self.spec.cell].__name__}"
        flipped = ", flipped by length" if self.spec.num_directions == 2 else ""
        masked = "padded" if self._lengths is None else f"masked{flipped}"
        kernel = "cuDNN" if uses_cudnn(self.spec, self.device) else "while loop"
        return f"{self.spec.num_directions * self.spec.num_layers} × {module}, {masked}, {kernel} {execution()}"
