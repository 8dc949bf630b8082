"""What the tagger reads and is judged by: tagged sentences of a treebank or of columns, and entities where tags mark
them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.data.batching import Batching, evaluation_batches
from common.data.columns import read_columns
from common.data.conllu import Sentence, is_conllu, read_conllu
from common.data.examples import SequenceExample, split
from common.data.files import broken
from common.entities.schemes import OUTSIDE, SCHEMES, broken_at, from_iob1, one_of_several, scheme_of, several
from common.entities.scores import EntityScore, score
from common.errors import InputError, shown
from common.models.batch import Batch, padding_mask
from common.models.specification import Model
from common.tasks.task import Baseline, Options, right_answers


class Tagged(NamedTuple):
    """Sentences to train on and to judge by, and the scheme of their tags, None where these mark no entities."""

    training: list[Sentence]
    held_out: list[Sentence]
    scheme: str | None


def read_tagged(options: Options, paths: Sequence[Path], held_out: float) -> Tagged:
    """The sentences of one or two files, CoNLL-U or columns; of one, a share is held out.

    Raises
    ------
    InputError
        If a file cannot be read, ``column`` is none of its, or its tags are not legal in the scheme.
    """
    if options.scheme not in SCHEMES:
        raise InputError(f"--scheme must be one of {', '.join(SCHEMES)}; got {shown(options.scheme)}")
    files = [_read(path, options.column) for path in paths]
    told = scheme_of(one for sentences in files for each in sentences for tag in each.tags for one in several(tag))
    chosen = {"auto": told, "iob1": "bio", "none": None}.get(options.scheme, options.scheme)
    if chosen is not None:
        files = [[replace(each, tags=one_of_several(each.tags, chosen)) for each in part] for part in files]
    if options.scheme == "iob1":
        files = [[replace(each, tags=from_iob1(each.tags)) for each in part] for part in files]
    if chosen is not None:
        for path, sentences in zip(paths, files, strict=True):
            _check_legal(path, sentences, chosen)
    first, second = files if len(files) == 2 else split(files[0], held_out, options.seed)
    return Tagged(first[: options.limit], second, chosen)


def _read(path: Path, column: str | None) -> list[Sentence]:
    """The sentences of a file of either kind."""
    if is_conllu(path):
        return read_conllu(path, column=column or "upos")
    if column is not None and not (column.isdecimal() and 2 <= int(column) <= 1000):
        raise InputError(f"--column must be a number from 2 on for {path}, which has columns; got {shown(column)}")
    return read_columns(path, None if column is None else int(column))


def _check_legal(path: Path, sentences: Iterable[Sentence], scheme: str) -> None:
    """Raise an ``InputError`` for the first tag that breaks a scheme."""
    for sentence in sentences:
        wrong = broken_at(sentence.tags, scheme)
        if wrong is not None:
            index, how = wrong
            others = "--scheme none: tags mark no entities"
            others = f"{others}; iob1: where none goes on, I begins one" if scheme == "bio" else others
            rule = f"must have a tag that is legal {scheme.upper()} ({others})"
            raise broken(path, sentence.lines[index], rule, f"{sentence.tags[index]}, which {how}")


def tag_of_each_word(
    spec: Model,
    training: Sequence[SequenceExample],
    held_out: Sequence[SequenceExample],
    batching: Batching,
    names: Sequence[str],
    scheme: str | None,
) -> Baseline:
    """Each word's most common tag in the training data; of entities their F1 so, and what ``O`` has right."""
    counts: dict[int, Counter[int]] = {}
    for example in training:
        assert example.labels is not None
        for word, tag in zip(example.inputs.tolist(), example.labels.tolist(), strict=True):
            counts.setdefault(word, Counter())[tag] += 1
    of_word = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    overall = sum(counts.values(), Counter()).most_common(1)[0][0]
    right = total = outside = 0
    entities = EntityScore()
    for batch in evaluation_batches(held_out, batching):
        answer = np.vectorize(lambda word: of_word.get(int(word), overall))(batch["tokens"])
        tags = right_answers(spec, batch, answer)
        right, total = right + tags[0], total + tags[1]
        if scheme is not None:
            entities += entity_score(names, batch, answer)
            outside += right_answers(spec, batch, np.full_like(answer, names.index(OUTSIDE)))[0]
    baseline = Baseline(right / total, "each word's most common tag")
    return baseline if scheme is None else replace(baseline, entity_f1=entities.f1, outside=outside / total)


def entity_score(names: Sequence[str], batch: Batch, answer: np.ndarray) -> EntityScore:
    """The score of the entities in an answer's labels (batch, seq_len) for a labelled batch; ``names`` are the labels'.

    Raises
    ------
    IndexError
        If an answer is no label.
    """
    lengths = (~padding_mask(batch)).sum(axis=1)

    def tags(labels: np.ndarray) -> list[list[str]]:
        return [[names[int(i)] for i in row[:length]] for row, length in zip(labels, lengths, strict=True)]

    return score(tags(batch["labels"]), tags(answer))
