"""The reference of the sequence model: embedding, bidirectional RNN, linear layers, softmax or a CRF, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from common.models.batch import Batch, dropout_name, has_dropout, padding_mask, sizes
from common.models.crf.likelihood import CRF
from common.models.crf.scores import ALLOWED, restricted
from common.models.crf.viterbi import best_paths
from common.models.layers import Arithmetic, Head, Loss, Stack, best, cross_entropy, embedding_gradient
from common.models.specification import Arrays, SequenceModel, rnn_weights
from common.reference import step_mask
from common.weights import with_prefix


class SequenceReference:
    """A sequence model, forward and gradients.

    The methods that a mistake would change are small and apart. ``loss``, ``logits`` and ``sums`` (what every linear
    layer gives) are those of the last ``forward``.

    Parameters
    ----------
    spec
        The model.
    weights
        Its parameters by canonical name; they are cast to the arithmetic's dtype first.
    arithmetic
        What to compute in.
    """

    loss: Loss

    def __init__(self, spec: SequenceModel, weights: Mapping[str, np.ndarray], arithmetic: Arithmetic) -> None:
        self.spec = spec
        self.arithmetic = arithmetic
        self.weights = {name: value.astype(arithmetic.dtype) for name, value in weights.items()}
        self.stack = Stack(spec.rnn, rnn_weights(spec, self.weights), arithmetic)
        self.head = Head(self.weights, arithmetic)
        self.sums: list[np.ndarray] = []
        self.crf = self.chain() if spec.head == "crf" else None

    # What a mistake can change.

    def factors(self, batch: Batch) -> list[np.ndarray]:
        """Dropout's factors on the outputs of all layers but the top; none in evaluation."""
        layers = range(self.spec.rnn.num_layers - 1) if has_dropout(batch) else ()
        return [batch[dropout_name(layer)] for layer in layers]

    def counted(self, batch: Batch) -> np.ndarray:
        """The positions that count, as the batch has them."""
        return batch["counted"]

    def divisor(self, counted: np.ndarray) -> int:
        """What the sum of the losses is divided by."""
        return max(int(counted.sum()), 1)

    def chain(self) -> CRF:
        """The CRF of a model that has one."""
        return CRF(self.weights, self.arithmetic)

    def final_states(self, h_n: np.ndarray) -> np.ndarray:
        """The top layer's final states (batch, num_directions·hidden_size): forward, then reverse."""
        return np.concatenate(list(h_n[-self.spec.rnn.num_directions :]), axis=-1)

    def final_states_gradient(self, gradient: np.ndarray, h_n: np.ndarray) -> np.ndarray:
        """The gradient of h_n by that of the top layer's final states."""
        d_h_n = np.zeros_like(h_n)
        count = self.spec.rnn.num_directions
        d_h_n[-count:] = np.split(gradient, count, axis=-1)  # (batch, hidden_size) each
        return d_h_n

    # The network.

    def logits(self, batch: Batch) -> np.ndarray:
        """(batch, seq_len, classes), 0 past the lengths, or (batch, classes)."""
        lengths = batch.get("lengths")
        x = self.weights["embedding"][batch["tokens"]] if "embedding" in self.weights else batch["x"]
        self._output, self._h_n = self.stack.forward(x, lengths, self.factors(batch))
        self._readout = self._output if self.spec.readout == "steps" else self.final_states(self._h_n)
        self.sums = self.head.forward(self._readout)
        if self.spec.readout == "steps":
            real = step_mask(lengths, *sizes(batch))[..., None]
            self.sums[-1] = np.where(real, self.sums[-1], np.zeros_like(self.sums[-1]))
        return self.sums[-1]

    def forward(self, batch: Batch) -> Arrays:
        """``loss`` (), ``correct`` (), ``logits`` and ``vectors`` (batch, seq_len, output_size)."""
        self._batch = batch
        logits = self.logits(batch)
        counted = self.counted(batch)
        divisor = self.divisor(counted)
        if self.crf is None:
            self.loss = cross_entropy(logits, batch["labels"], counted, divisor, self.arithmetic)
        else:
            self.loss = self.crf.loss(logits, batch["labels"], counted, ~padding_mask(batch), divisor)
        return {"loss": self.loss.mean, "correct": self.loss.correct, "logits": logits, "vectors": self._output}

    def backward(self) -> Arrays:
        """The loss's gradients by parameter name; call ``forward`` first."""
        d_readout, by_name = self.head.backward(self.loss.gradient, self._readout, self.sums)
        if self.spec.readout == "steps":
            d_output, d_h_n = d_readout, np.zeros_like(self._h_n)
        else:
            d_output, d_h_n = np.zeros_like(self._output), self.final_states_gradient(d_readout, self._h_n)
        d_x, of_rnn = self.stack.backward(d_output, d_h_n)
        by_name |= with_prefix("rnn.", of_rnn)
        if self.crf is not None:
            by_name |= self.crf.by_name
        if "embedding" in self.weights and not self.spec.frozen_embedding:
            rows = len(self.weights["embedding"])
            by_name["embedding"] = embedding_gradient(self._batch["tokens"], d_x, rows, self.arithmetic)
        return by_name

    def predict(self, batch: Batch) -> Arrays:
        """``labels`` (0 past the lengths), ``logits`` and ``vectors`` of an unlabelled batch: each step's best label,
        or of a CRF the best path of those that the batch allows.
        """
        logits = self.logits(batch)
        labels = best(logits)
        if self.crf is not None:
            scores = restricted(self.crf.scores, batch.get(ALLOWED))
            labels = best_paths(logits.astype(self.arithmetic.wide), ~padding_mask(batch), scores)
        return {"labels": labels, "logits": logits, "vectors": self._output}
