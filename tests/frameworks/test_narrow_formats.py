"""Softmax and means in bfloat16: computed in at least float32, in every framework."""

from __future__ import annotations

import numpy as np
import pytest

from backends.interface.framework import Framework
from backends.interface.gaps import request_of
from common.judging.precision import rounded
from common.models.batch import counted, labels
from common.models.small_cases import BatchShape, random_batch
from common.models.specification import Arrays, Seq2Seq, initialise
from common.specification import Specification
from common.training import Training
from tests.cases import a_case, a_training
from tests.frameworks.test_training import loaded, stepped

STEPS = 61
"""1/61 rounded to 8 bits is 0.22 % too small, so that the weights of 61 steps no longer add up to 1."""
ENCODER = Specification(cell="gru", input_size=3, hidden_size=4, num_layers=1, bias=True, merge="concat")
TRANSLATOR = Seq2Seq(source_size=6, target_size=7, embedding_size=3, encoder=ENCODER, attention=True, attention_size=5)


def cross_entropies(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """In float64; logits (…, classes), label (…)."""
    logits = logits.astype(np.float64)
    total = np.log(np.exp(logits - logits.max(axis=-1, keepdims=True)).sum(axis=-1)) + logits.max(axis=-1)
    return total - np.take_along_axis(logits, label[..., None], axis=-1)[..., 0]


def test_a_train_steps_loss_is_that_of_its_logits(framework: Framework) -> None:
    """The head has a bias alone: whatever the network gives, the logits are its numbers."""
    dtype, case = "bfloat16", a_case("rnn_tanh", bias=False)
    drawn = a_training(case, learning_rate=0.5)
    bias = rounded(3 * drawn.bias, dtype)
    training = Training(0 * drawn.weight, bias, drawn.labels, drawn.learning_rate)
    request = request_of(case, dtype, "cpu")
    names = [name for name in framework.implementations if framework.refusal(name, request) is None]
    if not names:
        pytest.skip(f"no implementation takes {dtype}")
    network = loaded(framework, names[0], case, training, dtype)
    real = ~case.padding_mask()
    losses = cross_entropies(np.broadcast_to(bias, (*real.shape, len(bias))), training.labels)
    assert stepped(network)["loss"] == pytest.approx(losses[real].mean(), rel=1e-6)


def alike_at_every_step() -> Arrays:
    """Weights of an encoder that gives the same numbers at every step: nothing but a bias, and its update gate shut."""
    weights = initialise(TRANSLATOR, np.random.default_rng(0))
    r, z, n = np.zeros(4), np.full(4, -60.0), np.linspace(0.5, 1.0, 4)
    for name, value in weights.items():
        if name.startswith("encoder."):
            weights[name] = np.concatenate([r, z, n]) if "bias_ih" in name else np.zeros_like(value)
    return weights


def test_attention_and_loss_of_a_translator_are_wide(framework: Framework) -> None:
    """Where all steps are alike it does not matter which are attended to: what would change that has no gradient. It
    has one where weights are used for it that do not add up to 1. The loss is that of the logits, here too."""
    rng = np.random.default_rng(1)
    batch = random_batch(TRANSLATOR, BatchShape(2, STEPS, target_len=3), rng, lengths=[STEPS, STEPS])
    reasons = {
        name: framework.model_refusal(name, TRANSLATOR, batch, "bfloat16", "cpu") for name in framework.implementations
    }
    able = [name for name, reason in reasons.items() if reason is None]
    if not able:
        pytest.skip(f"no implementation takes bfloat16: {set(reasons.values())}")
    network = framework.network(TRANSLATOR, able[0], "bfloat16", "cpu")
    network.reuse_programs()
    network.load_weights(alike_at_every_step())
    results = network.results(batch)
    losses = cross_entropies(results["logits"], labels(TRANSLATOR, batch))
    assert results["loss"] == pytest.approx(losses[counted(TRANSLATOR, batch)].mean(), rel=1e-6)
    size = np.abs(results["grad.head.0.weight"]).max()
    for name in ("v", "w1", "w2"):
        assert np.abs(results[f"grad.attention.{name}"]).max() < 1e-6 * size
