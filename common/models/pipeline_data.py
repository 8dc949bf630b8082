"""The pipeline's synthetic data: labels that hang on the past and on the future of a step, and the network for them.

Three orthonormal directions a, b, c in feature space are drawn from the seed. Step t of a sequence x has the label

- 4 where c·x_t is in the upper fifth of N(0, 1),
- else 2·[past_t > 0] + [future_t > 0], with past_t = Σ_{k≥1} 0.6^(k−1) a·x_{t−k} and future_t = Σ_{k≥1} 0.6^(k−1)
  b·x_{t+k} over the steps that there are.

A network that reads one direction alone sees one of the two sums, and can but guess the sign of the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from common.models.batch import Batch
from common.models.optimizers import OptimizerSettings
from common.models.reference import run
from common.models.specification import Arrays, SequenceModel, initialise
from common.models.trace import ReferenceTrainer
from common.reference import FORWARD
from common.specification import Cell, Specification

SEQUENCES, STEPS, FEATURES, CLASSES, UNITS = 1000, 10, 8, 5, 10
"""The sizes of the data and of the network."""
DECAY = 0.6
"""The weight of a step over that of the step after it."""
UPPER_FIFTH = 0.8416212335729143
"""The 0.8 quantile of N(0, 1)."""
BATCH = 20
"""Sequences of a batch."""
EPOCHS = 5
"""Epochs of the training."""
HELD_OUT = 300
"""Sequences that are held out."""
OPTIMIZER = OptimizerSettings(name="adam", learning_rate=0.01)
"""The optimizer of the training."""
PARTS = ("training", "held_out")
"""The parts of the data."""


@dataclass(frozen=True)
class PipelineData:
    """Sequences with labels: x (sequences, 10, 8) float64 and labels (sequences, 10) int64."""

    x: np.ndarray
    labels: np.ndarray

    def batch(self, rows: np.ndarray) -> Batch:
        """The batch of some sequences, every step counted."""
        labels = self.labels[rows]
        return {"x": self.x[rows], "labels": labels, "counted": np.ones(labels.shape, bool)}

    def all(self) -> Batch:
        """One batch of all sequences."""
        return self.batch(np.arange(len(self.x)))

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """The batches of one epoch, in an order drawn anew."""
        order = rng.permutation(len(self.x))
        for start in range(0, len(order), BATCH):
            yield self.batch(order[start : start + BATCH])


def pipeline_model(cell: Cell = "gru") -> SequenceModel:
    """The network: features → 10 units a direction → 5 classes per step."""
    rnn = Specification(cell=cell, input_size=FEATURES, hidden_size=UNITS, num_layers=1, bias=True, merge="concat")
    return SequenceModel(rnn=rnn, readout="steps", classes=CLASSES)


def pipeline_data(seed: int, part: str = "training", sequences: int = SEQUENCES) -> PipelineData:
    """Sequences of N(0, 1) with their labels; the rule is the seed's, the sequences are the seed's and the part's.

    ``part`` is ``training`` or ``held_out``.
    """
    directions = np.linalg.qr(np.random.default_rng([seed, len(PARTS)]).normal(size=(FEATURES, 3)))[0]
    x = np.random.default_rng([seed, PARTS.index(part)]).normal(size=(sequences, STEPS, FEATURES))
    a, b, c = np.moveaxis(x @ directions, -1, 0)  # (sequences, steps) each
    past = _sum_before(a)
    future = _sum_before(b[:, ::-1])[:, ::-1]  # time reversed and back
    labels = 2 * (past > 0) + (future > 0)
    return PipelineData(x, np.where(c > UPPER_FIFTH, CLASSES - 1, labels).astype(np.int64))


def _sum_before(values: np.ndarray) -> np.ndarray:
    """The sum over k ≥ 1 of DECAY^(k−1) values[:, t − k] for every t; 0 at t = 0."""
    sums = np.zeros_like(values)
    for t in range(1, values.shape[1]):
        sums[:, t] = DECAY * sums[:, t - 1] + values[:, t - 1]
    return sums


class OneDirectionTrainer(ReferenceTrainer):
    """A trainer of the network whose head hears one direction: its columns for the other are held at 0.

    So the other half neither counts in the answer nor gets a gradient; it is for models with the readout ``steps`` and
    the merge ``concat``, by an optimizer without weight decay or clipping.
    """

    direction = FORWARD

    def held(self, weights: Arrays) -> Arrays:
        weight = weights["head.0.weight"].copy()
        np.split(weight, 2, axis=1)[1 - self.direction][:] = 0  # (classes, hidden_size) each
        return weights | {"head.0.weight": weight}


class OtherDirectionTrainer(OneDirectionTrainer):
    """A trainer of the network whose head hears the reverse direction alone."""

    direction = 1 - FORWARD


def pipeline_weights(
    spec: SequenceModel, weights: Mapping[str, np.ndarray], kind: type[ReferenceTrainer], seed: int
) -> Arrays:
    """The weights after the pipeline's epochs on the seed's training data, by the reference."""
    data, rng = pipeline_data(seed), np.random.default_rng([seed, len(PARTS) + 1])
    trainer = kind(spec, weights, OPTIMIZER)
    for _ in range(EPOCHS):
        trainer.train(data.epoch(rng))
    return trainer.weights()


def held_out_accuracy(cell: Cell, kind: type[ReferenceTrainer], seed: int = 0) -> float:
    """What ``pipeline_weights`` get right of 300 sequences that they have not seen, from first weights of the seed."""
    spec = pipeline_model(cell)
    weights = pipeline_weights(spec, initialise(spec, np.random.default_rng(seed)), kind, seed)
    held_out = pipeline_data(seed, "held_out", HELD_OUT)
    return int(run(spec, weights, held_out.all())["correct"]) / held_out.labels.size
