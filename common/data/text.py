"""Plain text: its tokens, texts with labels, and sentences, for masked words and for the next token.

Tokens, by one rule for everything: three or more underscores (a gap to fill) are a token; so is every longest run of
letters, digits and underscores, with apostrophes inside it (don't); so is every other character but white
space. Case is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from common.data.files import broken, lines
from common.errors import InputError

GAP = "___"
"""What a user writes for a word to be filled in."""
TOKEN = re.compile(r"_{3,}|(?:[^\W_]|_(?!__))+(?:['’](?:[^\W_]|_(?!__))+)*|[^\w\s]")
"""A gap, a word, or a mark of punctuation."""
SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*\s+")
"""The end of a sentence."""
LONGEST_SENTENCE = 64
"""Tokens; what is longer (a list, a table, text without full stops) is cut into pieces of at most so many."""
TokenUnit = Literal["words", "characters"]
"""What the tokens of a language model, or of a classifier of texts, are: one of ``TOKEN_UNITS``."""
TOKEN_UNITS: tuple[TokenUnit, ...] = ("words", "characters")
"""What the tokens of a language model may be."""


@dataclass(frozen=True)
class LabelledText:
    """A text's label and tokens."""

    label: str
    words: tuple[str, ...]


def tokenise(text: str) -> tuple[str, ...]:
    """The tokens of a text; gaps of any length become ``GAP``."""
    return tuple(GAP if token.startswith(GAP) else token for token in TOKEN.findall(text))


def tokens_of(text: str, unit: TokenUnit) -> tuple[str, ...]:
    """A text in tokens of a unit."""
    return tokenise(text) if unit == "words" else tuple(text)


def read_labelled(path: Path, unit: TokenUnit = "words") -> list[LabelledText]:
    """The texts of a file of lines ``label<TAB>text``; blank lines are skipped, further tabs belong to the text.

    Raises
    ------
    InputError
        As ``common.data.files.lines``; or if a line has no tab, no label, or no token after it.
    """
    texts = []
    for number, line in lines(path):
        if not line.strip():
            continue
        label, tab, text = line.partition("\t")
        if not tab or not label.strip():
            raise broken(path, number, "must be a label, a tab and a text", line)
        words = tokens_of(text.strip(), unit)
        if not words:
            raise broken(path, number, "the text after the label and the tab must not be empty", text)
        texts.append(LabelledText(label.strip(), words))
    if not texts:
        raise InputError(f"{path}: must hold at least one line with a label and a text; it has blank lines alone")
    return texts


def read_texts(path: Path) -> list[tuple[str, ...]]:
    """The tokens of every line of a file that is not blank: texts to predict labels or gaps of.

    Raises
    ------
    InputError
        As ``common.data.files.lines``, or if all lines are blank.
    """
    texts = [words for _, line in lines(path) if (words := tokenise(line))]
    if not texts:
        raise InputError(f"{path}: must hold at least one text; it has blank lines alone")
    return texts


def read_sentences(path: Path) -> list[tuple[str, ...]]:
    """The sentences of a plain text, as tokens.

    They are those of ``read_prose``; one of more than ``LONGEST_SENTENCE`` tokens is cut. Raises as it does.
    """
    return cut(map(tokenise, read_prose(path)), LONGEST_SENTENCE)


def read_prose(path: Path) -> list[str]:
    """The sentences of a plain text as they are spelled, with one space for any white space.

    Blank lines end a paragraph, and with it a sentence; other line breaks are spaces. Within a paragraph a sentence
    ends after a full stop, exclamation or question mark (and closing quotes) that white space follows.

    Raises
    ------
    InputError
        As ``common.data.files.lines``, or if all lines are blank.
    """
    sentences = prose(line for _, line in lines(path))
    if not sentences:
        raise InputError(f"{path}: must hold at least one sentence; it has blank lines alone")
    return sentences


def prose(text: Iterable[str]) -> list[str]:
    """The sentences of the lines of a text, as ``read_prose`` tells them apart; none where all are blank."""
    paragraphs: list[list[str]] = [[]]
    for line in text:
        if line.strip():
            paragraphs[-1] += line.split()
        elif paragraphs[-1]:
            paragraphs.append([])
    return [sentence for words in paragraphs if words for sentence in _sentences(" ".join(words))]


def cut(sentences: Iterable[tuple[str, ...]], longest: int) -> list[tuple[str, ...]]:
    """The sentences in pieces of at most ``longest`` tokens."""
    return [words[start : start + longest] for words in sentences for start in range(0, len(words), longest)]


def _sentences(paragraph: str) -> list[str]:
    """The paragraph cut behind every sentence end."""
    starts = [0, *(match.end() for match in SENTENCE_END.finditer(paragraph)), len(paragraph)]
    return [paragraph[start:end].strip() for start, end in pairwise(starts) if start < end]
