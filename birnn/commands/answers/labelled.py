"""Texts and arrays whose right answers are known, and how many of a model's answers to them are right."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from birnn.commands.answers.likeliest import best_tokens
from birnn.commands.answers.trained import TrainedModel
from common.data.conllu import read_conllu
from common.data.files import lines
from common.data.pronunciations import read_pairs
from common.data.text import read_labelled
from common.errors import InputError
from common.models.batch import padding_mask
from common.models.specification import END, Arrays
from common.tensorfile import read

COLUMNS = ("upos", "xpos", "deprel")
"""The columns of CoNLL-U that tags may stand in; the first whose tags the model has all is taken."""
ARRAYS = (".npy", ".safetensors")
"""The endings of files with arrays."""


@dataclass(frozen=True)
class Questions:
    """What a model is asked about: texts in its tokens, or none where arrays are given, and the right answer to each,
    labels (steps,) or (), or tokens (steps,); None where they are not known.
    """

    words: list[tuple[str, ...]] = field(default_factory=list)
    answers: list[np.ndarray] | None = None


class Right(NamedTuple):
    """How many of how many answers are right."""

    right: int
    asked: int

    @property
    def share(self) -> float:
        """The share of right ones."""
        return self.right / max(self.asked, 1)

    def __str__(self) -> str:
        return f"{self.share:.4f} ({self.right} of {self.asked})"


def labelled_texts(model: str, trained: TrainedModel, path: Path) -> Questions | None:
    """The texts of a file with their right answers; None where the file has texts alone.

    A tagger's is CoNLL-U (``.conllu``), a classifier's has lines ``label<TAB>text`` with labels of the model, and that
    of ``seq2seq`` lines ``word<TAB>symbols``.

    Raises
    ------
    InputError
        If such a file cannot be read, or has labels that the model has not.
    """
    if model == "tagger" and path.suffix == ".conllu":
        return _tagged(trained, path)
    texts = [line for _, line in lines(path) if line.strip()]
    if not texts or any("\t" not in text for text in texts):
        return None
    if model == "classifier" and {text.partition("\t")[0].strip() for text in texts} <= set(trained.labels().names):
        every = read_labelled(path, trained.unit)
        return Questions([each.words for each in every], list(trained.labels().ids([each.label for each in every])))
    if model == "seq2seq":
        pairs, target = read_pairs(path), trained.vocabulary("target")
        return Questions(
            [pair.letters for pair in pairs], [np.append(target.ids(pair.phonemes), END) for pair in pairs]
        )
    return None


def _tagged(trained: TrainedModel, path: Path) -> Questions:
    """The sentences of a CoNLL-U file with the tags of the model's column."""
    names = set(trained.labels().names)
    for column in COLUMNS:
        with contextlib.suppress(InputError):  # where a column is empty, another may be the model's
            sentences = read_conllu(path, column=column)
            if names.issuperset(tag for each in sentences for tag in each.tags):
                break
    else:
        sentences = read_conllu(path, column=COLUMNS[0])
    answers = [trained.labels().ids(each.tags, f"{path}: the tags") for each in sentences]
    return Questions([each.words for each in sentences], answers)


def labelled_arrays(path: Path, classes: int, steps: bool) -> list[np.ndarray] | None:
    """The right answers of a file of arrays: ``labels`` (batch, seq_len) int64, cut at the lengths, or (batch,) where
    the model does not answer ``steps``; None where it has none.

    Raises
    ------
    InputError
        If they have another shape or dtype, or are no classes of the model.
    """
    tensors = {} if path.suffix == ".npy" else read(path)[0]
    if "labels" not in tensors or "x" not in tensors:
        return None
    labels, x = tensors["labels"], tensors["x"]
    shape = x.shape[:2] if steps else x.shape[:1]
    if labels.shape != shape or labels.dtype.kind != "i" or not ((labels >= 0) & (labels < classes)).all():
        what = f"whole numbers of shape {shape} from 0 to {classes - 1}"
        raise InputError(f"{path}: labels must be {what}; got {labels.dtype} {labels.shape}")
    if not steps:
        return list(labels)
    lengths = tensors.get("lengths", np.full(len(x), x.shape[1]))
    return [row[: int(length)] for row, length in zip(labels, lengths, strict=True)]


def rows(batch: Arrays, answer: Arrays) -> Iterator[np.ndarray]:
    """The answer to each row of a batch: its labels up to the length, its one label, or its tokens."""
    if "labels" not in answer:
        yield from best_tokens(answer)
    elif answer["labels"].ndim == 1:
        yield from answer["labels"]
    else:
        for labels, length in zip(answer["labels"], (~padding_mask(batch)).sum(axis=1), strict=True):
            yield labels[:length]


def right_among(given: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> Right:
    """How many of the wanted answers were given, place by place."""
    right = count = 0
    for one, other in zip(given, wanted, strict=True):
        mine, its = np.atleast_1d(one), np.atleast_1d(other)
        mine = np.pad(mine, (0, max(0, len(its) - len(mine))))[: len(its)]
        right, count = right + int((mine == its).sum()), count + len(its)
    return Right(right, count)
