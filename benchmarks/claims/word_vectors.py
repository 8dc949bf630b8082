"""Make word vectors from a text, as a file that ``birnn train --embeddings`` reads.

    python -m benchmarks.claims.word_vectors TRAINING.conllu --out vectors.txt

A word's vector is its row of the matrix of positive pointwise mutual information with the words around it, cut down to
``--size`` numbers by the singular value decomposition (Levy, Goldberg and Dagan 2015, TACL 3, 211–225: context counts
to the power 0.75, singular values to the power 0.5). It takes seconds, and draws nothing. The numbers
are scaled to a standard deviation of 1, that of drawn embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from common.data.vocabulary import NUM_SPECIAL, UNKNOWN, Vocabulary, build_vocabulary
from common.errors import InputError
from common.tasks.building import read_words
from common.tensorfile import write_bytes

if TYPE_CHECKING:
    from scipy.sparse import coo_matrix

CONTEXT_POWER = 0.75
"""What the counts of a context word are raised to, so that rare ones count for more than they are."""


def cooccurrences(rows: Sequence[np.ndarray], size: int, window: int) -> coo_matrix:
    """How often two ids stand within ``window`` places of each other, (size, size); what is ``UNKNOWN`` is left out."""
    from scipy.sparse import coo_matrix  # dear to import, for one command of the whole program

    pairs = []
    for row in rows:
        for distance in range(1, min(window, len(row) - 1) + 1):
            pairs.append(np.stack([row[:-distance], row[distance:]]))
    joined = np.concatenate(pairs, axis=1) if pairs else np.zeros((2, 0), np.int64)
    joined = joined[:, (joined != UNKNOWN).all(axis=0)]
    first, second = np.concatenate([joined, joined[::-1]], axis=1)
    counts = coo_matrix((np.ones(len(first)), (first, second)), shape=(size, size))
    counts.sum_duplicates()
    return counts


def positive_information(counts: coo_matrix) -> coo_matrix:
    """Positive pointwise mutual information: max(0, ln(p(word, context) / (p(word)·p(context)))), where p(context) is
    of counts to the power ``CONTEXT_POWER``.
    """
    from scipy.sparse import coo_matrix

    words = np.asarray(counts.sum(axis=1)).ravel()
    contexts = np.asarray(counts.sum(axis=0)).ravel() ** CONTEXT_POWER
    ratio = counts.data * contexts.sum() / (words[counts.row] * contexts[counts.col])
    return coo_matrix((np.maximum(np.log(ratio), 0), (counts.row, counts.col)), shape=counts.shape)


def make_vectors(sentences: Sequence[Sequence[str]], words: Vocabulary, size: int, window: int) -> np.ndarray:
    """The vectors of a vocabulary, (len(words), size) float64; the special ids' are 0.

    Raises
    ------
    InputError
        If the vocabulary has too few words for such wide vectors.
    """
    from scipy.sparse.linalg import svds

    if size >= len(words.words):
        raise InputError(f"--size must be below the number of different words, {len(words.words)}; got {size}")
    counts = cooccurrences([words.ids(sentence) for sentence in sentences], len(words), window)
    if not counts.nnz:
        raise InputError("the texts must have sentences of several words that they have in common; they have none")
    start = np.ones(len(words))  # what the decomposition begins with, which is drawn where it is not given
    left, values, _ = svds(positive_information(counts).tocsr(), k=size, v0=start, solver="arpack")
    vectors = left[:, ::-1] * np.sqrt(values[::-1])  # the largest singular value first
    vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(size)])  # a singular vector has no sign
    return vectors / vectors[NUM_SPECIAL:].std()


def write_vectors(words: Vocabulary, matrix: np.ndarray, file: Path) -> None:
    """Write an embedding's rows as a text file of word vectors, as GloVe has them; the special ids are left out."""
    rows = matrix[NUM_SPECIAL:]
    lines = (
        f"{word} {' '.join(f'{number:.6g}' for number in row)}" for word, row in zip(words.words, rows, strict=True)
    )
    write_bytes(file, ("\n".join(lines) + "\n").encode())


def main(
    texts: Annotated[list[Path], typer.Argument(metavar="FILE...", help="CoNLL-U (.conllu) or plain text.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file of vectors.")],
    size: Annotated[int, typer.Option(min=1, help="Numbers of a vector.")] = 64,
    window: Annotated[int, typer.Option(min=1, help="Places between two words that count as neighbours, at most.")] = 5,
    at_least: Annotated[int, typer.Option(min=1, help="How often a word must occur.")] = 2,
) -> None:
    """Make word vectors from texts."""
    try:
        sentences = [words for path in texts for words in read_words(path)]
        words = build_vocabulary(sentences, at_least=at_least, lowercase=True)
        write_vectors(words, make_vectors(sentences, words, size, window), out)
    except InputError as error:
        typer.echo(f"birnn: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{out}: {len(words.words)} words, {size} numbers each")


if __name__ == "__main__":
    typer.run(main)
