"""Beam search: the likeliest answers of a decoder that writes one token after another, of those that a beam keeps.

At every step each hypothesis goes on with every token; the ``width`` likeliest of all stay (Sutskever et al. 2014,
arXiv:1409.3215, section 3.2). One that has ended stays as it is and competes with the others. A score is the sum of its
tokens' log-probabilities, the end token's among them; no score is divided by its length.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from common.answers.probabilities import log_softmax
from common.models.specification import END, PADDING, START, Arrays

DecoderStep = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A decoder's step: from tokens (rows,) int64 and parents (rows,) int64, whose states each row goes on from, to logits
(rows, target_size). At the first step the parents are the rows themselves."""


def beam_search(step: DecoderStep, rows: int, width: int, max_steps: int) -> Arrays:
    """The answers that a beam finds, best first.

    Parameters
    ----------
    step
        The steps of a decoder whose source stands there ``width`` times for each row, one behind the other.
    rows
        How many sources there are.
    width
        How many hypotheses are kept of each.
    max_steps
        The longest answer, its end token counted.

    Returns
    -------
    dict
        ``tokens`` (rows, width, max_steps) int64, each answer up to its end token, then padding; ``scores``
        (rows, width) float64, their log-probabilities, −inf behind the last where there are fewer answers than
        ``width``.
    """
    answers = np.full((rows, width, max_steps), PADDING, np.int64)
    scores = np.full((rows, width), -np.inf)
    scores[:, 0] = 0.0
    ended = np.zeros((rows, width), bool)
    tokens = np.full(rows * width, START, np.int64)
    parents = np.arange(rows * width)
    first = parents.reshape(rows, width)[:, :1]  # where each row's hypotheses begin
    for u in range(max_steps):
        shares = log_softmax(step(tokens, parents)).reshape(rows, width, -1)
        shares[ended] = -np.inf
        shares[ended, PADDING] = 0.0  # what has ended goes on with padding alone, for nothing
        every = (scores[..., None] + shares).reshape(rows, -1)
        chosen = np.argsort(-every, axis=1, kind="stable")[:, :width]
        origin, token = np.divmod(chosen, shares.shape[-1])
        scores = np.take_along_axis(every, chosen, axis=1)
        answers = np.take_along_axis(answers, origin[..., None], axis=1)
        answers[:, :, u] = token
        ended = np.take_along_axis(ended, origin, axis=1) | (token == END)
        if (ended | np.isneginf(scores)).all():
            break
        tokens, parents = token.ravel(), (first + origin).ravel()
    return {"tokens": np.where(np.isneginf(scores)[..., None], PADDING, answers), "scores": scores}
