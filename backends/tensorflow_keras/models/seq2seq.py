"""The encoder–decoder in TensorFlow: bridge, additive attention and a decoder of Keras' GRU cells in a while loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from backends.interface.layer import Arrays
from backends.tensorflow_keras.layer.implementation import Parameters, Results
from backends.tensorflow_keras.layer.layout import canonical_gradients, load_layer, variable_names
from backends.tensorflow_keras.layer.lengths import step_mask
from backends.tensorflow_keras.models.network import TensorFlowNetwork, Tensors, array, best, linear, wide
from common.answers.beam import DecoderStep
from common.errors import InputError
from common.models.batch import Batch, check_batch, decoder_dropout_name
from common.models.specification import END, PADDING, START, Seq2Seq, decoder_shapes
from common.weights import without_prefix

Layers = list[list[tf.Tensor]]
"""A decoder's states, by layer and direction, (batch, hidden_size) each."""
Steps = list[tf.TensorArray]
"""The logits of each step and, with attention, its weights."""


class Encoded(NamedTuple):
    """What steps need of the encoder: its output (batch, seq_len, 2·hidden_size); for attention W2 of it, (batch,
    seq_len, A), and which steps are padding, (batch, seq_len).
    """

    memory: tf.Tensor
    keys: tf.Tensor | None
    padding: tf.Tensor | None


class Seq2SeqNetwork(TensorFlowNetwork):
    """Tokens in, tokens out, with or without attention, the decoder in one direction or two."""

    spec: Seq2Seq

    def forward(self, parameters: Parameters, batch: Tensors) -> tuple[tf.Tensor, Results]:
        targets = batch["targets"]  # (batch, target_len)
        target_len = targets.shape[1]
        encoded, states = self._encode(parameters, batch)
        forced = tf.concat([batch["forced"][1:], [True]], axis=0)  # the step after each one
        names = [decoder_dropout_name(layer) for layer in range(self.spec.encoder.num_layers)]
        factors = [batch[name] for name in names if name in batch]  # (batch, target_len, state_size)

        def body(u: tf.Tensor, tokens: tf.Tensor, states: Layers, steps: Steps) -> tuple:
            of_step = [each[:, u] for each in factors]
            logits, states, attention = self._step(parameters, encoded, tokens, states, of_step)
            tokens = tf.where(forced[u], targets[:, u], best(logits))
            written = [each.write(u, of_u) for each, of_u in zip(steps, [logits, *attention], strict=True)]
            return u + 1, tokens, states, written

        def laid_out(steps: tf.TensorArray) -> tf.Tensor:
            stacked = tf.transpose(steps.stack(), (1, 0, 2))  # (target_len, batch, …) to (batch, target_len, …)
            return tf.where(step_mask(batch["target_lengths"], target_len), stacked, tf.zeros_like(stacked))

        steps = [tf.TensorArray(encoded.memory.dtype, target_len) for _ in range(1 + self.spec.attention)]
        tokens = tf.fill(targets.shape[:1], np.int64(START))
        *_, steps = tf.while_loop(lambda u, *_: u < target_len, body, (0, tokens, states, steps))
        logits, *attention = map(laid_out, steps)
        passed = {"vectors": encoded.memory}
        if attention:
            passed["attention"] = attention[0]
        return logits, passed

    def predict(self, batch: Batch) -> Arrays:
        raise InputError("predict must be asked of a sequence model; got an encoder–decoder")

    def decode(self, batch: Batch, max_steps: int) -> np.ndarray:
        check_batch(self.spec, batch, labelled=False)
        return array(self.run_graph("greedy", self.tensors(batch, labelled=False), tf.constant(max_steps)))

    def stepper(self, batch: Batch) -> DecoderStep:
        check_batch(self.spec, batch, labelled=False)
        begun, states = self.run_graph("begin", self.tensors(batch, labelled=False))
        encoded = Encoded(*begun)  # a kept program gives a list

        def step(tokens: np.ndarray, parents: np.ndarray) -> np.ndarray:
            nonlocal states
            given = {"tokens": self.tensor(tokens), "parents": self.tensor(parents)}
            logits, states = self.run_graph("go_on", given, encoded, states)
            return array(logits)

        return step

    def begin(self, parameters: Parameters, batch: Tensors) -> tuple[Encoded, Layers]:
        """What steps need of the encoder, and the decoder's first states."""
        return self._encode(parameters, batch)

    def go_on(
        self, parameters: Parameters, given: Tensors, encoded: Encoded, states: Layers
    ) -> tuple[tf.Tensor, Layers]:
        """The logits (batch, target_size) and the states after a step from the states of the parents (batch,)."""
        before = [[tf.gather(state, given["parents"]) for state in of_layer] for of_layer in states]
        logits, states, _ = self._step(parameters, encoded, given["tokens"], before)
        return logits, states

    def greedy(self, parameters: Parameters, batch: Tensors, max_steps: tf.Tensor) -> tf.Tensor:
        """The best tokens (batch, max_steps), each given to the next step."""
        encoded, states = self._encode(parameters, batch)

        def going(
            u: tf.Tensor, tokens: tf.Tensor, states: Layers, ended: tf.Tensor, steps: tf.TensorArray
        ) -> tf.Tensor:
            return (u < max_steps) & ~tf.reduce_all(ended)

        def body(u: tf.Tensor, tokens: tf.Tensor, states: Layers, ended: tf.Tensor, steps: tf.TensorArray) -> tuple:
            logits, states, _ = self._step(parameters, encoded, tokens, states)
            tokens = best(logits)
            given = tf.where(ended, np.int64(PADDING), tokens)
            return u + 1, tokens, states, ended | (given == END), steps.write(u, given)

        rows = batch["tokens"].shape[0]
        steps = tf.TensorArray(tf.int64, max_steps, element_shape=(rows,))
        first = (0, tf.fill([rows], np.int64(START)), states, tf.zeros(rows, tf.bool), steps)
        *_, steps = tf.while_loop(going, body, first)
        return tf.transpose(steps.stack())  # (batch, max_steps)

    def build(self) -> None:
        super().build()
        self._cells = []
        for layer in range(self.spec.encoder.num_layers):
            cells = []
            for _ in range(self.spec.decoder_directions):
                size = self.spec.encoder.hidden_size
                cell = keras.layers.GRUCell(size, recurrent_initializer="zeros", reset_after=True, dtype=self.dtype)
                cell.build((None, self.spec.decoder_rnn.layer_input_size(layer)))
                cells.append(cell)
            self._cells.append(cells)

    def own(self, weights: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
        of_decoder = without_prefix("decoder.", weights)
        own = super().own(weights)
        for layer in range(self.spec.encoder.num_layers):
            for direction in range(self.spec.decoder_directions):
                arrays = load_layer(self.spec.decoder_rnn, of_decoder, layer, direction)
                own |= {f"decoder.{name}": self.tensor(value) for name, value in arrays.items()}
        return own

    def canonical(self, gradients: Arrays) -> Arrays:
        of_decoder = without_prefix("decoder.", gradients)
        canonical = canonical_gradients(self.spec.decoder_rnn, of_decoder)
        return super().canonical(gradients) | {f"decoder.{name}": canonical[name] for name in decoder_shapes(self.spec)}

    def _encode(self, parameters: Parameters, batch: Tensors) -> tuple[Encoded, Layers]:
        """What steps need of the encoder, and the decoder's first states."""
        embedded = tf.nn.embedding_lookup(parameters["source_embedding"], batch["tokens"])
        memory, h_n = self.run_rnn(parameters, embedded, batch)
        keys = padding = None
        if self.spec.attention:
            keys = linear(memory, parameters["attention.w2"])
            padding = ~step_mask(batch["lengths"], embedded.shape[1])[..., 0]
        states = []
        for layer in range(self.spec.encoder.num_layers):
            rows = layer * self.spec.encoder.num_directions
            pair = h_n[rows : rows + self.spec.encoder.num_directions]
            joined = tf.concat(tf.unstack(pair), axis=-1)  # (batch, num_directions·hidden_size), forward first
            weight, bias = (parameters[f"bridge.{layer}.{part}"] for part in ("weight", "bias"))
            states.append(tf.split(tf.tanh(linear(joined, weight) + bias), self.spec.decoder_directions, axis=-1))
        return Encoded(memory, keys, padding), states

    def _step(
        self,
        parameters: Parameters,
        encoded: Encoded,
        tokens: tf.Tensor,
        states: Layers,
        factors: Sequence[tf.Tensor] = (),
    ) -> tuple[tf.Tensor, Layers, list[tf.Tensor]]:
        """The logits (batch, target_size) and the states after a step that is given the tokens (batch,), and, with
        attention, its weights; dropout's factors multiply what each layer hands up.
        """
        embedded = tf.nn.embedding_lookup(parameters["target_embedding"], tokens)
        attention = [self._attend(parameters, encoded, tf.concat(states[-1], axis=-1))] if self.spec.attention else []
        context = [tf.matmul(weights[:, None], encoded.memory)[:, 0] for weights in attention]
        x = tf.concat([embedded, *context], axis=-1)
        after = []
        for layer, before in enumerate(states):
            after.append([self._cell(parameters, x, state, layer, direction) for direction, state in enumerate(before)])
            x = tf.concat(after[-1], axis=-1) * factors[layer] if factors else tf.concat(after[-1], axis=-1)
        return self.head(parameters, tf.concat([x, *context], axis=-1)), after, attention

    def _cell(self, parameters: Parameters, x: tf.Tensor, state: tf.Tensor, layer: int, direction: int) -> tf.Tensor:
        """The step of a keras.layers.GRUCell, on parameters that lie elsewhere."""
        cell = self._cells[layer][direction]
        names = variable_names(self.spec.decoder_rnn, layer, direction)
        values = [parameters[f"decoder.{name}"] for name in names]
        with keras.StatelessScope(zip(cell.trainable_variables, values, strict=True)):
            return cell(x, [state])[0]

    def _attend(self, parameters: Parameters, encoded: Encoded, s: tf.Tensor) -> tf.Tensor:
        """The weights (batch, seq_len) of the memory's steps, softmax of v·tanh(W1 s + W2 memory), for the decoder's
        top states s (batch, state_size).
        """
        query = linear(s, parameters["attention.w1"])
        energies = wide(tf.linalg.matvec(tf.tanh(query[:, None] + encoded.keys), parameters["attention.v"]))
        energies = tf.where(encoded.padding, energies.dtype.as_numpy_dtype(-np.inf), energies)  # (batch, seq_len)
        return tf.cast(tf.nn.softmax(energies), s.dtype)
