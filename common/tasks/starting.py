"""Where the network of a task that reads words starts: drawn, from a file of word vectors, or from another task's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.data.embeddings import load_vectors
from common.data.examples import SequenceExample
from common.data.vocabulary import UNKNOWN, Vocabulary, build_vocabulary, vocabulary_from_json
from common.errors import InputError
from common.models.crf.scores import PREFIX
from common.models.specification import Arrays, Model, SequenceModel, initialise
from common.specification import NUM_DIRECTIONS, Specification
from common.tasks.checkpoint import read_checkpoint
from common.tasks.task import Options, Start


class Embedded(NamedTuple):
    """A model on embeddings, its first weights, and for each row of the embedding whether its word was in the file that
    it starts from, (num_embeddings,) bool; None where all is drawn.
    """

    spec: SequenceModel
    weights: Arrays
    known: np.ndarray | None


def read_start(path: Path) -> Start:
    """What a checkpoint brings for another task's network.

    Raises
    ------
    InputError
        If it is no checkpoint, or one of a model that reads no words.
    """
    checkpoint = read_checkpoint(path)
    spec = checkpoint.spec
    vocabularies = checkpoint.header.vocabularies
    if not isinstance(spec, SequenceModel) or "words" not in vocabularies:
        task = checkpoint.header.task
        raise InputError(f"{path}: must be a checkpoint of a sequence model that reads words; got one of {task}")
    words = vocabulary_from_json(vocabularies["words"], f"{path}: the vocabulary words")
    return Start(str(path), spec, words, checkpoint.weights)


def words_for(options: Options, sentences: Iterable[Sequence[str]], lowercase: bool) -> Vocabulary:
    """The vocabulary: the one that the network starts from, else that of the training sentences, in lower case or not.

    A start brings all its words, so that one which the training data lacks is known all the same.
    """
    if options.start is not None:
        return options.start.words
    return build_vocabulary(sentences, at_least=2, lowercase=lowercase)


def rnn_of_options(options: Options, input_size: int | None) -> Specification:
    """The RNN of a task, by options that a recipe has filled in."""
    return Specification.model_validate(
        {
            "cell": options.cell,
            "input_size": input_size,
            "hidden_size": options.hidden_size,
            "num_layers": options.num_layers,
            "bias": True,
            "merge": options.merge or ("concat" if options.directions == NUM_DIRECTIONS else None),
            "num_directions": options.directions,
        }
    )


def drawn_weights(spec: Model, options: Options) -> Arrays:
    """The first weights, drawn from the seed."""
    return initialise(spec, np.random.default_rng([options.seed, 1]))


def with_embedding(options: Options, words: Vocabulary, classes: int, readout: str) -> Embedded:
    """A model on embeddings, with its start, by options that a recipe has filled in.

    From another task's network come its embedding and its RNN, the linear layers are drawn; from a file of vectors the
    embedding alone.

    Raises
    ------
    InputError
        If the options contradict the start, there are two of them, or nothing that ``frozen`` could keep.
    """
    if options.start is not None and options.embeddings is not None:
        raise InputError(f"--from must stand without --embeddings, as it brings its own; got {options.embeddings}")
    if options.frozen and options.start is None and options.embeddings is None:
        raise InputError("--frozen needs --embeddings or --from: drawn embeddings that are not trained say nothing")
    changes = {"num_embeddings": len(words), "frozen_embedding": options.frozen, "readout": readout, "classes": classes}
    changes |= {"dropout": options.dropout or 0.0, "head": options.head}
    if options.start is not None:
        return _from_start(options, options.start, changes)
    vectors = None
    if options.embeddings is not None:
        vectors = load_vectors(options.embeddings, words, options.seed, options.embedding_size)
    width = options.embedding_size if vectors is None else vectors.matrix.shape[1]
    rnn = rnn_of_options(options, width)
    spec = SequenceModel.model_validate({"rnn": rnn, **changes})
    weights = drawn_weights(spec, options)
    if vectors is None:
        return Embedded(spec, weights, None)
    return Embedded(spec, weights | {"embedding": vectors.matrix}, vectors.known)


def _from_start(options: Options, start: Start, changes: dict[str, Any]) -> Embedded:
    """The model whose RNN and embedding are those that it starts from."""
    rnn = start.spec.rnn
    asked = {
        "--cell": (options.cell, rnn.cell),
        "--hidden-size": (options.hidden_size, rnn.hidden_size),
        "--num-layers": (options.num_layers, rnn.num_layers),
        "--merge": (options.merge, rnn.merge),
        "--embedding-size": (options.embedding_size, rnn.input_size),
        "--directions": (options.directions, rnn.num_directions),
    }
    for name, (given, there) in asked.items():
        if given not in (None, there):
            raise InputError(f"{name} must be {there}, as the RNN of --from {start.where} has it; got {given}")
    spec = SequenceModel.model_validate({"rnn": rnn, **changes})
    kept = {name: value for name, value in start.weights.items() if not name.startswith(("head.", PREFIX))}
    known = np.arange(len(start.words) if spec.num_embeddings else 0) != UNKNOWN
    return Embedded(spec, drawn_weights(spec, options) | kept, known)


def coverage(
    options: Options,
    known: np.ndarray | None,
    training: Sequence[SequenceExample],
    held_out: Sequence[SequenceExample],
) -> str:
    """How much of the text the start covers, in a sentence; empty where all is drawn."""
    if known is None:
        return ""
    where = options.embeddings if options.start is None else options.start.where
    shares = []
    for what, examples in (("training", training), ("held-out", held_out)):
        tokens = np.concatenate([example.inputs for example in examples])
        shares.append(f"{known[tokens].mean():.1%} of the {len(tokens):,} {what} tokens")
    words = np.unique(np.concatenate([example.inputs for example in training]))
    return f"{where} has {known[words].sum():,} of {len(words):,} training words: {' and '.join(shares)}"
