"""The scores of a linear-chain CRF beside the logits: what goes from one label to the next, begins and ends a row.

A path y_1 … y_n through the labels of a row of n real steps has the score

    start[y_1] + Σ_t logits[t, y_t] + Σ_{t>1} transitions[y_{t−1}, y_t] + end[y_n]

(Lafferty, McCallum and Pereira 2001, with one feature for each pair of labels; Huang, Xu and Yu 2015, arXiv:1508.01991,
on an LSTM's logits). Names and layout are pytorch-crf's (0.7.2, torchcrf/__init__.py): ``transitions[i, j]`` is that of
label j after label i.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

PREFIX = "crf."
"""What the names of the parameters begin with."""
INITIAL_BOUND = 0.1
"""Half the width of what first scores are drawn from, pytorch-crf's."""
ALLOWED = "allowed"
"""The array of an unlabelled batch that says what a path may do: (classes + 2, classes) bool, from label i to label j;
the last two rows: whether a path may begin, and whether it may end, with label j."""


class Scores(NamedTuple):
    """``transitions`` (classes, classes), from the row's label to the column's; ``start`` and ``end`` (classes,).

    They are arrays of any framework.
    """

    transitions: Any
    start: Any
    end: Any


NAMES = Scores("crf.transitions", "crf.start_transitions", "crf.end_transitions")
"""The canonical names of the parameters."""


def shapes(classes: int) -> dict[str, tuple[int, ...]]:
    """The name and the shape of each parameter, in order."""
    return dict(zip(NAMES, ((classes, classes), (classes,), (classes,)), strict=True))


def scores_of(parameters: Mapping[str, Any]) -> Scores:
    """The scores among a model's parameters, by canonical name."""
    return Scores(*(parameters[name] for name in NAMES))


def restricted(scores: Scores, allowed: np.ndarray | None) -> Scores:
    """The scores with −inf for what is not allowed (``ALLOWED``); as they are where all is."""
    if allowed is None:
        return scores
    parts = allowed_parts(allowed)
    return Scores(*(np.where(part, score, -np.inf) for part, score in zip(parts, scores, strict=True)))


def allowed_parts(allowed: Any) -> Scores:
    """What is allowed, in the shapes of the scores; the array is of any framework that slices as NumPy does."""
    return Scores(allowed[:-2], allowed[-2], allowed[-1])


def possible_lengths(allowed: np.ndarray, longest: int) -> np.ndarray:
    """Whether there is an allowed path of each of 1, 2, … ``longest`` steps, (longest,) bool."""
    transitions, start, end = allowed_parts(allowed)
    reached = start
    possible = np.zeros(longest, bool)
    for steps in range(longest):
        possible[steps] = (reached & end).any()
        reached = (reached[:, None] & transitions).any(axis=0)
    return possible
