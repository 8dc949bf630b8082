"""Vocabularies and labels: their ids, unknown words and labels, and their way through JSON."""

from __future__ import annotations

import json

import pytest

from common.data.conllu import Sentence
from common.data.examples import classified_examples, pair_examples, tagged_examples, token_examples
from common.data.pronunciations import Pronunciation
from common.data.text import GAP, LabelledText
from common.data.vocabulary import (
    MASK,
    NUM_SPECIAL,
    UNKNOWN,
    Labels,
    Vocabulary,
    build_labels,
    build_vocabulary,
    labels_from_json,
    vocabulary_from_json,
)
from common.errors import InputError
from common.models.specification import END, PADDING, START

SENTENCES = [("b", "a", "c"), ("a", "B", "a"), ("b",)]


def test_frequent_words_come_first_and_rare_ones_can_be_left_out() -> None:
    assert build_vocabulary(SENTENCES).words == ("a", "b", "B", "c")
    assert build_vocabulary(SENTENCES, lowercase=True).words == ("a", "b", "c")
    assert build_vocabulary(SENTENCES, at_least=2).words == ("a", "b")
    assert build_vocabulary(SENTENCES, largest=1).words == ("a",)


def test_special_ids_differ_from_words_that_are_spelled_like_them() -> None:
    assert sorted({PADDING, START, END, UNKNOWN, MASK}) == list(range(NUM_SPECIAL))
    vocabulary = Vocabulary(words=("<unknown>", "a"))
    assert vocabulary.ids(("<unknown>", "a", "zebra")).tolist() == [NUM_SPECIAL, NUM_SPECIAL + 1, UNKNOWN]
    assert len(vocabulary) == NUM_SPECIAL + 2


def test_case_counts_unless_the_vocabulary_is_of_lower_case() -> None:
    assert Vocabulary(words=("a",)).ids(("A", "a")).tolist() == [UNKNOWN, NUM_SPECIAL]
    assert Vocabulary(words=("a",), lowercase=True).ids(("A", "a")).tolist() == [NUM_SPECIAL, NUM_SPECIAL]


def test_ids_are_spelled_and_an_answer_ends_before_the_end_token() -> None:
    vocabulary = Vocabulary(words=("a", "b"))
    assert vocabulary.spelled([PADDING, NUM_SPECIAL + 1, MASK]) == ["<padding>", "b", "<mask>"]
    a, b = vocabulary.ids(("a", "b"))
    assert vocabulary.answer([START, b, a, PADDING, a, END, b]) == ["b", "a", "a"]


def test_both_come_back_from_json() -> None:
    vocabulary = build_vocabulary([*SENTENCES, ("é", "\u2028", '"')], lowercase=True)
    labels = build_labels(["y", "x", "y"])
    assert labels.names == ("x", "y")
    assert vocabulary_from_json(json.loads(json.dumps(vocabulary.as_json())), "it") == vocabulary
    assert labels_from_json(json.loads(json.dumps(labels.as_json())), "it") == labels


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ({}, "must have the key 'words'"),
        ({"words": ["a", 1]}, "words"),
        ({"words": ["a", "a"]}, "must have no entry twice (it has 'a')"),
        ({"words": [], "size": 3}, "no unknown keys; got 'size'"),
        ({"words": [], "lowercase": 1}, "lowercase"),
    ],
)
def test_a_bad_vocabulary_is_one_sentence(content: dict, part: str) -> None:
    with pytest.raises(InputError) as caught:
        vocabulary_from_json(content, "c.safetensors: vocabulary")
    assert part in str(caught.value)
    assert str(caught.value).startswith("c.safetensors: vocabulary")


def test_labels_without_a_name_are_refused() -> None:
    with pytest.raises(InputError, match=r"c: labels.*names"):
        labels_from_json({"names": []}, "c: labels")


def test_unknown_labels_are_named_all_at_once() -> None:
    labels, vocabulary = Labels(names=("NOUN", "VERB")), Vocabulary(words=("a",))
    tagged = [Sentence(("a",), ("NOUN",)), Sentence(("a", "b"), ("ADJ", "VERB")), Sentence(("a",), ("X",))]
    with pytest.raises(InputError) as caught:
        tagged_examples(tagged, vocabulary, labels, "test.conllu")
    expected = "test.conllu must have the labels of training alone ('NOUN', 'VERB'); got 'ADJ', 'X'"
    assert str(caught.value) == expected
    with pytest.raises(InputError, match=r"got 'f0', 'f1', 'f2', 'f3', 'f4' and 2 more$"):
        classified_examples([LabelledText(f"f{i}", ("a",)) for i in range(7)], vocabulary, labels, "test.txt")


def test_examples_hold_ids() -> None:
    labels, vocabulary = Labels(names=("x", "y")), Vocabulary(words=("a", "b"))
    a, b = NUM_SPECIAL, NUM_SPECIAL + 1
    (tagged,) = tagged_examples([Sentence(("b", "c"), ("y", "x"))], vocabulary, labels, "it")
    (classified,) = classified_examples([LabelledText("y", ("a",))], vocabulary, labels, "it")
    (gap,) = token_examples([("a", GAP, "c")], vocabulary)
    (pair,) = pair_examples([Pronunciation(("a",), ("b", "a"))], vocabulary, vocabulary)
    assert tagged.labels is not None
    assert (tagged.inputs.tolist(), tagged.labels.tolist()) == ([b, UNKNOWN], [1, 0])
    assert classified.labels is not None
    assert (classified.inputs.tolist(), int(classified.labels), classified.labels.shape) == ([a], 1, ())
    assert (gap.inputs.tolist(), gap.labels) == ([a, MASK, UNKNOWN], None)
    assert pair.target is not None
    assert (pair.source.tolist(), pair.target.tolist()) == ([a], [b, a, END])


def test_a_sentence_without_words_is_refused() -> None:
    with pytest.raises(InputError, match="must have at least one token; got none"):
        token_examples([("a",), ()], Vocabulary(words=("a",)))
