"""Probabilities of a model's answers, and the likeliest of them."""

from __future__ import annotations

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """The logarithms of the classes' probabilities (…, classes), float64, of logits (…, classes) in any float type."""
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    """The classes' probabilities (…, classes), float64, of logits (…, classes) in any float type."""
    return np.exp(log_softmax(logits))


def likeliest(logits: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k likeliest classes, best first, (…, k) int64, and their probabilities (…, k) float64.

    Of equal logits the first class comes first, as where there is but one answer. ``k`` is at most the number of
    classes.
    """
    order = np.argsort(-logits, axis=-1, kind="stable")[..., :k]
    return order.astype(np.int64), np.take_along_axis(softmax(logits), order, axis=-1)
