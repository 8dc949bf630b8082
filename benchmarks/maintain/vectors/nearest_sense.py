"""The sense of a word by its nearest neighbours among words of its spelling, beside the spelling's commonest sense."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.answers.neighbours import cosines

LEAST = 2
"""How often each of two senses of a spelling must occur in the training data for it to be ambiguous."""


@dataclass(frozen=True)
class Marked:
    """Words with their senses, one for each row: spellings, senses and contextual vectors (words, width)."""

    spellings: Sequence[str]
    senses: Sequence[str]
    vectors: np.ndarray

    def part(self, columns: slice) -> Marked:
        """The words with some numbers of their vectors alone."""
        return Marked(self.spellings, self.senses, self.vectors[:, columns])


@dataclass(frozen=True)
class Judged:
    """How many senses of held-out words are right: ``most_common`` and ``nearest`` are shares of ``words``."""

    spellings: int
    words: int
    most_common: float
    nearest: float


def judge_senses(training: Marked, held_out: Marked, k: int) -> Judged:
    """Tell the sense of each held-out word whose spelling is ambiguous in the training data.

    ``nearest`` is the most frequent sense among the ``k`` nearest words of the spelling in the training data (of
    equally frequent ones that of the nearest); ``most_common`` the spelling's most frequent sense there, which is the
    best that anything can say that sees the spelling alone, as a static embedding does. Held-out words whose sense the
    spelling never has in the training data are left out: nothing of either kind can tell them.

    Parameters
    ----------
    training, held_out
        The words that are asked, and those that are asked about.
    k
        How many neighbours.
    """
    rows: dict[str, list[int]] = {}
    for row, spelling in enumerate(training.spellings):
        rows.setdefault(spelling, []).append(row)
    senses = {spelling: Counter(training.senses[row] for row in of_one) for spelling, of_one in rows.items()}
    ambiguous = {spelling for spelling, counts in senses.items() if sum(n >= LEAST for n in counts.values()) > 1}
    asked: dict[str, list[int]] = {}
    for row, (spelling, sense) in enumerate(zip(held_out.spellings, held_out.senses, strict=True)):
        if spelling in ambiguous and sense in senses[spelling]:
            asked.setdefault(spelling, []).append(row)
    common = near = total = 0
    for spelling, of_one in asked.items():
        own = rows[spelling]
        best = senses[spelling].most_common(1)[0][0]
        angles = cosines(held_out.vectors[of_one], training.vectors[own])
        for row, of_row in zip(of_one, angles, strict=True):
            order = np.argsort(-of_row, kind="stable")[:k]
            sense = Counter(training.senses[own[i]] for i in order).most_common(1)[0][0]
            common += held_out.senses[row] == best
            near += held_out.senses[row] == sense
            total += 1
    return Judged(len(asked), total, common / max(total, 1), near / max(total, 1))
