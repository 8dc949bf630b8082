"""Examples: what a model reads and what it is to say, as arrays of one sequence each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from common.data.conllu import Sentence
from common.data.digits import Digit
from common.data.pronunciations import Pronunciation
from common.data.text import GAP, LabelledText
from common.data.vocabulary import MASK, Labels, Vocabulary
from common.errors import InputError
from common.models.specification import END, START

T = TypeVar("T")
"""The type of what is drawn from."""


@dataclass(frozen=True)
class SequenceExample:
    """One sequence for a sequence model.

    inputs (seq_len,) int64 tokens or (seq_len, input_size) float64 features; labels (seq_len,) int64 for every step,
    () int64 for the whole, or None where they are not known (prediction, masked prediction).
    """

    inputs: np.ndarray
    labels: np.ndarray | None = None


@dataclass(frozen=True)
class PairExample:
    """One pair for an encoder–decoder: source (seq_len,) int64; target (target_len,) int64, ended by the end token, or
    None where it is not known.
    """

    source: np.ndarray
    target: np.ndarray | None = None


Example = SequenceExample | PairExample
"""An example of any task."""


def tagged_examples(
    sentences: Iterable[Sentence], vocabulary: Vocabulary, labels: Labels, what: str
) -> list[SequenceExample]:
    """Words and a label for each; ``what`` says in errors where unknown labels come from."""
    sentences = list(sentences)
    labels.ids([tag for sentence in sentences for tag in sentence.tags], what)  # names all that are unknown at once
    return [SequenceExample(vocabulary.ids(each.words), labels.ids(each.tags, what)) for each in sentences]


def classified_examples(
    texts: Iterable[LabelledText], vocabulary: Vocabulary, labels: Labels, what: str
) -> list[SequenceExample]:
    """Words and one label for all of them; ``what`` says in errors where unknown labels come from."""
    texts = list(texts)
    classes = labels.ids([text.label for text in texts], what)
    return [
        SequenceExample(vocabulary.ids(text.words), label)
        for text, label in zip(texts, classes.astype(np.int64), strict=True)
    ]


def digit_examples(digits: Iterable[Digit]) -> list[SequenceExample]:
    """Columns of pixels and the digit."""
    return [SequenceExample(each.pixels, np.array(each.digit, np.int64)) for each in digits]


def token_examples(sentences: Iterable[Sequence[str]], vocabulary: Vocabulary) -> list[SequenceExample]:
    """Words without labels; a gap (``___``) becomes the mask."""
    examples = []
    for words in sentences:
        gaps = np.array([word == GAP for word in words])
        examples.append(SequenceExample(np.where(gaps, MASK, vocabulary.ids(words))))
    return examples


def next_token_examples(sentences: Iterable[Sequence[str]], vocabulary: Vocabulary) -> list[SequenceExample]:
    """The start token and the tokens of a sentence, each with the one behind it as its label, the last with the end
    token.
    """
    every = [vocabulary.ids(sentence) for sentence in sentences]
    return [SequenceExample(np.concatenate([[START], ids]), np.concatenate([ids, [END]])) for ids in every]


def pair_examples(pairs: Iterable[Pronunciation], source: Vocabulary, target: Vocabulary) -> list[PairExample]:
    """Letters, and phonemes with the end token."""
    return [PairExample(source.ids(each.letters), np.append(target.ids(each.phonemes), END)) for each in pairs]


def split(items: Sequence[T], held_out: float, seed: int) -> tuple[list[T], list[T]]:
    """Shuffled by the seed and cut: for training, and a share of ``held_out`` (rounded, at least one) for judging.

    Raises
    ------
    InputError
        If either part would be empty.
    """
    size = max(round(held_out * len(items)), 1)
    if not 0 < held_out < 1 or size >= len(items):
        raise InputError(f"a split must leave examples on both sides; got {len(items)} and a share of {held_out}")
    order = np.random.default_rng(seed).permutation(len(items))
    return [items[i] for i in order[size:]], [items[i] for i in order[:size]]
