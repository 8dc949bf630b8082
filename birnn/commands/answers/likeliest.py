"""The likeliest answers of a sequence model at every place that it is asked about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.answers.probabilities import likeliest
from common.data.text import GAP
from common.data.vocabulary import Vocabulary
from common.errors import InputError
from common.models.specification import Arrays
from common.tasks.language import spelled


@dataclass(frozen=True)
class Answer:
    """One of the answers at a place, and its probability."""

    answer: str
    probability: float


@dataclass(frozen=True)
class Place:
    """A place that a model was asked about: a token of a text, from 0 on, or, with None, the whole of it."""

    index: int | None
    token: str
    answers: tuple[Answer, ...]

    @property
    def number(self) -> int | None:
        """Which token of the text it is, counted from 1; None for the whole of it."""
        return None if self.index is None else self.index + 1


@dataclass(frozen=True)
class Answered:
    """A text, or "" where arrays were given, and what was answered at each of its places."""

    text: str
    places: tuple[Place, ...]

    def as_json(self) -> dict[str, Any]:
        """The answers as a JSON object."""
        places = [
            {"place": place.number, "token": place.token, "answers": [vars(each) for each in place.answers]}
            for place in self.places
        ]
        return {"text": self.text, "places": places}


def check_k(k: int, names: Sequence[str]) -> None:
    """Raise an ``InputError`` where more answers are asked for than a model can give."""
    if k > len(names):
        raise InputError(f"--top must be at most {len(names)}, the classes of the model; got {k}")


def places_asked(model: str, words: Sequence[Sequence[str]]) -> list[list[int]]:
    """The tokens of each text that are asked about: gaps, polyphonic characters, or all of them.

    Raises
    ------
    InputError
        If there is none in any text.
    """
    if model == "masked":
        asked = [[i for i, word in enumerate(text) if word == GAP] for text in words]
        if not any(asked):
            raise InputError(f"a text must have a gap, written {GAP}, to be filled; got {' '.join(words[0])!r}")
        return asked
    if model == "g2pm":
        from common.data.g2pm_sentences import g2pm_polyphones

        places = {(each.sentence, each.index) for each in g2pm_polyphones(tuple("".join(text) for text in words))}
        if not places:
            raise InputError(f"a text must have a character of several readings; got {''.join(words[0])!r}")
        return [[i for i in range(len(text)) if (row, i) in places] for row, text in enumerate(words)]
    return [list(range(len(text))) for text in words]


def answered(
    model: str, names: Sequence[str], batch: Mapping[str, np.ndarray], words: Sequence[Sequence[str]], answer: Arrays,
    k: int,
    unit: str = "words",
) -> Iterator[Answered]:  # fmt: skip
    """The k likeliest answers at every place of a batch, text by text.

    Parameters
    ----------
    model
        The name of the task.
    names
        What each class is called.
    batch
        What the model was given; its lengths count where it was given arrays.
    words
        The tokens of each text, or nothing where it was given arrays.
    answer
        ``logits`` (batch, seq_len, classes) or (batch, classes); of a CRF ``marginals``, too, which are what counts.
    k
        How many, at most the number of classes.
    unit
        What the tokens are, where the answer is to a whole text: words or characters.
    """
    ids, shares = likeliest(answer.get("marginals", answer["logits"]), k)
    if ids.ndim == 2:
        for row in range(len(ids)):
            text = spelled(words[row], unit) if words else ""
            yield Answered(text, (Place(None, text, _named(names, ids[row], shares[row])),))
        return
    asked: Sequence[Sequence[int]]
    if words:
        asked = places_asked(model, words)
    else:
        lengths = batch.get("lengths", np.full(len(ids), ids.shape[1]))
        asked = [range(length) for length in lengths]
    start = 1 if model == "g2pm" else 0  # its start token stands before the first character
    joint = "" if model == "g2pm" else " "
    for row, indices in enumerate(asked):
        text = joint.join(words[row]) if words else ""
        places = (
            Place(i, words[row][i] if words else "", _named(names, ids[row, i + start], shares[row, i + start]))
            for i in indices
        )
        yield Answered(text, tuple(places))


def best_tokens(answer: Arrays) -> np.ndarray:
    """A decoder's answer to each row, (batch, max_steps): the greedy one, or the first that a beam has found."""
    tokens = answer["tokens"]
    return tokens if tokens.ndim == 2 else tokens[:, 0]


def written_answers(
    target: Vocabulary, words: Sequence[Sequence[str]], answer: Arrays, k: int
) -> Iterator[Answered]:  # fmt: skip
    """The k likeliest answers that a beam has found for each word, with the probability of the whole of each."""
    for word, tokens, scores in zip(words, answer["tokens"], answer["scores"], strict=True):
        every = tuple(
            Answer(" ".join(target.answer(each)), float(np.exp(score)))
            for each, score in zip(tokens[:k], scores[:k], strict=True)
            if score > -np.inf
        )
        text = "".join(word)
        yield Answered(text, (Place(None, text, every),))


def _named(names: Sequence[str], ids: np.ndarray, shares: np.ndarray) -> tuple[Answer, ...]:
    """Classes by their names, with their probabilities."""
    return tuple(Answer(names[int(i)], float(share)) for i, share in zip(ids, shares, strict=True))
