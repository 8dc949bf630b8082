"""Vocabularies: words and labels to ids and back, made from training data alone and kept in checkpoints as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError, field_validator

from common.errors import InputError, from_validation, shown
from common.models.specification import END, PADDING, START

UNKNOWN, MASK = END + 1, END + 2
"""The tokens of a word that is not in the vocabulary, and of a gap."""
SPECIAL = {PADDING: "<padding>", START: "<start>", END: "<end>", UNKNOWN: "<unknown>", MASK: "<mask>"}
"""Ids that are no word, and how they are shown. A word that is spelled like one is another id."""
NUM_SPECIAL = len(SPECIAL)
"""How many tokens stand before the words."""
NAMED_LABELS = 5
"""How many labels an error lists at most."""


def _all_different(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words, of which none may stand twice."""
    twice = [word for word, count in Counter(words).items() if count > 1]
    if twice:
        raise ValueError(f"must have no entry twice (it has {shown(twice[0])})")
    return words


class Vocabulary(BaseModel):
    """Words and their ids: 0 padding, 1 start, 2 end, 3 unknown, 4 mask, from 5 on the words in this order.

    Parameters
    ----------
    words
        All different.
    lowercase
        Whether words are put into lower case before they are looked up.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: tuple[StrictStr, ...]
    lowercase: StrictBool = False

    _different = field_validator("words")(_all_different)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: NUM_SPECIAL + i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        """Rows of an embedding, and classes of masked prediction."""
        return NUM_SPECIAL + len(self.words)

    def ids(self, words: Sequence[str]) -> np.ndarray:
        """The words' ids (len(words),) int64; what training did not have is ``UNKNOWN``.

        Raises
        ------
        InputError
            If there is no word.
        """
        if not words:
            raise InputError("a sentence must have at least one token; got none")
        spelled = (word.lower() for word in words) if self.lowercase else words
        return np.array([self._ids.get(word, UNKNOWN) for word in spelled], np.int64)

    def spelled(self, ids: Iterable[int]) -> list[str]:
        """What the ids stand for, one for one."""
        return [SPECIAL[int(i)] if i < NUM_SPECIAL else self.words[int(i) - NUM_SPECIAL] for i in ids]

    def answer(self, ids: Iterable[int]) -> list[str]:
        """What a decoder wrote: the words before the end token, without padding and start."""
        words = []
        for i in map(int, ids):
            if i == END:
                break
            if i not in (PADDING, START):
                words += self.spelled([i])
        return words

    def as_json(self) -> dict[str, Any]:
        """The vocabulary as its JSON object."""
        return self.model_dump(mode="json")


class Labels(BaseModel):
    """Labels and their ids, from 0 on in this order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    names: Annotated[tuple[StrictStr, ...], Field(min_length=1)]

    _different = field_validator("names")(_all_different)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def ids(self, labels: Sequence[str], what: str = "labels") -> np.ndarray:
        """The labels' ids (len(labels),) int64; ``what`` says where they come from.

        Raises
        ------
        InputError
            If there are labels that training did not have; it names them.
        """
        unknown = sorted(set(labels) - self._ids.keys())
        if unknown:
            known = _listed(self.names)
            raise InputError(f"{what} must have the labels of training alone ({known}); got {_listed(unknown)}")
        return np.array([self._ids[label] for label in labels], np.int64)

    def spelled(self, ids: Iterable[int]) -> list[str]:
        """The labels of the ids."""
        return [self.names[int(i)] for i in ids]

    def as_json(self) -> dict[str, Any]:
        """The labels as their JSON object."""
        return self.model_dump(mode="json")


def _listed(names: Sequence[str]) -> str:
    """Labels as an error lists them."""
    listed = ", ".join(map(shown, names[:NAMED_LABELS]))
    return listed if len(names) <= NAMED_LABELS else f"{listed} and {len(names) - NAMED_LABELS} more"


def build_vocabulary(
    sentences: Iterable[Sequence[str]], at_least: int = 1, largest: int | None = None, lowercase: bool = False
) -> Vocabulary:
    """The vocabulary of training data: frequent words first, equally frequent ones in the order of their spelling.

    Parameters
    ----------
    sentences
        Of the training data alone.
    at_least
        How often a word must occur. With 2 or more some training words are ``UNKNOWN``, so that its embedding is
        trained.
    largest
        How many words at most, the most frequent ones; None: all.
    lowercase
        Whether words are put into lower case.
    """
    counts = Counter(word.lower() if lowercase else word for words in sentences for word in words)
    kept = [(-count, word) for word, count in counts.items() if count >= at_least]
    return Vocabulary(words=tuple(word for _, word in sorted(kept)[:largest]), lowercase=lowercase)


def build_labels(labels: Iterable[str]) -> Labels:
    """The labels of training data, in the order of their spelling."""
    return Labels(names=tuple(sorted(set(labels))))


def vocabulary_from_json(content: Mapping[str, Any], what: str) -> Vocabulary:
    """A vocabulary from its JSON object.

    Raises
    ------
    InputError
        If it is none; ``what`` names the origin.
    """
    try:
        return Vocabulary.model_validate(content)
    except ValidationError as error:
        raise from_validation(error, what) from None


def labels_from_json(content: Mapping[str, Any], what: str) -> Labels:
    """Labels from their JSON object; raises as ``vocabulary_from_json``."""
    try:
        return Labels.model_validate(content)
    except ValidationError as error:
        raise from_validation(error, what) from None
