"""Beam search in every framework: the reference's answers and log-probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from backends.interface.framework import Framework
from common.models.reference import beam
from common.models.specification import END, Seq2Seq, initialise
from tests.frameworks.test_networks import CASES, TALKATIVE, network_of, unlabelled

WIDTH, MAX_STEPS = 3, 7


@pytest.mark.parametrize("name", TALKATIVE)
def test_a_beam_finds_the_references_answers(framework: Framework, name: str) -> None:
    """With and without attention, in one direction and two; hypotheses change places, end, and are given up."""
    case, network = CASES[name], network_of(framework, name)
    assert isinstance(case.spec, Seq2Seq)
    drawn = initialise(case.spec, np.random.default_rng(TALKATIVE[name]))
    weights, batch = {key: 3 * value for key, value in drawn.items()}, unlabelled(case.batch)
    expected = beam(case.spec, weights, batch, MAX_STEPS, WIDTH)
    network.load_weights(weights)
    likeliest = network.beam(batch, MAX_STEPS, WIDTH)
    assert likeliest["tokens"].dtype == np.int64
    np.testing.assert_array_equal(likeliest["tokens"], expected["tokens"])
    np.testing.assert_allclose(likeliest["scores"], expected["scores"], rtol=1e-12)
    ended = (expected["tokens"] == END).any(axis=-1)
    assert ended.any()
    assert not ended.all()
    np.testing.assert_array_equal(network.beam(batch, MAX_STEPS, 1)["tokens"][:, 0], network.decode(batch, MAX_STEPS))
