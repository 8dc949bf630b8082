"""What ``birnn embed`` does: the contextual vectors of a sentence's words, and what lies near them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from backends.interface.gaps import DEVICES
from backends.pool.network import RemoteNetwork
from birnn import exit_codes
from birnn.commands.answers.asking import Chosen, with_network
from birnn.commands.answers.showing import check_out, json_text
from birnn.commands.answers.trained import G2PM, SPLIT, TrainedModel, trained_model
from birnn.display import close_table, say, say_written, stdout
from birnn.options import one_of
from common.answers.neighbours import Nearest
from common.data.conllu import read_conllu
from common.data.text import read_sentences
from common.errors import InputError, shown
from common.models.specification import Arrays
from common.output import write_bytes
from common.tasks.building import LENGTHS
from common.tasks.task import LANGUAGE, NAMES

SENTENCES_AT_ONCE = 64
"""How many sentences of a file are run at once."""
SHOWN_NUMBERS = 6
"""How many numbers of a vector are printed; all of them are in the JSON."""
NEARBY = 4
"""How many words on either side of a neighbour are printed."""
Words = tuple[str, ...]
"""The tokens of a sentence."""
Occurrence = tuple[Words, int]
"""A sentence, and which of its tokens is meant."""


@dataclass(frozen=True)
class Looking:
    """The arguments of ``birnn embed``; ``data`` is where neighbours are looked for, ``k`` how many."""

    model: str
    sentence: str
    word: str | None
    checkpoint: Path | None
    data: Path | None
    k: int
    chosen: Chosen
    as_json: bool
    out: Path | None


@dataclass(frozen=True)
class Embedded:
    """A word's contextual vector (output_size,), the nearest ones of the file's words, and the words whose static
    embeddings lie nearest to its own.
    """

    index: int
    token: str
    vector: np.ndarray
    neighbours: list[tuple[float, Occurrence]]
    static: list[tuple[float, str]]

    def as_json(self) -> dict[str, Any]:
        """The vector and its neighbours as a JSON object; places are counted from 1."""
        near = [
            {"cosine": cosine, "token": words[index], "place": index + 1, "sentence": " ".join(words)}
            for cosine, (words, index) in self.neighbours
        ]
        return {
            "place": self.index + 1,
            "token": self.token,
            "vector": [float(number) for number in self.vector],
            "neighbours": near,
            "static": [{"cosine": cosine, "token": token} for cosine, token in self.static],
        }


def embed(looking: Looking) -> int:
    """Look, and print; the exit code."""
    one_of("MODEL", looking.model, (*NAMES, G2PM))
    one_of("--dtype", looking.chosen.dtype, ("float32", "float64"))
    one_of("--device", looking.chosen.device, DEVICES)
    if looking.out is not None:
        check_out(looking.out, (".json",))
    trained = trained_model(looking.model, looking.checkpoint)
    if trained.spec.num_tokens is None or trained.spec.decodes or looking.model == LANGUAGE:
        raise InputError(f"embed must be asked of a model that reads words and labels them; got {looking.model}")
    if trained.unit == "characters":
        raise InputError(f"embed must be asked of a model that reads words; got a {looking.model} of characters")
    words = trained.split(looking.model)(looking.sentence)
    asked = asked_about(looking.word, words)
    others = [] if looking.data is None else [each for each in _sentences(looking) if each != words]
    parts = list(_parts(looking.model, trained, [words], others))
    largest = max((batch for _, batch in parts), key=lambda batch: batch["tokens"].shape[1])
    seen: dict[str, Any] = {}

    def use(network: RemoteNetwork) -> None:
        for number, (part, batch) in enumerate(parts):
            vectors = _vectors(looking.model, network, part, batch)
            if number == 0:
                seen["own"] = vectors[0][asked]
                seen["nearest"] = Nearest[Occurrence](seen["own"], looking.k)
                continue
            for sentence, of_sentence in zip(part, vectors, strict=True):
                seen["nearest"].add(of_sentence, [(sentence, i) for i in range(len(sentence))])

    code, implementation = with_network(looking.chosen, trained.spec, trained.weights, largest, use)
    if code != exit_codes.AGREED:
        return code
    static = _static(looking, trained, words, asked)
    near = [[(each.cosine, each.item) for each in row] for row in seen["nearest"].neighbours]
    every = [
        Embedded(index, words[index], vector, *both)
        for index, vector, *both in zip(asked, seen["own"], near, static, strict=True)
    ]
    show(looking, trained, words, every, implementation)
    return exit_codes.AGREED


def asked_about(word: str | None, words: Sequence[str]) -> list[int]:
    """The tokens that ``WORD`` or ``WORD:N`` means, from 0 on; all of them where no word is given.

    Raises
    ------
    InputError
        If the sentence has no such word, or has it several times and none is chosen.
    """
    if not words:
        raise InputError("a sentence must hold at least one word; got none")
    if word is None:
        return list(range(len(words)))
    places = [i for i, each in enumerate(words) if each == word]
    name, colon, number = word.rpartition(":")
    if not places and colon and name and number.isdecimal():
        places = [i for i, each in enumerate(words) if each == name]
        if not 1 <= int(number) <= len(places):
            raise InputError(
                f"--word must name a word that stands in the sentence; {shown(name)} is there {len(places)} times; "
                f"got {shown(word)}"
            )
        places = places[int(number) - 1 : int(number)]
    if not places:
        raise InputError(f"--word must be a word of the sentence, one of {' '.join(words)}; got {shown(word)}")
    if len(places) > 1:
        raise InputError(
            f"--word must say which one, as {word}:1 or {word}:{len(places)}, where the word stands {len(places)} "
            f"times in the sentence; got {shown(word)}"
        )
    return places


def _sentences(looking: Looking) -> list[Words]:
    """The sentences of ``--data``, each once."""
    assert looking.data is not None
    if looking.data.suffix == ".conllu":
        return list(dict.fromkeys(sentence.words for sentence in read_conllu(looking.data, tagged=False)))
    sentences = read_sentences(looking.data)
    if looking.model in SPLIT:  # characters, whatever the words
        return list(dict.fromkeys(SPLIT[looking.model]("".join(words)) for words in sentences))
    return list(dict.fromkeys(sentences))


def _parts(
    model: str, trained: TrainedModel, own: list[Words], others: list[Words]
) -> Iterator[tuple[list[Words], Arrays]]:
    """The sentence that was asked about, then all others, sentences of nearly one length together, with batches."""
    yield own, trained.batch(model, own)
    ordered = sorted(others, key=len)
    for start in range(0, len(ordered), SENTENCES_AT_ONCE):
        part = ordered[start : start + SENTENCES_AT_ONCE]
        yield part, trained.batch(model, part, LENGTHS)


def _vectors(model: str, network: RemoteNetwork, words: Sequence[Words], batch: Arrays) -> list[np.ndarray]:
    """The vectors of each sentence's tokens, (tokens, output_size)."""
    (answer,) = network.answers("predict", [batch])
    start = 1 if model == G2PM else 0  # its start token stands before the first character
    return [row[start : start + len(sentence)] for row, sentence in zip(answer["vectors"], words, strict=True)]


def _static(
    looking: Looking, trained: TrainedModel, words: Words, asked: Sequence[int]
) -> list[list[tuple[float, str]]]:
    """The words whose embeddings lie nearest to that of each word that is asked about; none for g2pM, whose characters
    are not in the suite's vocabularies.
    """
    if looking.model == G2PM:
        return [[] for _ in asked]
    vocabulary = trained.vocabulary(trained.spec.vocabulary)
    ids = vocabulary.ids([words[i] for i in asked])
    table = trained.weights["embedding"]
    nearest = Nearest[int](table[ids], looking.k + 1)
    nearest.add(table, list(range(len(table))))
    names = vocabulary.spelled(range(len(vocabulary)))
    return [
        [(each.cosine, names[each.item]) for each in row if each.item != own][: looking.k]
        for own, row in zip(ids, nearest.neighbours, strict=True)
    ]


def show(looking: Looking, trained: TrainedModel, words: Words, every: Sequence[Embedded], implementation: str) -> None:
    """Print what was found as text or JSON, or write the JSON to a file and say so."""
    content = {
        "version": 1,
        "model": looking.model,
        "implementation": implementation,
        "directions": trained.spec.recurrent.num_directions,
        "merge": trained.spec.recurrent.merge,
        "sentence": " ".join(words),
        "words": [each.as_json() for each in every],
    }
    if looking.out is not None:
        write_bytes(looking.out, f"{json_text(content)}\n".encode())
        say_written(looking.out, "the vectors")
    if looking.as_json:
        say(json_text(content))
    elif looking.out is None:
        for each in every:
            print_embedded(stdout(), trained, words, each)


def print_embedded(console: Console, trained: TrainedModel, words: Words, embedded: Embedded) -> None:
    """A line on the vector, and tables of what lies near it and near the static embedding."""
    numbers = " ".join(f"{number:.4f}" for number in embedded.vector[:SHOWN_NUMBERS])
    more = " …" if len(embedded.vector) > SHOWN_NUMBERS else ""
    rnn = trained.spec.recurrent
    halves = f", {' + '.join(map(str, rnn.hidden_sizes))} forward and reverse" if rnn.merge == "concat" else ""
    console.print(
        f"{in_context((words, embedded.index))}: {len(embedded.vector)} numbers{halves}: {numbers}{more}",
        markup=False,
        soft_wrap=True,
    )
    if embedded.neighbours:
        table = close_table("nearest by contextual vector")
        table.add_column("cosine", justify="right", no_wrap=True)
        table.add_column("word in its sentence", overflow="fold")
        for cosine, occurrence in embedded.neighbours:
            table.add_row(f"{cosine:.4f}", escape(in_context(occurrence)))
        console.print(table)
    if embedded.static:
        near = ", ".join(f"{token} {cosine:.4f}" for cosine, token in embedded.static)
        console.print(f"nearest by static embedding, whatever the sentence: {near}", markup=False, soft_wrap=True)


def in_context(occurrence: Occurrence) -> str:
    """A word in brackets between its neighbours in the sentence."""
    words, index = occurrence
    start, end = max(index - NEARBY, 0), index + 1 + NEARBY
    before, behind = words[start:index], words[index + 1 : end]
    cut = ["…"] if start > 0 else [], ["…"] if end < len(words) else []
    return " ".join([*cut[0], *before, f"[{words[index]}]", *behind, *cut[1]])
