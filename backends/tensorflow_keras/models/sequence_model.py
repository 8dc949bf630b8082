"""The sequence model in TensorFlow: embedding, bidirectional RNN, linear layers, and softmax or a CRF."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from backends.interface.layer import Arrays
from backends.tensorflow_keras.layer.implementation import Parameters, Results
from backends.tensorflow_keras.layer.lengths import step_mask
from backends.tensorflow_keras.models.crf import best_paths, negative_log_likelihood
from backends.tensorflow_keras.models.network import TensorFlowNetwork, Tensors, array, wide
from common.answers.beam import DecoderStep
from common.errors import InputError
from common.models.batch import Batch, check_batch
from common.models.crf.scores import ALLOWED, Scores, scores_of
from common.models.specification import SequenceModel


class SequenceNetwork(TensorFlowNetwork):
    """A label for each step, or one for the whole sequence."""

    spec: SequenceModel

    def forward(self, parameters: Parameters, batch: Tensors) -> tuple[tf.Tensor, Results]:
        if self.spec.num_embeddings is None:
            x = batch["x"]
        else:
            x = tf.nn.embedding_lookup(parameters["embedding"], batch["tokens"])
        output, h_n = self.run_rnn(parameters, x, batch)
        if self.spec.readout == "final":
            top = tf.unstack(h_n[-self.spec.rnn.num_directions :])
            logits = self.head(parameters, tf.concat(top, axis=-1))  # (batch, num_directions·hidden_size)
            return logits, {"vectors": output}
        logits = self.head(parameters, output)
        if "lengths" in batch:
            logits = tf.where(step_mask(batch["lengths"], x.shape[1]), logits, tf.zeros_like(logits))
        return logits, {"vectors": output}

    def total_loss(self, parameters: Parameters, logits: tf.Tensor, batch: Tensors) -> tf.Tensor:
        if self.spec.head == "softmax":
            return super().total_loss(parameters, logits, batch)
        real, scores = _real(batch, logits), _scores(parameters)
        losses = negative_log_likelihood(wide(logits), batch["labels"], real, scores)
        counted = batch["counted"][:, 0]  # a row is counted as a whole
        return tf.reduce_sum(tf.where(counted, losses, tf.zeros_like(losses)))

    def answers(self, parameters: Parameters, logits: tf.Tensor, batch: Tensors) -> tf.Tensor:
        if self.spec.head == "softmax":
            return super().answers(parameters, logits, batch)
        return best_paths(wide(logits), _real(batch, logits), _scores(parameters), batch.get(ALLOWED))

    def predict(self, batch: Batch) -> Arrays:
        check_batch(self.spec, batch, labelled=False)
        answers = self.run_graph("answered", self.tensors(batch, labelled=False))
        return {name: array(value) for name, value in answers.items()}

    def decode(self, batch: Batch, max_steps: int) -> np.ndarray:
        raise InputError("decode must be asked of an encoder–decoder; got a sequence model")

    def stepper(self, batch: Batch) -> DecoderStep:
        raise InputError("stepper must be asked of an encoder–decoder; got a sequence model")

    def answered(self, parameters: Parameters, batch: Tensors) -> Results:
        """What ``predict`` gives."""
        logits, passed = self.forward(parameters, batch)
        return {"labels": self.answers(parameters, logits, batch), "logits": logits} | passed


def _scores(parameters: Parameters) -> Scores:
    """The CRF's scores."""
    return Scores(*(wide(score) for score in scores_of(parameters)))


def _real(batch: Tensors, logits: tf.Tensor) -> tf.Tensor:
    """(batch, seq_len) bool: which steps are real."""
    rows, steps = logits.shape[:2]
    return step_mask(batch["lengths"], steps)[..., 0] if "lengths" in batch else tf.ones((rows, steps), tf.bool)
