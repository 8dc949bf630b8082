"""The probability of each label at each step under a linear-chain CRF: forward–backward (Rabiner 1989, III.B)."""

from __future__ import annotations

import numpy as np

from common.models.crf.scores import Scores


def log_marginals(logits: np.ndarray, real: np.ndarray, scores: Scores) -> np.ndarray:
    """The logarithms of the labels' probabilities (batch, seq_len, classes), over all paths through a row; past a
    length they say nothing.

    Parameters
    ----------
    logits
        (batch, seq_len, classes), in what is computed in, as the scores.
    real
        (batch, seq_len) bool: which steps are real, the first in each row.
    scores
        −inf for what no path may do (``common.models.crf.scores.restricted``).
    """
    transitions, start, end = scores
    steps = real.shape[1]
    forward = [start + logits[:, 0]]
    for t in range(1, steps):
        new = np.logaddexp.reduce(forward[-1][:, :, None] + transitions, axis=1) + logits[:, t]
        forward.append(np.where(real[:, t, None], new, forward[-1]))
    backward = [np.broadcast_to(end, forward[0].shape)]
    for t in range(steps - 1, 0, -1):
        after = np.logaddexp.reduce(transitions + (logits[:, t] + backward[-1])[:, None, :], axis=2)  # (batch, from)
        backward.append(np.where(real[:, t, None], after, backward[-1]))
    both = np.stack(forward, axis=1) + np.stack(backward[::-1], axis=1)
    return both - np.logaddexp.reduce(both, axis=-1, keepdims=True)
