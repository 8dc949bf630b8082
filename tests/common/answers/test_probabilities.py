"""Probabilities: what softmax is, in numbers that Python's own fractions give, and the order of the likeliest."""

from __future__ import annotations

import math

import numpy as np
import pytest

from common.answers.probabilities import likeliest, log_softmax, softmax


def test_probabilities_are_exponentials_over_their_sum() -> None:
    logits = np.array([[0.5, -1.25, 3.0], [2.0, 2.0, -7.5]])
    for row, shares in zip(logits, softmax(logits), strict=True):
        each = [math.exp(value) for value in row]
        assert shares.tolist() == pytest.approx([value / math.fsum(each) for value in each], rel=1e-15)


def test_large_logits_and_narrow_floats_have_probabilities_too() -> None:
    logits = np.array([88.0, 60000.0, 59999.0], np.float16)  # rounds to 60000, 60000
    assert softmax(logits).dtype == np.float64
    np.testing.assert_array_equal(softmax(logits), [0.0, 0.5, 0.5])
    np.testing.assert_allclose(log_softmax(np.array([1e4, 0.0]))[1], -1e4, rtol=1e-15)


def test_the_likeliest_come_first_and_of_equal_ones_the_first() -> None:
    logits = np.array([[1.0, 3.0, 2.0, 3.0], [0.0, -1.0, -1.0, -2.0]])
    ids, shares = likeliest(logits, 3)
    assert ids.dtype == np.int64
    assert ids.tolist() == [[1, 3, 2], [0, 1, 2]]
    np.testing.assert_array_equal(shares, np.take_along_axis(softmax(logits), ids, axis=-1))
    assert (likeliest(logits, 1)[0][:, 0] == logits.argmax(axis=-1)).all()
