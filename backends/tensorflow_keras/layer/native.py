"""native: Keras' bidirectional wrapper, or for one direction the layer by itself, lengths as a mask."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from backends.interface.directions import split_states
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
from backends.tensorflow_keras.layer.lengths import States, join_states, merge, step_mask
from common.weights import merge_weight_name, merge_weights


class Native(TensorFlowImplementation):
    """keras.layers.Bidirectional around SimpleRNN, GRU or LSTM, one a layer, with Keras' own merge modes; a
    learned merge comes after it.

    With return_sequences, Bidirectional sets ``zero_output_for_mask`` in both halves, so outputs past a length are 0.
    One direction is the layer with ``zero_output_for_mask`` by itself, without which it repeats its last output there.
    """

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self.parameters = {}
        for layer in range(self.spec.num_layers):
            for direction in range(self.spec.num_directions):
                arrays = load_layer(self.spec, weights, layer, direction)
                self.parameters |= {name: self.tensor(array) for name, array in arrays.items()}
        self.parameters |= {name: self.tensor(array) for name, array in merge_weights(weights).items()}

    def build(self) -> None:
        self._modules = []
        for layer in range(self.spec.num_layers):
            module, *backward = (
                build_layer(self.spec.of_direction(layer, direction), self.dtype, self.device, reverse=bool(direction))
                for direction in range(self.spec.num_directions)
            )
            if backward:
                mode = None if self.spec.merge == "weighted" else self.spec.merge  # None: Keras hands out both halves
                module = keras.layers.Bidirectional(module, mode, backward_layer=backward[0], dtype=self.dtype)
            else:
                module.zero_output_for_mask = True
            module.build((None, None, self.spec.layer_input_size(layer)))
            self._modules.append(module)

    def run(self, parameters: Parameters, x: tf.Tensor, lengths: tf.Tensor | None, states: States) -> Results:
        mask = None if lengths is None else step_mask(lengths, x.shape[1])[..., 0]  # (batch, seq_len)
        finals, count = [], self.spec.num_directions
        by_row = split_states(self.spec, states)
        for layer, module in enumerate(self._modules):
            rows = by_row[layer * count : (layer + 1) * count]
            initial = [state for row in rows for state in row]  # forward h, c, reverse h, c
            values = [parameters[name] for name in variable_names(self.spec, layer, *range(self.spec.num_directions))]
            with keras.StatelessScope(zip(module.trainable_variables, values, strict=True)):
                x, *final = module(x, initial_state=initial, mask=mask)
            if self.spec.merge == "weighted":
                reverse, *final = final
                x = merge(self.spec, parameters[merge_weight_name(layer)], x, reverse)
            finals += [final[i : i + len(states)] for i in range(0, len(final), len(states))]  # (h, c) a direction
        return {"output": x} | dict(zip(("h_n", "c_n"), join_states(self.spec, finals), strict=False))

    def canonical(self, gradients: Arrays) -> Arrays:
        return canonical_gradients(self.spec, gradients)

    def summed_gates(self) -> tuple[str, ...]:
        return summed_gates(self.spec)

    def path(self) -> str:
        layer = LAYERS[self.spec.cell].__name__
        module = f"keras.layers.Bidirectional({layer})" if self.spec.num_directions == 2 else f"keras.layers.{layer}"
        modules = module if self.spec.num_layers == 1 else f"{self.spec.num_layers} × {module}"
        kernel = "cuDNN" if uses_cudnn(self.spec, self.device) else "while loop"
        return f"{modules}, {'padded' if self._lengths is None else 'masked'}, {kernel} {execution()}"
