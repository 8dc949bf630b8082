"""The sequence model in MXNet: embedding, bidirectional RNN, linear layers, and softmax or a CRF."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from mxnet import nd

from backends.interface.layer import Arrays
from backends.mxnet_gluon.layer.lengths import Tensor, unstack
from backends.mxnet_gluon.models.crf import Rows, best_paths, negative_log_likelihood
from backends.mxnet_gluon.models.network import MXNetNetwork, Tensors, array
from common.answers.beam import DecoderStep
from common.errors import InputError
from common.models.batch import Batch, check_batch
from common.models.crf.scores import ALLOWED, Scores, scores_of
from common.models.specification import SequenceModel


class SequenceNetwork(MXNetNetwork):
    """A label for each step, or one for the whole sequence."""

    spec: SequenceModel

    def forward(self, F: ModuleType, parameters: Tensors, batch: Tensors) -> tuple[Tensor, Tensors]:
        x = batch["x"] if "x" in batch else self.lookup(F, parameters, batch["tokens"], "embedding")
        output, h_n = self.run_rnn(F, parameters, x, batch)
        if self.spec.readout == "final":
            count = self.spec.rnn.num_directions
            top = unstack(F, h_n, count * self.spec.rnn.num_layers)[-count:]
            logits = self.head(F, parameters, F.concat(*top, dim=1))  # (batch, num_directions·hidden_size)
            return logits, {"vectors": output}
        logits = self.head(F, parameters, F.reshape(output, shape=(-3, 0)))  # (batch·seq_len, classes)
        logits = F.reshape_like(logits, output, lhs_begin=0, lhs_end=1, rhs_begin=0, rhs_end=2)
        if "lengths" in batch:
            logits = F.SequenceMask(logits, batch["lengths"], use_sequence_length=True, axis=1)
        return logits, {"vectors": output}

    def total_loss(self, F: ModuleType, parameters: Tensors, logits: Tensor, batch: Tensors) -> Tensor:
        if self.spec.head == "softmax":
            return super().total_loss(F, parameters, logits, batch)
        scores = self._scores(F, parameters)
        losses = negative_log_likelihood(F, self.wide(F, logits), batch["labels"], self._rows(batch), scores)
        counted = F.squeeze(F.slice_axis(batch["counted"], axis=1, begin=0, end=1), axis=1)  # a row counts as a whole
        return F.sum(F.where(counted, losses, F.zeros_like(losses)))

    def answers(self, F: ModuleType, parameters: Tensors, logits: Tensor, batch: Tensors) -> Tensor:
        if self.spec.head == "softmax":
            return super().answers(F, parameters, logits, batch)
        scores = self._scores(F, parameters)
        return best_paths(F, self.wide(F, logits), self._rows(batch), scores, batch.get(ALLOWED))

    def predict(self, batch: Batch) -> Arrays:
        check_batch(self.spec, batch, labelled=False)
        answers = self.call("predict", self._predicted, self.moved(batch))
        nd.waitall()
        names = ("labels", "logits", *self.passed)
        return {name: array(value) for name, value in zip(names, answers, strict=True)}

    def decode(self, batch: Batch, max_steps: int) -> np.ndarray:
        raise InputError("decode must be asked of an encoder–decoder; got a sequence model")

    def stepper(self, batch: Batch) -> DecoderStep:
        raise InputError("stepper must be asked of an encoder–decoder; got a sequence model")

    def _predicted(self, F: ModuleType, parameters: Tensors, batch: Tensors) -> list[Tensor]:
        logits, passed = self.forward(F, parameters, batch)
        return [self.answers(F, parameters, logits, batch), logits, *passed.values()]

    def _scores(self, F: ModuleType, parameters: Tensors) -> Scores:
        """The CRF's scores."""
        return Scores(*(self.wide(F, score) for score in scores_of(parameters)))

    def _rows(self, batch: Tensors) -> Rows:
        """What the CRF must know of the batch."""
        return Rows(self._rnn[0].seq_len, self.spec.classes, batch.get("lengths"))
