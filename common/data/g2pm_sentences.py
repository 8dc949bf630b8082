"""A trained model from outside: g2pM's tagger of Mandarin polyphones as a sequence model, and real sentences for it.

g2pM (Park and Lee 2020, arXiv:2004.03136; PyPI package g2pM, Apache-2.0): embedding (5398, 64) → bidirectional LSTM
of 32 units → linear, ReLU, linear → 876 pronunciations, answered for the characters that its dictionary gives more
than one pronunciation. The sentences are in g2pm_sentences.txt, with their origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from common import weights
from common.data.files import lines
from common.data.vocabulary import Labels
from common.models.small_cases import ModelCase
from common.models.specification import Arrays, SequenceModel
from common.specification import Specification
from common.weights import with_prefix

SENTENCES_FILE = Path(__file__).with_name("g2pm_sentences.txt")
"""The file with the sentences."""


@dataclass(frozen=True)
class Polyphone:
    """A character to pronounce: the sentence's number, the character's index in it, and g2pM's own answer."""

    sentence: int
    index: int
    character: str
    answer: str


@cache
def _g2pm() -> Any:
    """The model of the package, loaded."""
    from g2pM import G2pM

    return G2pM()


def g2pm_spec() -> SequenceModel:
    """The network's specification."""
    model = _g2pm()
    rnn = Specification(
        cell="lstm",
        input_size=model.embeddings.shape[1],
        hidden_size=model.weight_hh.shape[1],
        num_layers=1,
        bias=True,
        merge="concat",
    )
    return SequenceModel(
        rnn=rnn,
        num_embeddings=model.embeddings.shape[0],
        readout="steps",
        hidden=(model.hidden_weight_l0.shape[0],),
        classes=model.hidden_weight_l1.shape[0],
    )


def g2pm_weights() -> Arrays:
    """The trained weights under their canonical names, float64 (float32 in the package)."""
    model = _g2pm()
    rnn = {name: getattr(model, name.replace("_l0", "")) for name in weights.shapes(g2pm_spec().rnn)}
    arrays = {"embedding": model.embeddings, **with_prefix("rnn.", rnn)}
    for layer in range(2):
        arrays[f"head.{layer}.weight"] = getattr(model, f"hidden_weight_l{layer}")
        arrays[f"head.{layer}.bias"] = getattr(model, f"hidden_bias_l{layer}")
    return {name: array.astype(np.float64) for name, array in arrays.items()}


def g2pm_labels() -> Labels:
    """The pronunciations (pinyin with the tone's number) in the order of their ids."""
    names = _g2pm().idx2class
    return Labels(names=tuple(names[i] for i in range(len(names))))


@cache
def g2pm_sentences() -> tuple[str, ...]:
    """The sentences of g2pm_sentences.txt."""
    return tuple(line for _, line in lines(SENTENCES_FILE) if not line.startswith("#"))


def g2pm_tokens(sentence: str) -> np.ndarray:
    """Ids of g2pM's start, the characters and its end, (len(sentence) + 2,) int64."""
    from g2pM.g2pM import BOS_TOKEN, EOS_TOKEN, UNK_TOKEN

    ids = _g2pm().char2idx
    characters = (ids.get(character, ids[UNK_TOKEN]) for character in sentence)
    return np.array([ids[BOS_TOKEN], *characters, ids[EOS_TOKEN]], np.int64)


@cache
def g2pm_polyphones(sentences: tuple[str, ...] | None = None) -> tuple[Polyphone, ...]:
    """Every polyphone of the sentences (of ``g2pm_sentences`` unless given) with the answer of g2pM's own code, which
    takes 0.4 s for them all: a process asks it once.
    """
    model = _g2pm()
    polyphones = []
    for number, sentence in enumerate(g2pm_sentences() if sentences is None else sentences):
        answers = model(sentence, char_split=True)  # one for each character
        for index, character in enumerate(sentence):
            if len(model.cedict.get(character, ())) > 1:
                polyphones.append(Polyphone(number, index, character, answers[index]))
    return tuple(polyphones)


def g2pm_batch(sentences: tuple[str, ...] | None = None) -> Arrays:
    """The sentences (``g2pm_sentences`` unless given) as one batch: ``tokens``, ``lengths``; as ``labels`` g2pM's own
    answers, and ``counted`` where a polyphone is.
    """
    rows = [g2pm_tokens(sentence) for sentence in (g2pm_sentences() if sentences is None else sentences)]
    lengths = np.array([len(row) for row in rows], np.int64)
    tokens = np.zeros((len(rows), int(lengths.max())), np.int64)  # 0 is g2pM's padding
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = ids
    labels, counted = np.zeros_like(tokens), np.zeros(tokens.shape, bool)
    polyphones = g2pm_polyphones(sentences)
    answers = g2pm_labels().ids([polyphone.answer for polyphone in polyphones])
    for polyphone, answer in zip(polyphones, answers, strict=True):
        place = polyphone.sentence, polyphone.index + 1  # the start token stands before the first character
        labels[place], counted[place] = answer, True
    return {"tokens": tokens, "lengths": lengths, "labels": labels, "counted": counted}


def g2pm_model_case() -> ModelCase:
    """The trained network on all sentences: every polyphone's label is g2pM's own answer."""
    return ModelCase("g2pm-trained", g2pm_spec(), g2pm_weights(), g2pm_batch(), answered=True)
