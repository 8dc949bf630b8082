"""Models on the plug-in's framework: the reference itself, behind the interface that every framework has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from backends.interface.layer import Arrays
from backends.interface.network import Network
from common.answers.beam import DecoderStep
from common.models import reference
from common.models.batch import Batch
from common.models.layers import Arithmetic
from common.models.optimizers import OptimizerSettings
from common.models.specification import Seq2Seq
from common.models.trace import ReferenceTrainer, Step


class LoopNetwork(Network):
    """A model computed by ``common.models.reference`` in the run's own dtype."""

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self._weights = {name: np.asarray(value, self.dtype) for name, value in weights.items()}
        if hasattr(self, "_trainer"):
            self.set_optimizer(self._trainer.optimizer.settings)

    def weights(self) -> Arrays:
        held = self._trainer.weights() if hasattr(self, "_trainer") else self._weights
        return {name: value.astype(np.float64) for name, value in held.items()}

    def results(self, batch: Batch) -> Arrays:
        return reference.run(self.spec, self.weights(), batch, self.dtype)

    def set_optimizer(self, settings: OptimizerSettings) -> None:
        self._trainer = ReferenceTrainer(self.spec, self._weights, settings, self.dtype)

    def train(self, batches: Sequence[Batch]) -> list[Step]:
        return self._trainer.train(batches)

    def optimizer_state(self) -> Arrays:
        return self._trainer.optimizer_state()

    def load_optimizer_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._trainer.load_optimizer_state(arrays)

    def predict(self, batch: Batch) -> Arrays:
        assert not isinstance(self.spec, Seq2Seq)
        return reference.predict(self.spec, self.weights(), batch, self.dtype)

    def decode(self, batch: Batch, max_steps: int) -> np.ndarray:
        assert isinstance(self.spec, Seq2Seq)
        return reference.decode(self.spec, self.weights(), batch, max_steps, self.dtype)

    def stepper(self, batch: Batch) -> DecoderStep:
        assert isinstance(self.spec, Seq2Seq)
        return reference.Seq2SeqReference(self.spec, self.weights(), Arithmetic(np.dtype(self.dtype))).stepper(batch)
