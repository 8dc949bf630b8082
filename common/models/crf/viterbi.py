"""The best path through a row's labels (Viterbi 1967; Forney 1973, doi:10.1109/PROC.1973.9030), in NumPy."""

from __future__ import annotations

import numpy as np

from common.models.crf.scores import Scores


def best_paths(logits: np.ndarray, real: np.ndarray, scores: Scores) -> np.ndarray:
    """The labels of each row's best path, (batch, seq_len) int64, 0 past a length; of equally good labels the first.

    Parameters
    ----------
    logits
        (batch, seq_len, classes); of complex numbers the real part counts.
    real
        (batch, seq_len) bool: which steps are real, the first in each row.
    scores
        −inf for what no path may do (``common.models.crf.scores.restricted``).
    """
    transitions, start, end = (each.real for each in scores)
    rows, steps = real.shape
    delta = start + logits[:, 0].real  # the best score of a path that ends in each label
    before = np.zeros((steps, *delta.shape), np.int64)  # the label before each on that path
    for t in range(1, steps):
        candidates = delta[:, :, None] + transitions  # (batch, from, to)
        before[t] = np.where(real[:, t, None], candidates.argmax(axis=1), np.arange(delta.shape[1]))
        delta = np.where(real[:, t, None], candidates.max(axis=1) + logits[:, t].real, delta)
    labels = np.zeros((rows, steps), np.int64)
    labels[:, -1] = (delta + end).argmax(axis=1)
    for t in range(steps - 1, 0, -1):
        labels[:, t - 1] = before[t][np.arange(rows), labels[:, t]]
    return np.where(real, labels, 0)


def path_scores(logits: np.ndarray, real: np.ndarray, scores: Scores, labels: np.ndarray) -> np.ndarray:
    """The score of a path through each row (batch,); −inf where it does what no path may do."""
    transitions, start, end = scores
    of_steps = np.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    of_pairs = transitions[labels[:, :-1], labels[:, 1:]]
    last = np.take_along_axis(labels, real.sum(axis=1, keepdims=True) - 1, axis=1)[:, 0]
    inner = np.where(real, of_steps, 0).sum(axis=1) + np.where(real[:, 1:], of_pairs, 0).sum(axis=1)
    return start[labels[:, 0]] + inner + end[last]


def max_marginals(logits: np.ndarray, real: np.ndarray, scores: Scores) -> np.ndarray:
    """The best score of a path that has each label at each step, (batch, seq_len, classes); past a length it is that
    of the last real step.

    Labels whose max-marginals are as large as another's at their step are ties, which rounding decides.
    """
    transitions, start, end = scores
    steps = real.shape[1]
    forward = [start + logits[:, 0]]
    for t in range(1, steps):
        new = (forward[-1][:, :, None] + transitions).max(axis=1) + logits[:, t]
        forward.append(np.where(real[:, t, None], new, forward[-1]))
    backward = [np.broadcast_to(end, forward[0].shape)]
    for t in range(steps - 1, 0, -1):
        after = (transitions + (logits[:, t] + backward[-1])[:, None, :]).max(axis=2)  # (batch, from)
        backward.append(np.where(real[:, t, None], after, backward[-1]))
    return np.stack(forward, axis=1) + np.stack(backward[::-1], axis=1)
