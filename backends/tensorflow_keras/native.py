"""native: Keras' bidirectional wrapper, lengths as a mask."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from backends.base import Arrays
from backends.tensorflow_keras.gaps import uses_cudnn
from backends.tensorflow_keras.implementation import Parameters, Results, TensorFlowImplementation, execution
from backends.tensorflow_keras.layout import LAYERS, build_layer, canonical_gradients, load_layer, variable_names
from backends.tensorflow_keras.sequence import States, step_mask
from common.specification import NUM_DIRECTIONS


class Native(TensorFlowImplementation):
    """keras.layers.Bidirectional around SimpleRNN, GRU or LSTM, one a layer, with Keras' own merge modes.

    With return_sequences, Bidirectional sets ``zero_output_for_mask`` in both halves, so outputs past a length are 0.
    """

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self.parameters = {}
        for layer in range(self.spec.num_layers):
            for direction in range(NUM_DIRECTIONS):
                arrays = load_layer(self.spec, weights, layer, direction)
                self.parameters |= {name: self.tensor(array) for name, array in arrays.items()}

    def canonical(self, gradients: Arrays) -> Arrays:
        return canonical_gradients(self.spec, gradients)

    def build(self) -> None:
        self._modules = []
        for layer in range(self.spec.num_layers):
            half = build_layer(self.spec, self.dtype, self.device)
            module = keras.layers.Bidirectional(half, merge_mode=self.spec.merge, dtype=self.dtype)
            module.build((None, None, self.spec.layer_input_size(layer)))
            self._modules.append(module)

    def run(self, parameters: Parameters, x: tf.Tensor, lengths: tf.Tensor | None, states: States) -> Results:
        mask = None if lengths is None else step_mask(lengths, x.shape[1])[..., 0]  # (batch, seq_len)
        finals = []
        for layer, module in enumerate(self._modules):
            rows = [layer * NUM_DIRECTIONS + direction for direction in range(NUM_DIRECTIONS)]
            initial = [state[row] for row in rows for state in states]  # forward h, c, reverse h, c
            values = [parameters[name] for name in variable_names(self.spec, layer, *range(NUM_DIRECTIONS))]
            with keras.StatelessScope(zip(module.trainable_variables, values, strict=True)):
                x, *final = module(x, initial_state=initial, mask=mask)
            finals += [final[: len(states)], final[len(states) :]]  # (h, c) forward, (h, c) reverse
        joined = (tf.stack(group) for group in zip(*finals, strict=True))
        return {"output": x} | dict(zip(("h_n", "c_n"), joined, strict=False))

    def path(self) -> str:
        module = f"keras.layers.Bidirectional({LAYERS[self.spec.cell].__name__})"
        modules = module if self.spec.num_layers == 1 else f"{self.spec.num_layers} × {module}"
        kernel = "cuDNN" if uses_cudnn(self.spec, self.device) else "while loop"
        return f"{modules}, {'padded' if self._lengths is None else 'masked'}, {kernel} {execution()}"
