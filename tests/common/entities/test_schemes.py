"""Tagging schemes: what they are told by, what is legal, and what a path through labels may do."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from common.entities.schemes import allowed, broken_at, follows, from_iob1, one_of_several, parts_of, scheme_of


@pytest.mark.parametrize(
    ("tag", "parts"),
    [
        ("O", ("O", "")),
        ("B-person", ("B", "person")),
        ("I-creative-work", ("I", "creative-work")),
        ("S-x", ("S", "x")),
        ("NOUN", ("", "NOUN")),
        ("B-", ("", "B-")),
        ("BE-x", ("", "BE-x")),
        ("-LRB-", ("", "-LRB-")),
    ],
)
def test_a_tag_falls_into_prefix_and_type(tag: str, parts: tuple[str, str]) -> None:
    assert parts_of(tag) == parts


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["O", "B-x", "I-x"], "bio"),
        (["O", "I-x"], "bio"),
        (["O", "B-x", "E-x"], "iobes"),
        (["O", "S-x", "B-x"], "iobes"),
        (["NOUN", "VERB"], None),
        (["O", "NOUN"], None),
        (["B-NP", "I-NP"], None),
        ([], None),
    ],
)
def test_a_scheme_is_told_by_its_tags(tags: list[str], scheme: str | None) -> None:
    assert scheme_of(tags) == scheme


LEGAL = {
    "bio": ["", "O", "B-x", "B-x I-x I-x", "B-x B-x", "B-x I-x B-y I-y O", "O B-x"],
    "iobes": ["", "O", "S-x", "B-x E-x", "B-x I-x I-x E-x O", "S-x S-x", "B-x E-x B-x E-x", "S-x B-y E-y"],
}
BROKEN = {
    "bio": {
        "I-x": (0, "follows the beginning of the sentence"),
        "O I-x": (1, "follows O"),
        "B-y I-x": (1, "follows B-y"),
        "B-x I-y": (1, "follows B-x"),
        "O E-x": (1, "is neither O nor one of B, I with a hyphen and a type"),
        "O PERSON": (1, "is neither O nor one of B, I with a hyphen and a type"),
        "B-": (0, "is neither O nor one of B, I with a hyphen and a type"),
    },
    "iobes": {
        "B-x": (0, "is followed by the end of the sentence, and its entity does not end"),
        "B-x O": (0, "is followed by O, and its entity does not end"),
        "B-x I-x S-x": (1, "is followed by S-x, and its entity does not end"),
        "S-x E-x": (1, "follows S-x"),
        "B-x E-y": (1, "follows B-x"),
        "B-x E-x I-x": (2, "follows E-x"),
        "E-x": (0, "follows the beginning of the sentence"),
    },
}


@pytest.mark.parametrize(("scheme", "tags"), [(scheme, tags) for scheme, legal in LEGAL.items() for tags in legal])
def test_legal_tags_are_not_broken(scheme: str, tags: str) -> None:
    assert broken_at(tags.split(), scheme) is None


@pytest.mark.parametrize(("scheme", "tags"), [(scheme, tags) for scheme, broken in BROKEN.items() for tags in broken])
def test_where_tags_are_broken_is_said(scheme: str, tags: str) -> None:
    assert broken_at(tags.split(), scheme) == BROKEN[scheme][tags]


@pytest.mark.parametrize("scheme", ["bio", "iobes"])
def test_a_path_may_do_what_legal_tags_do_and_nothing_else(scheme: str) -> None:
    """Of all tags of up to three words, two types."""
    names = ["O", *(f"{prefix}-{kind}" for kind in "xy" for prefix in {"bio": "BI", "iobes": "BIES"}[scheme])]
    matrix = allowed(names, scheme)
    assert matrix.shape == (len(names) + 2, len(names))
    for length in (1, 2, 3):
        for path in itertools.product(range(len(names)), repeat=length):
            may = matrix[-2, path[0]] and matrix[-1, path[-1]]
            may = may and all(matrix[i, j] for i, j in itertools.pairwise(path))
            assert may == (broken_at([names[i] for i in path], scheme) is None), path


def test_nothing_hangs_on_the_order_of_labels() -> None:
    names = ["I-x", "O", "B-y", "B-x"]
    matrix = allowed(names, "bio")
    np.testing.assert_array_equal(matrix[-2], [False, True, True, True])
    np.testing.assert_array_equal(matrix[-1], [True] * 4)
    np.testing.assert_array_equal(matrix[:-2, 0], [True, False, False, True])
    assert follows("B-x", "I-x", "bio")


@pytest.mark.parametrize(
    ("tags", "chosen"),
    [
        ("O B-x,B-y O", "O B-x O"),
        ("B-x,B-y,B-z I-z O", "B-z I-z O"),
        ("B-x,B-y I-y,I-x O I-y", "B-x I-x O I-y"),
        ("B-x I-x,B-y I-y", "B-x B-y I-y"),
        ("B-x,B-y I-z", "B-x I-z"),  # none is legal
        ("B-x,B-y I-z,I-y", "B-y I-y"),
        ("B-x NOUN,VERB", "B-x NOUN,VERB"),
    ],
)
def test_of_several_tags_those_that_are_legal_together_are_taken(tags: str, chosen: str) -> None:
    assert " ".join(one_of_several(tags.split(), "bio")) == chosen


@pytest.mark.parametrize(
    ("iob1", "bio"),
    [
        ("I-x I-x O", "B-x I-x O"),
        ("I-x B-x I-x", "B-x B-x I-x"),
        ("I-x I-y", "B-x B-y"),
        ("O I-x", "O B-x"),
        ("B-x I-x", "B-x I-x"),
    ],
)
def test_iob1_becomes_bio(iob1: str, bio: str) -> None:
    assert " ".join(from_iob1(iob1.split())) == bio
