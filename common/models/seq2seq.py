"""The reference of the encoder–decoder in NumPy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from common.answers.beam import DecoderStep
from common.models import batch as batches
from common.models.attention import Attention
from common.models.batch import Batch, decoder_dropout_name, dropout_name, sizes
from common.models.decoder import Bridge, Decoder, split_top, top
from common.models.layers import Arithmetic, Head, Loss, Stack, best, cross_entropy, embedding_gradient
from common.models.specification import END, PADDING, START, Arrays, Seq2Seq, rnn_weights
from common.reference import step_mask
from common.weights import with_prefix


class Seq2SeqReference:
    """An encoder–decoder, forward and gradients; parameters and attributes as in ``SequenceReference``.

    Parameters
    ----------
    choices
        (batch, target_len): what stands in for the model's own best token of every step, where a step is not forced;
        None for its own.
    """

    loss: Loss

    def __init__(
        self,
        spec: Seq2Seq,
        weights: Mapping[str, np.ndarray],
        arithmetic: Arithmetic,
        choices: np.ndarray | None = None,
    ) -> None:
        self.spec = spec
        self.arithmetic = arithmetic
        self.choices = choices
        self.weights = {name: value.astype(arithmetic.dtype) for name, value in weights.items()}
        self.stack = Stack(spec.encoder, rnn_weights(spec, self.weights), arithmetic)
        self.bridge = Bridge(spec, self.weights, arithmetic)
        self.head = Head(self.weights, arithmetic)
        self.sums: list[np.ndarray] = []

    # What a mistake can change.

    def factors(self, batch: Batch) -> list[np.ndarray]:
        """Dropout's factors on the outputs of all encoder layers but the top; none in evaluation."""
        names = [dropout_name(layer) for layer in range(self.spec.encoder.num_layers - 1)]
        return [batch[name] for name in names if name in batch]

    def decoder_factors(self, batch: Batch) -> list[np.ndarray]:
        """Dropout's factors on the outputs of all decoder layers, at every step; none in evaluation."""
        names = [decoder_dropout_name(layer) for layer in range(self.spec.encoder.num_layers)]
        return [batch[name] for name in names if name in batch]

    def attended(self, batch: Batch) -> np.ndarray:
        """(batch, seq_len) bool: the steps that attention may look at."""
        return step_mask(batch["lengths"], *sizes(batch))

    def counted(self, batch: Batch) -> np.ndarray:
        """The positions that count, (batch, target_len) bool."""
        return batches.counted(self.spec, batch)

    def divisor(self, counted: np.ndarray) -> int:
        """What the sum of the losses is divided by."""
        return max(int(counted.sum()), 1)

    def given(self, batch: Batch, logits: list[np.ndarray]) -> np.ndarray:
        """The tokens (batch,) that the next step is given, ``logits`` being those of the steps before it."""
        u = len(logits)
        if u == 0:
            return np.full(len(batch["tokens"]), START)
        if batch["forced"][u]:
            return batch["targets"][:, u - 1]
        return best(logits[-1]) if self.choices is None else self.choices[:, u - 1]

    # The network.

    def encode(self, batch: Batch) -> np.ndarray:
        """The decoder's first states; what steps need of the encoder is kept."""
        embedded = self.weights["source_embedding"][batch["tokens"]]
        memory, h_n = self.stack.forward(embedded, batch["lengths"], self.factors(batch))
        self._memory = memory
        self._attention = None
        if self.spec.attention:
            self._attention = Attention(self.weights, self.arithmetic, memory, self.attended(batch))
        self._decoder = Decoder(self.spec, self.weights, self.arithmetic)
        self._factors: list[np.ndarray] = []
        self._tokens: list[np.ndarray] = []
        self._readouts: list[np.ndarray] = []
        return self.bridge.forward(h_n)

    def step(self, tokens: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The logits (batch, target_size) and the states after a step that is given the tokens (batch,)."""
        factors = [each[:, len(self._tokens)] for each in self._factors]
        self._tokens.append(tokens)
        embedded = self.weights["target_embedding"][tokens]
        context = [] if self._attention is None else [self._attention.step(top(states[-1]))]
        states = self._decoder.step(np.concatenate([embedded, *context], axis=-1), states, factors)
        output = top(states[-1]) * factors[-1] if factors else top(states[-1])
        self._readouts.append(np.concatenate([output, *context], axis=-1))
        return self.head.forward(self._readouts[-1])[-1], states

    def forward(self, batch: Batch) -> Arrays:
        """``loss`` (), ``correct`` (), ``logits`` (batch, target_len, target_size), ``vectors`` (batch, seq_len,
        memory_size) and, with attention, ``attention`` (batch, target_len, seq_len); 0 past the lengths.
        """
        self._batch = batch
        states = self.encode(batch)
        self._factors = [each.astype(self.arithmetic.dtype) for each in self.decoder_factors(batch)]
        steps: list[np.ndarray] = []
        for _ in range(batch["targets"].shape[1]):
            of_step, states = self.step(self.given(batch, steps), states)
            steps.append(of_step)
        logits = np.stack(steps, axis=1)
        real = batches.counted(self.spec, batch)[..., None]
        logits = np.where(real, logits, np.zeros_like(logits))
        counted = self.counted(batch)
        self.sums = [logits]
        self.loss = cross_entropy(logits, batch["targets"], counted, self.divisor(counted), self.arithmetic)
        results = {"loss": self.loss.mean, "correct": self.loss.correct, "logits": logits, "vectors": self._memory}
        if self._attention is not None:
            attention = np.stack(self._attention.weights, axis=1)
            results["attention"] = np.where(real, attention, np.zeros_like(attention))
        return results

    def backward(self) -> Arrays:
        """The loss's gradients by parameter name; call ``forward`` first."""
        spec, arithmetic = self.spec, self.arithmetic
        d_readouts, by_name = self.head.backward(self.loss.gradient, np.stack(self._readouts, axis=1), self.sums)
        d_states, d_inputs = self._back_through_steps(d_readouts)
        tokens = np.stack(self._tokens, axis=1)
        by_name["target_embedding"] = embedding_gradient(tokens, d_inputs, spec.target_size, arithmetic)
        by_name |= self._decoder.gradients()
        d_memory = np.zeros_like(self._memory)
        if self._attention is not None:
            d_memory, of_attention = self._attention.gradients()
            by_name |= of_attention
        d_h_n, of_bridge = self.bridge.backward(d_states)
        d_embedded, of_encoder = self.stack.backward(d_memory, d_h_n)
        by_name |= of_bridge | with_prefix("encoder.", of_encoder)
        by_name["source_embedding"] = embedding_gradient(
            self._batch["tokens"], d_embedded, spec.source_size, arithmetic
        )
        return by_name

    def _back_through_steps(self, d_readouts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The gradients of the first states and of the embedded tokens (batch, target_len, embedding_size)."""
        spec = self.spec
        shape = (spec.encoder.num_layers, spec.decoder_directions, len(d_readouts), spec.encoder.hidden_size)
        d_states = np.zeros(shape, self.arithmetic.dtype)
        d_inputs = np.zeros((*d_readouts.shape[:2], spec.embedding_size), self.arithmetic.dtype)
        for u in reversed(range(d_readouts.shape[1])):
            d_top, d_context = np.split(d_readouts[:, u], [spec.state_size], axis=-1)
            d_top = d_top * self._factors[-1][:, u] if self._factors else d_top
            d_states[-1] = d_states[-1] + split_top(d_top, spec.decoder_directions)
            d_x, d_states = self._decoder.back_step(d_states)
            d_inputs[:, u], d_read = np.split(d_x, [spec.embedding_size], axis=-1)
            if self._attention is not None:
                d_s = self._attention.back_step(d_context + d_read)
                d_states[-1] = d_states[-1] + split_top(d_s, spec.decoder_directions)
        return d_states, d_inputs

    def decode(self, batch: Batch, max_steps: int) -> np.ndarray:
        """Greedy answers (batch, max_steps) int64, each up to its end token, then padding."""
        states = self.encode(batch)
        tokens = np.full(len(batch["tokens"]), START)
        answers = np.full((len(tokens), max_steps), PADDING, np.int64)
        ended = np.zeros(len(tokens), bool)
        for u in range(max_steps):
            logits, states = self.step(tokens, states)
            tokens = best(logits)
            answers[:, u] = np.where(ended, PADDING, tokens)
            ended |= tokens == END
            if ended.all():
                break
        return answers

    def stepper(self, batch: Batch) -> DecoderStep:
        """The steps of the decoder for an unlabelled batch, as a beam search takes them."""
        states = self.encode(batch)

        def step(tokens: np.ndarray, parents: np.ndarray) -> np.ndarray:
            nonlocal states
            logits, states = self.step(tokens, states[:, :, parents])  # (num_layers, directions, batch, hidden_size)
            return logits

        return step
