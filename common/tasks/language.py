"""The next token: the sentences that a language model is trained on and judged by, and what its perplexity is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from common.data.conllu import read_conllu
from common.data.examples import SequenceExample, split
from common.data.python_manual import read_manual
from common.data.text import LONGEST_SENTENCE, TokenUnit, cut, read_prose, tokens_of
from common.data.vocabulary import UNKNOWN, Vocabulary
from common.models.batch import Batch

LONGEST = {"words": LONGEST_SENTENCE - 1, "characters": 127}
"""The most tokens of a sentence; with its end it then fills the multiple that padded lengths are of."""
MULTIPLES = {"words": 8, "characters": 32}
"""What padded lengths are multiples of."""
Sentences = list[tuple[str, ...]]
"""The tokens of sentences."""


def read_language(
    data: Sequence[Path], unit: TokenUnit, held_out: float, seed: int, limit: int | None
) -> tuple[Sentences, Sentences]:
    """The sentences to train on, ``limit`` at most, and those to judge by, in tokens.

    Of two files the second is for judging. Of one, or of the prose that Python brings where there is none, each
    sentence counts once and a share of ``held_out`` is for judging, so that none is on both sides.

    Raises
    ------
    InputError
        If a file cannot be read or holds no sentence, or there are too few to hold some out.
    """
    if len(data) == 2:
        first, second = (_sentences(path, unit) for path in data)
    else:
        first, second = split(list(dict.fromkeys(_sentences(data[0] if data else None, unit))), held_out, seed)
    return cut(first[:limit], LONGEST[unit]), cut(second, LONGEST[unit])


def spelled(tokens: Iterable[str], unit: str) -> str:
    """Tokens as a text."""
    return (" " if unit == "words" else "").join(tokens)


def _sentences(path: Path | None, unit: TokenUnit) -> Sentences:
    """The sentences of a CoNLL-U file (``.conllu``), a plain text, or the prose that Python brings."""
    if path is not None and path.suffix == ".conllu":
        every = [sentence.words for sentence in read_conllu(path, tagged=False)]
        return every if unit == "words" else [tuple(" ".join(words)) for words in every]
    texts = read_manual() if path is None else read_prose(path)
    return [tokens for text in texts if (tokens := tokens_of(text, unit))]


def cross_entropy(batch: Batch, logits: np.ndarray) -> float:
    """The sum of −log p(label) over the counted positions of a batch, in nats, computed in float64.

    ``logits`` (batch, seq_len, classes).
    """
    where = batch["counted"]
    of_counted = logits[where].astype(np.float64)  # (positions, classes)
    labels = batch["labels"][where]
    shifted = of_counted - of_counted.max(axis=1, keepdims=True, initial=-np.inf)
    return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]).sum())


def perplexity(nats: float, positions: int) -> float:
    """The exponential of the mean cross-entropy; nan where nothing counts, inf past what a float holds."""
    with np.errstate(over="ignore"):
        return float(np.exp(np.float64(nats) / positions)) if positions else float("nan")


def frequency_perplexity(
    training: Sequence[SequenceExample], held_out: Sequence[SequenceExample], vocabulary: Vocabulary
) -> float:
    """The perplexity of the held-out labels by how often training has each, one added to every count (Laplace)."""
    counts = Counter(_known_labels(training))
    total = sum(counts.values()) + len(vocabulary)
    labels = _known_labels(held_out)
    return perplexity(-sum(float(np.log((counts[label] + 1) / total)) for label in labels), len(labels))


def _known_labels(examples: Sequence[SequenceExample]) -> list[int]:
    """Every label that counts."""
    known = [example.labels for example in examples if example.labels is not None]
    return [label for labels in known for label in labels.tolist() if label != UNKNOWN]
