"""The sequence model in PyTorch: embedding, bidirectional RNN, linear layers, and softmax or a CRF."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from backends.interface.layer import Arrays
from backends.pytorch.layer.lengths import step_mask
from backends.pytorch.models.crf import best_paths, negative_log_likelihood
from backends.pytorch.models.network import TorchNetwork, array, wide
from common.answers.beam import DecoderStep
from common.errors import InputError
from common.models.batch import Batch, check_batch, padding_mask
from common.models.crf.scores import ALLOWED, Scores, scores_of
from common.models.specification import SequenceModel


class SequenceNetwork(TorchNetwork):
    """A label for each step, or one for the whole sequence."""

    spec: SequenceModel

    def forward(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        if self.spec.num_embeddings is None:
            x = self.tensor(batch["x"])
        else:
            x = functional.embedding(self.tensor(batch["tokens"]), self.parameters["embedding"])
        output, h_n = self.run_rnn(x, batch)
        if self.spec.readout == "final":
            top = h_n[-self.spec.rnn.num_directions :]
            logits = self.head(torch.cat([*top], dim=-1))  # (batch, num_directions·hidden_size), forward first
            return logits, {"vectors": output}
        logits = self.head(output)
        if "lengths" in batch:
            logits = logits.masked_fill(~step_mask(self.tensor(batch["lengths"]), x.shape[1]), 0)
        return logits, {"vectors": output}

    def total_loss(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        if self.spec.head == "softmax":
            return super().total_loss(logits, batch)
        real, label = self.tensor(~padding_mask(batch)), self.tensor(batch["labels"])
        losses = negative_log_likelihood(wide(logits), label, real, self._scores())
        return losses[self.tensor(batch["counted"][:, 0])].sum()  # a row is counted as a whole

    def answers(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        if self.spec.head == "softmax":
            return super().answers(logits, batch)
        allowed = self.tensor(batch[ALLOWED]) if ALLOWED in batch else None
        return best_paths(wide(logits), self.tensor(~padding_mask(batch)), self._scores(), allowed)

    def predict(self, batch: Batch) -> Arrays:
        check_batch(self.spec, batch, labelled=False)
        with torch.no_grad():
            logits, passed = self.forward(batch)
            answers = {"labels": self.answers(logits, batch), "logits": logits} | passed
        return {name: array(value) for name, value in answers.items()}

    def decode(self, batch: Batch, max_steps: int) -> np.ndarray:
        raise InputError("decode must be asked of an encoder–decoder; got a sequence model")

    def stepper(self, batch: Batch) -> DecoderStep:
        raise InputError("stepper must be asked of an encoder–decoder; got a sequence model")

    def _scores(self) -> Scores:
        """The CRF's scores."""
        return Scores(*(wide(score) for score in scores_of(self.parameters)))
