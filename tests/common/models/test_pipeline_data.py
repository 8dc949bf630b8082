"""The pipeline's data: it can be learned in five epochs, and not by one direction alone."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from common.models.pipeline_data import (
    CLASSES,
    HELD_OUT,
    OPTIMIZER,
    OneDirectionTrainer,
    OtherDirectionTrainer,
    held_out_accuracy,
    pipeline_data,
    pipeline_model,
)
from common.models.reference import run
from common.models.specification import initialise
from common.models.trace import ReferenceTrainer

SEED = 0
SPEC = pipeline_model("rnn_tanh")
TRAINERS = {"both": ReferenceTrainer, "forward": OneDirectionTrainer, "reverse": OtherDirectionTrainer}


@cache
def accuracy(heard: str) -> float:
    return held_out_accuracy("rnn_tanh", TRAINERS[heard], SEED)


def test_five_epochs_learn_it() -> None:
    assert accuracy("both") > 0.9


@pytest.mark.parametrize("heard", ["forward", "reverse"])
def test_one_direction_is_measurably_worse(heard: str) -> None:
    """It is better than the commonest class, and far from the whole network."""
    labels = pipeline_data(SEED, "held_out", HELD_OUT).labels
    commonest = np.bincount(labels.ravel()).max() / labels.size
    assert commonest + 0.2 < accuracy(heard) < accuracy("both") - 0.2


def test_the_half_that_is_not_heard_changes_nothing() -> None:
    trainer = OneDirectionTrainer(SPEC, initialise(SPEC, np.random.default_rng(1)), OPTIMIZER)
    data = pipeline_data(SEED, sequences=20)
    trainer.train([data.all()] * 2)
    weights = trainer.weights()
    other = {name: value + name.endswith("_reverse") for name, value in weights.items()}
    first, second = (run(SPEC, each, data.all())["logits"] for each in (weights, other))
    np.testing.assert_array_equal(first, second)


def test_labels_hang_on_past_and_future_as_the_rule_says() -> None:
    """Written out for one step, from the rule's own directions."""
    data = pipeline_data(3, sequences=50)
    a, b, c = np.linalg.qr(np.random.default_rng([3, 2]).normal(size=(8, 3)))[0].T
    for x, labels in zip(data.x, data.labels, strict=True):
        past = a @ (x[3] + 0.6 * x[2] + 0.36 * x[1] + 0.216 * x[0])
        future = b @ (x[5] + 0.6 * x[6] + 0.36 * x[7] + 0.216 * x[8] + 0.1296 * x[9])
        assert labels[4] == (4 if c @ x[4] > 0.8416212335729143 else 2 * (past > 0) + (future > 0))


def test_data_are_the_seeds_and_their_parts_differ() -> None:
    first, again, other = pipeline_data(1), pipeline_data(1), pipeline_data(1, "held_out")
    assert (first.x.shape, first.labels.shape) == ((1000, 10, 8), (1000, 10))
    np.testing.assert_array_equal(first.x, again.x)
    assert (first.x != other.x).all()
    assert (np.bincount(first.labels.ravel()) > 1000).all()
    assert first.labels.max() == CLASSES - 1


def test_an_epoch_holds_every_sequence_once() -> None:
    data = pipeline_data(1)
    batches = list(data.epoch(np.random.default_rng(0)))
    rows = np.concatenate([batch["x"] for batch in batches])
    np.testing.assert_array_equal(np.sort(rows[:, 0, 0]), np.sort(data.x[:, 0, 0]))
    assert (rows != data.x).any()
