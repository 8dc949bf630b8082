"""A training trace: what every step of training gave; and training by the reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from common.models.batch import Batch, counted
from common.models.optimizers import Optimizer, OptimizerSettings, global_norm, state_shapes, trained_gradients
from common.models.reference import run
from common.models.specification import Arrays, Model, parameters


@dataclass(frozen=True)
class Step:
    """One step: mean loss and share of right answers over the counted positions before the weights moved, and the
    global norm of the trained parameters' gradients before clipping.
    """

    loss: float
    accuracy: float
    gradient_norm: float


class ReferenceTrainer:
    """A model that the reference trains; the same calls as a framework's network has.

    Parameters
    ----------
    spec
        The model.
    weights
        Its first parameters by canonical name; they are not changed.
    settings
        The optimizer.
    dtype
        What to compute in.
    """

    def __init__(
        self,
        spec: Model,
        weights: Mapping[str, np.ndarray],
        settings: OptimizerSettings,
        dtype: np.dtype | type | str = np.float64,
    ) -> None:
        self.spec = spec
        self.dtype = np.dtype(dtype)
        self.optimizer = Optimizer(settings)
        self._weights = self.held({name: weights[name].astype(self.dtype) for name in parameters(spec)})

    def held(self, weights: Arrays) -> Arrays:
        """The weights as they are kept after a step; a subclass may hold some of them where they are."""
        return weights

    def weights(self) -> Arrays:
        """All parameters by canonical name, float64."""
        return {name: value.astype(np.float64) for name, value in self._weights.items()}

    def train(self, batches: Iterable[Batch]) -> list[Step]:
        """Train one step on each batch in turn."""
        return [self._step(batch) for batch in batches]

    def _step(self, batch: Batch) -> Step:
        """Train on one batch."""
        results = run(self.spec, self._weights, batch, self.dtype)
        gradients = trained_gradients(self.spec, results)
        self._weights = self.held(self.optimizer.step(self._weights, gradients))
        share = int(results["correct"]) / max(int(counted(self.spec, batch).sum()), 1)
        return Step(float(results["loss"]), share, global_norm(gradients))

    def optimizer_state(self) -> Arrays:
        """``<kind>.<parameter>`` float64 for every trained parameter, and ``count`` () int64."""
        zeros = {name: np.zeros(shape) for name, shape in state_shapes(self.spec, self.optimizer.settings).items()}
        return zeros | self.optimizer.state_arrays()

    def load_optimizer_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what ``optimizer_state`` gave."""
        self.optimizer.load_state_arrays(arrays, self.dtype)


def train(
    spec: Model, weights: Mapping[str, np.ndarray], batches: Iterable[Batch], settings: OptimizerSettings
) -> list[Step]:
    """The trace of training in float64 from the given weights."""
    return ReferenceTrainer(spec, weights, settings).train(batches)
