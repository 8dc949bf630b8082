"""Word vectors from text files, as GloVe and word2vec write them, for the words of a vocabulary.

A line is a word and its numbers, with spaces between; blank lines are skipped. word2vec's text format has a first line
``count width`` (two whole numbers); GloVe's has none. Some words of GloVe's files have spaces in them (``. . .``): the
last ``width`` fields are the numbers, and what stands before them is the word, as long as none of it beyond its first
field is a number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.data.files import broken, lines
from common.data.vocabulary import NUM_SPECIAL, Vocabulary
from common.errors import InputError, shown


@dataclass(frozen=True)
class WordVectors:
    """An embedding for a vocabulary: matrix (len(vocabulary), width) float64, known (len(vocabulary),) bool, the rows
    that came from the file.
    """

    matrix: np.ndarray
    known: np.ndarray


def load_vectors(path: Path, vocabulary: Vocabulary, seed: int, width: int | None = None) -> WordVectors:
    """The vectors of a vocabulary's words.

    A word that the file lacks gets the vector of its lower-case form. What the file lacks in both forms, and the
    special ids, is drawn from N(0, σ²), σ being the standard deviation of all numbers found.

    Parameters
    ----------
    path
        The file; all of it is checked, also the lines whose words are not needed.
    vocabulary
        The words whose vectors are wanted.
    seed
        Of the rows that are drawn.
    width
        How wide the vectors must be; None: as wide as the file has them.

    Raises
    ------
    InputError
        As ``common.data.files.lines``; or if a line is broken (too few or too many fields, not a number, not finite),
        a word is there twice, the header does not fit the lines, the width is another, or no word is in common.
    """
    exact: dict[str, int] = {word: NUM_SPECIAL + i for i, word in enumerate(vocabulary.words)}
    lowered: dict[str, list[int]] = {}
    for word, row in exact.items():
        lowered.setdefault(word.lower(), []).append(row)
    by_row: dict[int, np.ndarray] = {}
    found_lowered: dict[int, np.ndarray] = {}
    for word, vector in _vectors(path, width):
        if word in exact:
            by_row[exact[word]] = vector
        found_lowered.update(dict.fromkeys(lowered.get(word, ()), vector))
    by_row = found_lowered | by_row
    if not by_row:
        raise InputError(f"{path}: must have vectors for words of the training data; it has none in common")
    rows = np.array(sorted(by_row))
    vectors = np.stack([by_row[row] for row in rows])
    matrix = np.random.default_rng(seed).normal(size=(len(vocabulary), vectors.shape[1])) * vectors.std()
    matrix[rows] = vectors
    known = np.zeros(len(vocabulary), bool)
    known[rows] = True
    return WordVectors(matrix, known)


def _vectors(path: Path, width: int | None) -> Iterator[tuple[str, np.ndarray]]:
    """Every word and its vector (width,) float64."""
    count = None
    first_seen: dict[str, int] = {}
    origin = "as was asked for"
    for number, line in lines(path):
        if not line.strip():
            continue
        fields = line.rstrip(" \t").split(" ")
        if number == 1 and len(fields) == 2 and all(field.isdecimal() and len(field) < 10 for field in fields):
            count, stated = (int(field) for field in fields)
            _check_width(path, stated, width)
            width, origin = stated, "as the first line says"
            continue
        if width is None:
            width, origin = len(fields) - 1, "as on line 1"
        word, vector = _word_and_vector(path, number, fields, width, origin)
        if word in first_seen:
            rule = f"must have a word of its own (line {first_seen[word]} has it, too)"
            raise broken(path, number, rule, word)
        first_seen[word] = number
        yield word, vector
    if count is not None and count != len(first_seen):
        raise InputError(f"{path}: must hold {count} vectors, as its first line says; it holds {len(first_seen)}")


def _check_width(path: Path, width: int, expected: int | None) -> None:
    """Raise an ``InputError`` for vectors that are not as wide as the model's."""
    if expected is not None and width != expected:
        raise InputError(f"{path}: vectors must be {expected} wide; the file's first line says {width}")


def _word_and_vector(path: Path, number: int, fields: list[str], width: int, origin: str) -> tuple[str, np.ndarray]:
    """The word and the numbers of a line."""
    rule = f"must be a word and {width} numbers, {origin}"
    if width < 1 or not fields[0]:
        raise broken(path, number, "must be a word and its numbers with spaces between", " ".join(fields))
    before = len(fields) - width  # fields that are the word
    if before < 1 or any(_number(field) is not None for field in fields[1:before]):
        raise InputError(f"{path}, line {number}: {rule}; got {len(fields) - 1} fields after {shown(fields[0])}")
    try:
        vector = np.array([float(field) for field in fields[before:]])
    except ValueError:
        vector = np.array(np.nan)
    if "_" in "".join(fields[before:]) or not np.isfinite(vector).all():
        wrong = next(field for field in fields[before:] if _number(field) is None)
        raise broken(path, number, f"{rule}, all finite", wrong)
    return " ".join(fields[:before]), vector


def _number(field: str) -> float | None:
    """The finite number that a field is; Python's own ``1_000`` is none."""
    try:
        value = float(field)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in field else None
