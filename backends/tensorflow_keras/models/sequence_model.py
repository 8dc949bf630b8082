"""The sequence model in TensorFlow: embedding, bidirectional RNN and linear layers."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from backends.interface.layer import Arrays
from backends.tensorflow_keras.layer.implementation import Parameters, Results
from backends.tensorflow_keras.layer.lengths import step_mask
from backends.tensorflow_keras.models.network import TensorFlowNetwork, Tensors, array, best
from common.errors import InputError
from common.models.batch import Batch, check_batch
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

    def predict(self, batch: Batch) -> Arrays:
        check_batch(self.spec, batch, labelled=False)
        logits, passed = self.run_graph("forward", self.tensors(batch, labelled=False))
        answers = {"labels": best(logits), "logits": logits} | passed
        return {name: array(value) for name, value in answers.items()}

    def decode(self, batch: Batch, max_steps: int) -> np.ndarray:
        raise InputError("decode must be asked of an encoder–decoder; got a sequence model")
