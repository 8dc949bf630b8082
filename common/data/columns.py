"""Words and their tags from column files, as the CoNLL shared tasks and WNUT give them out.

One word a line, its columns with a tab between or, where a line has none, white space; a blank line ends a sentence.
The first column is the word; CoNLL-2003 has four columns, of which the last is the entity's tag. Lines that begin with
``-DOCSTART-`` stand between documents and are no sentence. There are no comments: a line that begins with ``#`` is a
word.
"""

from __future__ import annotations

from pathlib import Path

from common.data.conllu import Sentence, blocks
from common.data.files import broken
from common.errors import InputError

DOCUMENT = "-DOCSTART-"
"""Begins a line that stands between two documents."""


def read_columns(path: Path, column: int | None = None) -> list[Sentence]:
    """Every sentence of a column file.

    Parameters
    ----------
    path
        The file.
    column
        The column of the tag, from 2 on; None: the last one.

    Raises
    ------
    InputError
        As ``common.data.files.lines``; or if a line has not as many columns as the first one, or no column of a tag.
    """
    sentences = []
    expected = 0
    for block in blocks(path):
        words, tags, numbers = [], [], []
        for number, line in block:
            if line.startswith(DOCUMENT):
                continue
            columns = line.rstrip("\t ").split("\t") if "\t" in line.strip() else line.split()
            expected = expected or len(columns)
            if len(columns) != expected:
                rule = f"must have {expected} columns, as the first line has"
                raise broken(path, number, rule, f"{len(columns)} in {line}")
            if not (column or 2) <= expected:
                rule = f"must have a column {column}" if column else "must have a word and its tag"
                raise broken(path, number, rule, line)
            if not columns[0].strip():
                raise broken(path, number, "must have a word in column 1", line)
            words.append(columns[0])
            tags.append(columns[column - 1 if column else -1].strip())
            numbers.append(number)
        if words:
            sentences.append(Sentence(tuple(words), tuple(tags), tuple(numbers)))
    if not sentences:
        raise InputError(f"{path}: must hold at least one sentence; it has none")
    return sentences
