"""Precision, recall and F1 of entities by the rule of CoNLL: one is right where its words and its type are, exactly.

What is an entity is told as the shared tasks' conlleval does (Tjong Kim Sang 2000,
https://www.clips.uantwerpen.be/conll2000/chunking/output.html), which takes any tags, legal or not: a B or S always
begins one; an I or E begins one, too, where no entity of its type goes on before it (at the beginning, after O, after
another type, after E or S); it goes on until O, the end, or a tag that begins another. So O I-x is an entity, and so
are both of B-x I-y. What is not ended by E in IOBES ends all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from common.entities.schemes import BEGIN, OUTSIDE, parts_of

Span = tuple[int, int, str]
"""An entity: its first word, the one behind its last, and its type."""


@dataclass(frozen=True)
class EntityScore:
    """How many entities were predicted rightly, how many were predicted, and how many there are."""

    right: int = 0
    predicted: int = 0
    real: int = 0

    def __add__(self, other: EntityScore) -> EntityScore:
        """The score over both's sentences."""
        return EntityScore(self.right + other.right, self.predicted + other.predicted, self.real + other.real)

    @property
    def precision(self) -> float:
        """The share of the predicted ones that are right; 0 where none was predicted, as conlleval has it."""
        return self.right / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """The share of the real ones that were predicted rightly; 0 where there is none."""
        return self.right / self.real if self.real else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 where nothing is right."""
        return 2 * self.right / (self.predicted + self.real) if self.right else 0.0


def spans_of(tags: Sequence[str]) -> list[Span]:
    """The entities of a sentence's tags in their order; a tag that is none of a scheme is outside, as O is."""
    spans: list[Span] = []
    start, going_on = 0, ("", "")  # prefix and type of the tag before, where an entity goes on
    for index, tag in enumerate((*tags, OUTSIDE)):
        prefix, kind = parts_of(tag)
        inside = prefix not in (OUTSIDE, "")
        begins = inside and (prefix in BEGIN or going_on[0] not in ("B", "I") or going_on[1] != kind)
        if going_on[0] and (begins or not inside):
            spans.append((start, index, going_on[1]))
        start = index if begins else start
        going_on = (prefix, kind) if inside else ("", "")
    return spans


def score(real: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> EntityScore:
    """The score of the tags that were predicted for some sentences, by their real ones."""
    total = EntityScore()
    for right_tags, tags in zip(real, predicted, strict=True):
        right, given = set(spans_of(right_tags)), set(spans_of(tags))
        total += EntityScore(len(right & given), len(given), len(right))
    return total
