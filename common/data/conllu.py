"""Words and universal parts of speech from CoNLL-U files (https://universaldependencies.org/format.html)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.data.files import broken, lines
from common.errors import InputError

COLUMNS = 10
"""Columns of a line."""
FORM, UPOS = 1, 3
"""The columns of the word and of its part of speech."""
WORD_ID = re.compile(r"[1-9][0-9]*")
"""The first column of a line that holds a word of its own."""
SKIPPED_ID = re.compile(r"[1-9][0-9]*-[1-9][0-9]*|[0-9]+\.[1-9][0-9]*")
"""Multiword tokens such as 3-4, whose words follow on their own, and empty nodes such as 3.1."""


@dataclass(frozen=True)
class Sentence:
    """The forms of a sentence and the universal part of speech of each; no tags where they were not asked for."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


def read_conllu(path: Path, tagged: bool = True) -> list[Sentence]:
    """Every sentence of a file.

    Comments, multiword tokens and empty nodes are skipped, and so are blank lines that end no sentence.

    Parameters
    ----------
    path
        The file.
    tagged
        Whether parts of speech are read and must be there (they may be ``_`` where words are to be tagged).

    Raises
    ------
    InputError
        As ``common.data.files.lines``; or if a line has not ten columns, a sentence's words are not numbered 1, 2, 3 …
        (so that a lost blank line is seen), a form or tag is missing, or comments stand without words.
    """
    sentences = []
    for block in _blocks(path):
        words: list[str] = []
        tags: list[str] = []
        for number, line in block:
            if line.startswith("#"):
                continue
            columns = _columns(path, number, line, len(words), tagged)
            if columns is not None:
                words.append(columns[FORM])
                tags.append(columns[UPOS])
        if not words:
            raise broken(path, block[0][0], "a sentence must have at least one word", block[0][1])
        sentences.append(Sentence(tuple(words), tuple(tags) if tagged else ()))
    if not sentences:
        raise InputError(f"{path}: must hold at least one sentence; it has blank lines alone")
    return sentences


def _blocks(path: Path) -> Iterator[list[tuple[int, str]]]:
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


def _columns(path: Path, number: int, line: str, words_before: int, tagged: bool) -> list[str] | None:
    """The columns of a line that is a word; None for one that is skipped."""
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
    if tagged and columns[UPOS].strip() in ("", "_"):
        raise broken(path, number, "must have a universal part of speech in column 4", columns[UPOS])
    return columns
