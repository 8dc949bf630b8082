"""The encoder–decoder in MXNet: bridge, additive attention and a decoder of GRU steps, in one graph."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import numpy as np
from mxnet import nd

from backends.interface.layer import Arrays
from backends.mxnet_gluon.layer.lengths import Tensor, unstack
from backends.mxnet_gluon.layer.scratch import affine, step
from backends.mxnet_gluon.models.network import MXNetNetwork, Tensors, array
from common.answers.beam import DecoderStep
from common.errors import InputError
from common.models.batch import Batch, check_batch, decoder_dropout_name
from common.models.specification import END, PADDING, START, Seq2Seq
from common.specification import NUM_DIRECTIONS
from common.weights import KINDS, weight_name

Layers = list[list[Tensor]]
"""A decoder's states, by layer and direction, (batch, hidden_size) each."""
MEMORY = ("memory", "keys", "lengths")
"""What the encoder leaves: its output (batch, seq_len, 2·hidden_size); for attention its product with W2 (batch,
seq_len, attention_size), and the lengths (batch,) where not all rows are full."""


class Seq2SeqNetwork(MXNetNetwork):
    """Tokens in, tokens out, with or without attention, the decoder in one direction or two."""

    spec: Seq2Seq

    def forward(self, F: ModuleType, parameters: Tensors, batch: Tensors) -> tuple[Tensor, Tensors]:
        memory, states = self._encode(F, parameters, batch)
        right = unstack(F, F.transpose(batch["labels"]), self._target_len)  # (batch, target_len) to (batch,) each
        forced = unstack(F, batch["forced"], self._target_len - 1) if self._target_len > 1 else []
        names = [decoder_dropout_name(layer) for layer in range(self.spec.encoder.num_layers)]
        factors = [unstack(F, batch[name], self._target_len) for name in names if name in batch]
        tokens = START * F.ones_like(right[0])
        steps: list[Tensor] = []
        every_attention: list[Tensor] = []
        for u in range(self._target_len):
            if u > 0:
                tokens = F.where(forced[u - 1], right[u - 1], self.best(F, steps[-1]))
            of_step = [each[u] for each in factors]
            logits, states, attention = self._step(F, parameters, memory, tokens, states, of_step)
            steps.append(logits)
            every_attention += attention

        def laid_out(steps: list[Tensor]) -> Tensor:
            stacked = F.stack(*steps, axis=1)  # target_len times (batch, …) to (batch, target_len, …)
            return F.SequenceMask(stacked, batch["target_lengths"], use_sequence_length=True, axis=1)

        passed = {"vectors": memory["memory"]}
        if every_attention:
            passed["attention"] = laid_out(every_attention)
        return laid_out(steps), passed

    def predict(self, batch: Batch) -> Arrays:
        raise InputError("predict must be asked of a sequence model; got an encoder–decoder")

    def decode(self, batch: Batch, max_steps: int) -> np.ndarray:
        check_batch(self.spec, batch, labelled=False)
        answers = np.full((len(batch["tokens"]), max_steps), PADDING, np.int64)
        ended = np.zeros(len(answers), bool)
        given = self._given(batch)
        given["tokens"] = self.tensor(np.full(len(answers), START))
        for u in range(max_steps):
            given["tokens"], *states = self.call("decode", self._decoded, given, _of_decoder)
            given |= dict(zip((name for name in given if name.startswith("state.")), states, strict=True))
            answers[:, u] = np.where(ended, PADDING, array(given["tokens"]))
            ended |= answers[:, u] == END
            if ended.all():
                break
        nd.waitall()
        return answers

    def stepper(self, batch: Batch) -> DecoderStep:
        check_batch(self.spec, batch, labelled=False)
        given = self._given(batch)

        def step(tokens: np.ndarray, parents: np.ndarray) -> np.ndarray:
            given["tokens"], given["parents"] = self.tensor(tokens), self.tensor(parents)
            logits, *states = self.call("step", self._stepped, given, _of_decoder)
            given.update(zip((name for name in given if name.startswith("state.")), states, strict=True))
            return array(logits)

        return step

    def moved(self, batch: Batch) -> dict[str, nd.NDArray]:
        """The batch as it was; of a labelled one with ``target_lengths`` and, for each step but the first, ``forced``
        (target_len − 1, batch), and dropout's factors on the decoder's layers (target_len, batch, state_size).
        """
        moved = super().moved(batch)
        if "targets" in batch:
            rows, self._target_len = batch["targets"].shape
            moved["target_lengths"] = self.tensor(batch["target_lengths"])
            if self._target_len > 1:
                moved["forced"] = self.tensor(np.repeat(batch["forced"][1:, None], rows, axis=1))
        for name in [decoder_dropout_name(layer) for layer in range(self.spec.encoder.num_layers)]:
            if name in moved:
                moved[name] = nd.swapaxes(moved[name], dim1=0, dim2=1)
        return moved

    def _given(self, batch: Batch) -> dict[str, nd.NDArray]:
        """What a step is given beside tokens: what attention reads, and the first states as ``state.0`` and so on."""
        arrays = self.moved(batch)
        encoded = self.call("encode", self._encoded, arrays, _of_encoder)
        names = [name for name in MEMORY[:2] if self.spec.attention] + [f"state.{i}" for i in range(len(encoded))]
        given = dict(zip(names, encoded, strict=False))
        if self.spec.attention and "lengths" in arrays:
            given["lengths"] = arrays["lengths"]
        return given

    def _encode(self, F: ModuleType, parameters: Tensors, batch: Tensors) -> tuple[Tensors, Layers]:
        """What the encoder leaves, and the decoder's first states."""
        spec = self.spec
        embedded = self.lookup(F, parameters, batch["tokens"], "source_embedding")
        output, h_n = self.run_rnn(F, parameters, embedded, batch)
        memory = {"memory": output}
        if spec.attention:
            keys = self.linear(F, parameters, F.reshape(output, shape=(-3, 0)), "attention.w2")  # (batch·seq_len, A)
            keys = F.reshape_like(keys, output, lhs_begin=0, lhs_end=1, rhs_begin=0, rhs_end=2)
            memory["keys"] = keys
            memory |= {"lengths": batch["lengths"]} if "lengths" in batch else {}
        count = spec.encoder.num_directions
        each = unstack(F, h_n, count * spec.encoder.num_layers)
        states = []
        for layer in range(spec.encoder.num_layers):
            pair = each[layer * count : (layer + 1) * count]
            joined = F.concat(*pair, dim=1)  # (batch, num_directions·hidden_size), forward first
            first = F.tanh(self.linear(F, parameters, joined, f"bridge.{layer}.weight", f"bridge.{layer}.bias"))
            halves = F.split(first, num_outputs=2, axis=1) if spec.decoder_directions == NUM_DIRECTIONS else [first]
            states.append(list(halves))
        return memory, states

    def _step(
        self,
        F: ModuleType,
        parameters: Tensors,
        memory: Tensors,
        tokens: Tensor,
        states: Layers,
        factors: Sequence[Tensor] = (),
    ) -> tuple[Tensor, Layers, list[Tensor]]:
        """The logits (batch, target_size) and the states after a step that is given the tokens (batch,), and, with
        attention, its weights; dropout's factors multiply what each layer hands up.
        """
        embedded = self.lookup(F, parameters, tokens, "target_embedding")
        attention = [self._attend(F, parameters, memory, _joined(F, states[-1]))] if self.spec.attention else []
        means = [F.batch_dot(F.expand_dims(weights, axis=1), memory["memory"]) for weights in attention]
        context = [F.squeeze(mean, axis=1) for mean in means]  # (batch, 1, 2·hidden_size) to (batch, 2·hidden_size)
        x = _joined(F, [embedded, *context])
        after = []
        for layer, before in enumerate(states):
            halves: list[Tensor] = []
            for direction, state in enumerate(before):
                w = [parameters[f"decoder.{weight_name(kind, layer, direction)}"] for kind in KINDS]
                halves += step(F, self.spec.decoder_rnn, affine, w, x, [state])
            after.append(halves)
            x = _joined(F, halves) * factors[layer] if factors else _joined(F, halves)
        return self.head(F, parameters, _joined(F, [x, *context])), after, attention

    def _attend(self, F: ModuleType, parameters: Tensors, memory: Tensors, s: Tensor) -> Tensor:
        """The weights (batch, seq_len) of the memory's steps, softmax of v·tanh(W1 s + W2 memory), for the decoder's
        top states s (batch, state_size).
        """
        query = self.linear(F, parameters, s, "attention.w1")
        inner = F.tanh(F.broadcast_add(F.expand_dims(query, axis=1), memory["keys"]))
        energies = self.wide(F, F.dot(inner, parameters["attention.v"]))  # (batch, seq_len)
        if "lengths" in memory:
            weights = F.softmax(energies, memory["lengths"], axis=-1, use_length=True)
        else:
            weights = F.softmax(energies, axis=-1)
        return self.narrow(F, weights)

    def _encoded(self, F: ModuleType, parameters: Tensors, batch: Tensors) -> list[Tensor]:
        """What attention reads but the lengths, and all first states."""
        memory, states = self._encode(F, parameters, batch)
        return [memory[name] for name in MEMORY[:2] if self.spec.attention] + [
            state for each in states for state in each
        ]

    def _decoded(self, F: ModuleType, parameters: Tensors, given: Tensors) -> list[Tensor]:
        """The best tokens and all states after a step."""
        flat = [value for name, value in given.items() if name.startswith("state.")]
        logits, *states = self._flat_step(F, parameters, given, flat)
        return [self.best(F, logits), *states]

    def _stepped(self, F: ModuleType, parameters: Tensors, given: Tensors) -> list[Tensor]:
        """The logits (batch, target_size) and all states after a step from the states of the parents (batch,)."""
        flat = [F.take(value, given["parents"]) for name, value in given.items() if name.startswith("state.")]
        return self._flat_step(F, parameters, given, flat)

    def _flat_step(self, F: ModuleType, parameters: Tensors, given: Tensors, flat: list[Tensor]) -> list[Tensor]:
        """The logits and all states after a step from the states of all layers and directions in one list."""
        count = self.spec.decoder_directions
        states = [flat[i : i + count] for i in range(0, len(flat), count)]
        logits, after, _ = self._step(F, parameters, given, given["tokens"], states)
        return [logits, *(state for each in after for state in each)]


def _joined(F: ModuleType, parts: list[Tensor]) -> Tensor:
    """Features (batch, …) side by side."""
    return parts[0] if len(parts) == 1 else F.concat(*parts, dim=1)


def _of_encoder(name: str) -> bool:
    """Whether a parameter is used before the decoder's first step, and not in its steps."""
    return name.startswith(("source_embedding", "encoder.", "bridge.", "attention.w2"))


def _of_decoder(name: str) -> bool:
    """Whether a parameter is the decoder's."""
    return not _of_encoder(name)
