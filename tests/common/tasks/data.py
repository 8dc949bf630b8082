"""Files for the tasks: sentences that are all different, each with a word of its own that it has twice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

KNOWN = tuple(f"w{i}" for i in range(8))
TAGS = ("ADJ", "NOUN", "VERB")
Sentence = tuple[tuple[str, ...], tuple[str, ...]]
"""Words, and a tag for each; the first tag is the label of the whole."""


def sentences(seed: int, own: str = "z", tags: Sequence[str] = TAGS) -> list[Sentence]:
    """All pairs of eight words in a random order, a word of the sentence's own behind them, twice; tags at random, the
    first of ``tags`` the commonest."""
    rng = np.random.default_rng(seed)
    listed = []
    for number, pair in enumerate(rng.permutation(list(product(KNOWN, repeat=2)))):
        words = (*map(str, pair), *[f"{own}{number}"] * 2)
        listed.append((words, tuple(str(tag) for tag in rng.choice(tags, size=len(words), p=(0.6, 0.2, 0.2)))))
    return listed


def write_tagged(path: Path, content: Sequence[Sentence]) -> Path:
    """A CoNLL-U file."""
    blocks = [
        "\n".join(
            f"{i}\t{word}\t_\t{tag}\t_\t_\t_\t_\t_\t_" for i, (word, tag) in enumerate(zip(*each, strict=True), 1)
        )
        for each in content
    ]
    path.write_text("\n\n".join(blocks) + "\n\n")
    return path


def write_labelled(path: Path, content: Sequence[Sentence]) -> Path:
    """A file of ``label<TAB>text``."""
    path.write_text("".join(f"{tags[0]}\t{' '.join(words)}\n" for words, tags in content))
    return path


def write_plain(path: Path, content: Sequence[Sentence]) -> Path:
    """A text of paragraphs, each a sentence."""
    path.write_text("\n\n".join(" ".join(words) for words, _ in content))
    return path


WRITERS = {"tagger": write_tagged, "classifier": write_labelled, "masked": write_plain, "language": write_plain}
