"""Entities as conlleval tells them, of legal tags and of others, and their score."""

from __future__ import annotations

import pytest

from common.entities.scores import EntityScore, score, spans_of

SPANS: dict[str, list[tuple[int, int, str]]] = {
    "": [],
    "O O": [],
    "B-x": [(0, 1, "x")],
    "B-x I-x O B-y": [(0, 2, "x"), (3, 4, "y")],
    "B-x B-x": [(0, 1, "x"), (1, 2, "x")],
    "S-x B-x I-x E-x O": [(0, 1, "x"), (1, 4, "x")],
    # What is no legal tagging, as conlleval has it.
    "I-x": [(0, 1, "x")],
    "O I-x I-x": [(1, 3, "x")],
    "B-x I-y": [(0, 1, "x"), (1, 2, "y")],
    "I-x I-y I-x": [(0, 1, "x"), (1, 2, "y"), (2, 3, "x")],
    "I-x B-x": [(0, 1, "x"), (1, 2, "x")],
    "B-x E-x E-x": [(0, 2, "x"), (2, 3, "x")],
    "B-x E-x I-x": [(0, 2, "x"), (2, 3, "x")],
    "E-x": [(0, 1, "x")],
    "B-x O E-x": [(0, 1, "x"), (2, 3, "x")],
    "S-x I-x": [(0, 1, "x"), (1, 2, "x")],
    "B-x NOUN I-x": [(0, 1, "x"), (2, 3, "x")],
}
"""Those without E and S are conlleval's own; with them the rule is that of seqeval 1.2.2's, which is the same for all
sequences of up to five tags of two types (compared once, by hand)."""


@pytest.mark.parametrize("tags", SPANS)
def test_entities_are_those_of_conlleval(tags: str) -> None:
    assert spans_of(tags.split()) == SPANS[tags]


def test_an_entity_is_right_where_its_words_and_type_are() -> None:
    real = ["B-x I-x O B-y O B-x".split()]
    for tags, right in {
        "B-x I-x O B-y O B-x": (3, 3),
        "B-x O O B-y O B-x": (2, 3),  # too short
        "B-y I-y O B-y O B-x": (2, 3),  # another type
        "O O O O O O": (0, 0),
        "B-x B-x O O O O": (0, 2),
    }.items():
        assert score(real, [tags.split()]) == EntityScore(right[0], right[1], 3), tags


def test_precision_recall_and_f1() -> None:
    """conlleval's own example has 2 of 3 found right, of 4."""
    of_three = EntityScore(right=2, predicted=3, real=4)
    assert (of_three.precision, of_three.recall) == (2 / 3, 2 / 4)
    assert of_three.f1 == pytest.approx(
        2 * of_three.precision * of_three.recall / (of_three.precision + of_three.recall)
    )
    assert EntityScore(1, 2, 3) + EntityScore(4, 5, 6) == EntityScore(5, 7, 9)
    for nothing in (EntityScore(), EntityScore(0, 3, 0), EntityScore(0, 0, 3)):
        assert nothing.f1 == 0.0
