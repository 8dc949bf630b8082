"""Words and one tag of each from CoNLL-U files (https://universaldependencies.org/format.html)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common.data.files import broken, lines
from common.data.text import LabelledText, TokenUnit, tokens_of
from common.errors import InputError, shown

COLUMNS = 10
"""Columns of a line."""
FORM = 1
"""The column of the word."""
TAGS = {"upos": 3, "xpos": 4, "feats": 5, "deprel": 7, "misc": 9}
"""The columns that a tag can be from; ``feats`` and ``misc`` hold pairs of a key and a value, too."""
PAIRS = ("feats", "misc")
"""The columns of which a tag can be the value of one key, as in ``feats:Number``."""
NEEDED = {"upos": "a universal part of speech", "xpos": "a part of speech", "deprel": "a relation"}
"""What stands in the columns of tags that every word must have."""
NO_VALUE = "_"
"""Stands for a column or a key that a word does not have."""
WORD_ID = re.compile(r"[1-9][0-9]*")
"""The first column of a line that holds a word of its own."""
COMMENT = re.compile(r"# *(sent_id|text) *= *(.*?) *")
"""The comments that say which sentence it is, and how it is spelled."""
SKIPPED_ID = re.compile(r"[1-9][0-9]*-[1-9][0-9]*|[0-9]+\.[1-9][0-9]*")
"""Multiword tokens such as 3-4, whose words follow on their own, and empty nodes such as 3.1."""


@dataclass(frozen=True)
class Sentence:
    """The forms of a sentence, a tag of each, or none where they were not asked for, and the lines they stand in."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    lines: tuple[int, ...] = field(default=(), compare=False)


def read_conllu(path: Path, tagged: bool = True, column: str = "upos") -> list[Sentence]:
    """Every sentence of a file.

    Comments, multiword tokens and empty nodes are skipped, and so are blank lines that end no sentence.

    Parameters
    ----------
    path
        The file.
    tagged
        Whether tags are read and must be there (they may be ``_`` where words are to be tagged).
    column
        What a word's tag is: ``upos`` (its universal part of speech), ``xpos``, ``deprel``, ``feats``, or the value of
        a key of the features or of what is beside them, ``feats:KEY`` or ``misc:KEY``; ``_`` where a word has none.

    Raises
    ------
    InputError
        As ``common.data.files.lines``; or if a line has not ten columns, a sentence's words are not numbered 1, 2, 3 …
        (so that a lost blank line is seen), a form or tag is missing, comments stand without words, ``column`` is none
        of these, or no word has the key.
    """
    name, _, key = _column(column)
    sentences = []
    for block in blocks(path):
        words: list[str] = []
        tags: list[str] = []
        numbers: list[int] = []
        for number, line in block:
            if line.startswith("#"):
                continue
            columns = _columns(path, number, line, len(words), name if tagged else None)
            if columns is not None:
                words.append(columns[FORM])
                tags.append(_value(columns[TAGS[name]], key))
                numbers.append(number)
        if not words:
            raise broken(path, block[0][0], "a sentence must have at least one word", block[0][1])
        sentences.append(Sentence(tuple(words), tuple(tags) if tagged else (), tuple(numbers)))
    if not sentences:
        raise InputError(f"{path}: must hold at least one sentence; it has blank lines alone")
    if key and all(tag == NO_VALUE for sentence in sentences for tag in sentence.tags):
        raise InputError(f"{path}: a word must have the key {key!r} in the column {name}; none has")
    return sentences


def is_conllu(path: Path) -> bool:
    """Whether a file is CoNLL-U, by its ending or by its first line that is no comment."""
    if path.suffix == ".conllu":
        return True
    first = next((line for _, line in lines(path) if line.strip() and not line.startswith("# ")), "").split("\t")
    return len(first) == COLUMNS and bool(WORD_ID.fullmatch(first[0]) or SKIPPED_ID.fullmatch(first[0]))


def _column(column: str) -> tuple[str, str, str]:
    """The name of a column, the colon, and the key, each "" where there is none."""
    name, colon, key = column.partition(":")
    if name not in TAGS or bool(colon) != bool(key) or (key and name not in PAIRS):
        known = f"{', '.join(TAGS)}, feats:KEY or misc:KEY"
        raise InputError(f"--column must be one of {known} for a CoNLL-U file; got {shown(column)}")
    return name, colon, key


def _value(column: str, key: str) -> str:
    """What a column holds, or the value of a key among its pairs."""
    if not key:
        return column.strip()
    pairs = (pair.partition("=") for pair in column.split("|"))
    return next((value for name, _, value in pairs if name.strip() == key and value), NO_VALUE)


def blocks(path: Path) -> Iterator[list[tuple[int, str]]]:
    """Lines with their numbers, between blank lines."""
    block: list[tuple[int, str]] = []
    for number, line in lines(path):
        if line.strip():
            block.append((number, line))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _columns(path: Path, number: int, line: str, words_before: int, tagged: str | None) -> list[str] | None:
    """The columns of a line that is a word; None for one that is skipped. ``tagged`` names the column of the tag."""
    columns = line.split("\t")
    if len(columns) != COLUMNS:
        raise broken(path, number, f"must have {COLUMNS} columns with tabs between", f"{len(columns)} in {line}")
    if SKIPPED_ID.fullmatch(columns[0]):
        return None
    if not WORD_ID.fullmatch(columns[0]) or columns[0] != str(words_before + 1):
        rule = f"must have the id {words_before + 1} (a blank line ends a sentence)"
        raise broken(path, number, rule, columns[0])
    if not columns[FORM].strip():
        raise broken(path, number, "must have a form in column 2", columns[FORM])
    if tagged in NEEDED and columns[TAGS[tagged]].strip() in ("", NO_VALUE):
        place = TAGS[tagged] + 1
        raise broken(path, number, f"must have {NEEDED[tagged]} in column {place}", columns[place - 1])
    return columns


def read_genres(path: Path, unit: TokenUnit = "words") -> list[LabelledText]:
    """The text of every sentence of a file with its genre: what stands before the first hyphen of its id.

    UD_English-EWT's ids begin with one of answers, email, newsgroup, reviews and weblog. The text is that of the
    comment ``# text``, and falls into tokens as what is given to a trained classifier does.

    Raises
    ------
    InputError
        As ``common.data.files.lines``; or if a sentence has no ``# sent_id`` with a hyphen, or no ``# text``.
    """
    texts = []
    for block in blocks(path):
        matches = (COMMENT.fullmatch(line) for _, line in block)
        comments = {match[1]: match[2] for match in matches if match}
        genre, hyphen, _ = comments.get("sent_id", "").partition("-")
        words = tokens_of(comments.get("text", ""), unit)
        if not genre or not hyphen:
            rule = "a sentence must have a comment '# sent_id = GENRE-…' for its class"
            raise broken(path, block[0][0], rule, comments.get("sent_id", "none"))
        if not words:
            raise broken(path, block[0][0], "a sentence must have a comment '# text = …' to be read", "none")
        texts.append(LabelledText(genre, words))
    if not texts:
        raise InputError(f"{path}: must hold at least one sentence; it has blank lines alone")
    return texts
