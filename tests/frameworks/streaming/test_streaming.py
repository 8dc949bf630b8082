"""A tagger that is streamed, in every framework: what a covering look-ahead answers, and what a shorter one does."""

from __future__ import annotations

import numpy as np

from backends.interface.framework import Framework
from backends.worker.streaming import Streamed
from common.models.reference import predict
from common.models.streaming import Streaming
from tests.frameworks.streaming.by_the_equations import LENGTHS, a_tagger, expected_logits, weights_and_batch

CLOSE = 1e-12


def test_a_look_ahead_over_the_row_gives_what_the_whole_sequence_gives(framework: Framework) -> None:
    """And a shorter one gives what the equations give, other logits in the long rows alone. Of two layers; as both read
    as much, a compiled program does for the two.
    """
    spec = a_tagger(num_layers=2, input_size=7, hidden_size_reverse=3)
    weights, batch = weights_and_batch(spec)
    network = framework.network(spec, "manual", "float64", "cpu")
    network.reuse_programs()
    network.load_weights(weights)
    whole = network.predict(batch)
    np.testing.assert_allclose(whole["logits"], predict(spec, weights, batch)["logits"], rtol=0, atol=CLOSE)
    covering = Streamed(framework, network, Streaming(chunk=2, look_ahead=max(LENGTHS) - 2)).predict(batch)
    np.testing.assert_allclose(covering["logits"], whole["logits"], rtol=0, atol=CLOSE)
    np.testing.assert_array_equal(covering["labels"], whole["labels"])
    short = Streaming(chunk=2, look_ahead=3)
    answers = Streamed(framework, network, short).predict(batch)
    np.testing.assert_allclose(answers["logits"], expected_logits(spec, weights, batch, short), rtol=0, atol=CLOSE)
    differ = np.abs(answers["logits"] - whole["logits"]).max(axis=(1, 2)) > 1e-6
    assert list(differ) == [True, False, False, True, True]  # rows of 4 steps and of 1 are within the first window
