"""A trained model, of a checkpoint or from outside, and how texts become what it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from common.data.pronunciations import letters
from common.data.text import TokenUnit, tokens_of
from common.data.vocabulary import Labels, Vocabulary, labels_from_json, vocabulary_from_json
from common.entities.schemes import allowed, scheme_of
from common.errors import InputError
from common.models.batch import padding_mask
from common.models.crf.marginals import log_marginals
from common.models.crf.scores import ALLOWED, restricted, scores_of
from common.models.specification import Arrays, Model
from common.quantization.files import read_trained
from common.tasks.checkpoint import Checkpoint, unit_of

G2PM = "g2pm"
"""The name of the model that comes with the suite, trained by the authors of g2pM."""
SPLIT: dict[str, Callable[[str], tuple[str, ...]]] = {"seq2seq": letters, G2PM: lambda text: tuple(text)}
"""How a text falls into a model's tokens, where it is not by words."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model: its parameters, and what turns ids into words and labels again.

    ``checkpoint`` is what it was read from, None where it comes from outside; ``kind`` of its kernels' quantization,
    None where they are not quantized.
    """

    spec: Model
    weights: Arrays
    vocabularies: dict[str, Any]
    where: str
    checkpoint: Checkpoint | None = None
    kind: str | None = None

    def vocabulary(self, name: str) -> Vocabulary:
        """Read the vocabulary of a name."""
        return vocabulary_from_json(self.vocabularies[name], f"{self.where}: the vocabulary {name}")

    @property
    def unit(self) -> TokenUnit:
        """What its tokens are, where they are words or characters."""
        return unit_of(self.vocabularies)

    def split(self, model: str) -> Callable[[str], tuple[str, ...]]:
        """How a text falls into the tokens of the model of a task."""
        return SPLIT.get(model) or partial(tokens_of, unit=self.unit)

    def labels(self) -> Labels:
        """Read the labels."""
        return labels_from_json(self.vocabularies["labels"], f"{self.where}: the labels")

    def answers(self, model: str) -> tuple[str, ...]:
        """What each class of the model of a task is called; its number where it has no name."""
        if model == "masked":
            vocabulary = self.vocabulary("words")
            return tuple(vocabulary.spelled(range(len(vocabulary))))
        if model == G2PM:
            from common.data.g2pm_sentences import g2pm_labels

            return g2pm_labels().names
        return self.labels().names if "labels" in self.vocabularies else tuple(map(str, range(self.spec.num_answers)))

    def batch(self, model: str, words: Sequence[Sequence[str]], multiple: int = 1) -> Arrays:
        """The tokens of texts as a batch of the model of a task, padded to a multiple of some length, as every length
        may be compiled anew.
        """
        if model == G2PM:
            from common.data.g2pm_sentences import g2pm_tokens

            rows = [g2pm_tokens("".join(sentence)) for sentence in words]
        else:
            vocabulary = self.vocabulary("source" if self.spec.decodes else self.unit)
            if model == "masked":
                from common.data.examples import token_examples

                rows = [example.inputs for example in token_examples(words, vocabulary)]
            else:
                rows = [vocabulary.ids(list(sentence)) for sentence in words]
        lengths = np.array([len(row) for row in rows], np.int64)
        tokens = np.zeros((len(rows), -(-int(lengths.max()) // multiple) * multiple), np.int64)
        for filled, row in zip(tokens, rows, strict=True):
            filled[: len(row)] = row
        return {"tokens": tokens, "lengths": lengths}

    def allowed(self) -> Arrays:
        """What a batch needs so that a CRF's best paths are legal tags of entities; nothing where its labels mark none,
        or the model has no CRF.
        """
        if self.spec.head != "crf" or "labels" not in self.vocabularies:
            return {}
        names = self.labels().names
        scheme = scheme_of(names)
        return {} if scheme is None else {ALLOWED: allowed(names, scheme)}

    def with_marginals(self, batch: Arrays, answer: Arrays) -> Arrays:
        """A CRF's answer with the logarithms of its labels' probabilities as ``marginals`` (batch, seq_len, classes),
        over all paths that the batch allows, from the network's logits in float64; any other's as it is.
        """
        if self.spec.head != "crf":
            return answer
        scores = restricted(scores_of(self.weights), batch.get(ALLOWED))
        marginals = log_marginals(answer["logits"].astype(np.float64), ~padding_mask(batch), scores)
        return answer | {"marginals": marginals}


def trained_model(model: str, checkpoint: Path | None) -> TrainedModel:
    """The model of a task: that of a checkpoint, or g2pM's own.

    Raises
    ------
    InputError
        If there is no checkpoint, or one of another task.
    """
    return _g2pm() if model == G2PM else _from_checkpoint(model, checkpoint)


def _from_checkpoint(model: str, path: Path | None) -> TrainedModel:
    """The model of a checkpoint; an ``InputError`` where it is one of another task."""
    if path is None:
        raise InputError(f"--checkpoint must name a file that birnn train {model} has written; got none")
    checkpoint, kind = read_trained(path)
    if checkpoint.header.task != model:
        raise InputError(f"{path}: must be a checkpoint of {model}; got one of {checkpoint.header.task}")
    header = checkpoint.header
    return TrainedModel(checkpoint.spec, checkpoint.weights, header.vocabularies, str(path), checkpoint, kind)


def _g2pm() -> TrainedModel:
    """The model that comes with the suite."""
    from common.data.g2pm_sentences import g2pm_spec, g2pm_weights

    return TrainedModel(g2pm_spec(), g2pm_weights(), {}, "g2pM")
