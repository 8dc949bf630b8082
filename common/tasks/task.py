"""What a task is: a model, its first weights, examples to train on and held-out ones to judge by, all from one seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from common.data.batching import Batching, batches, evaluation_batches
from common.data.examples import Example, split
from common.data.text import TokenUnit
from common.data.vocabulary import Vocabulary
from common.errors import InputError
from common.models.batch import Batch, counted, labels, sizes
from common.models.crf.scores import ALLOWED
from common.models.optimizers import OptimizerSettings
from common.models.specification import Arrays, Model, SequenceModel, model_as_json
from common.specification import Cell, Directions, Merge
from common.tensorfile import as_bytes

LANGUAGE = "language"
"""The task whose labels are the next tokens, and which is judged by a perplexity, too."""
NAMES = ("pipeline", "tagger", "classifier", "seq2seq", "masked", LANGUAGE)
"""The names of the tasks."""
VALIDATION = 0.1
"""The share of the training examples that is held out to tell when to stop, where that is asked for."""


@dataclass(frozen=True)
class Start:
    """A trained network that another task's starts from: ``where`` it was found, its specification, its vocabulary and
    its parameters by canonical name.
    """

    where: str
    spec: SequenceModel
    words: Vocabulary
    weights: Arrays


@dataclass(frozen=True)
class Options:
    """What a user may choose of a task; None leaves the task's own default.

    ``data`` are files: for training, and optionally for judging; without the second a share of the first is held out.
    ``limit`` is how many examples of the training data are used at most. ``embeddings`` is a file of word vectors,
    ``start`` another task's network. ``forcing`` is the share of teacher forcing; ``unit`` what the tokens of a
    language model are. ``column`` is what a tagger reads as tags, ``scheme`` how these mark entities (one of
    ``common.entities.schemes.SCHEMES``), and ``constraints`` whether a CRF answers legal ones alone. ``validation`` is
    whether some training examples are held out to tell when to stop.
    """

    data: tuple[Path, ...] = ()
    cell: Cell | None = None
    hidden_size: int | None = None
    num_layers: int | None = None
    merge: Merge | None = None
    directions: Directions = 2
    embedding_size: int | None = None
    embeddings: Path | None = None
    frozen: bool = False
    dropout: float | None = None
    attention: bool = True
    decoder: str = "gru"
    decoder_dropout: float = 0.0
    forcing: float = 1.0
    unit: TokenUnit | None = None
    batch_size: int | None = None
    limit: int | None = None
    seed: int = 0
    start: Start | None = None
    head: str = "softmax"
    column: str | None = None
    scheme: str = "auto"
    constraints: bool = True
    validation: bool = False


@dataclass(frozen=True)
class Baseline:
    """A trivial answer's share of right ones on the held-out examples, and what it is; of the next token, where it is
    judged so, the perplexity by frequency alone, too; of entities their F1, and what no entity at all has right.
    """

    accuracy: float
    what: str
    perplexity: float | None = None
    entity_f1: float | None = None
    outside: float | None = None


@dataclass(frozen=True)
class Task:
    """A model with its data.

    ``vocabularies`` is a JSON object: what turns ids into words and labels again, kept in checkpoints; ``epochs`` and
    ``optimizer`` are defaults. ``coverage`` says how much of the text the file has that the network starts from; empty
    where all is drawn. ``scheme`` is that of labels which mark entities; ``allowed`` what a CRF's answers may do, None
    where that is anything. ``validation`` are examples that are neither trained on nor reported on, by whose loss
    training may be stopped.
    """

    name: str
    spec: Model
    weights: Arrays
    training: Sequence[Example]
    held_out: Sequence[Example]
    batching: Batching
    baseline: Baseline
    seed: int
    epochs: int
    optimizer: OptimizerSettings
    vocabularies: dict[str, Any] = field(default_factory=dict)
    coverage: str = ""
    scheme: str | None = None
    allowed: np.ndarray | None = None
    validation: Sequence[Example] = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """What each label is called, where the task has names for them."""
        return tuple(self.vocabularies["labels"]["names"])

    @property
    def has_perplexity(self) -> bool:
        """Whether its answers are next tokens, of which there is a perplexity."""
        return self.name == LANGUAGE

    def epoch(self, number: int) -> list[Arrays]:
        """The training batches of an epoch, from 0 on: the same ones every time."""
        return list(batches(self.spec, self.training, self.batching, self.seed, number))

    def evaluation(self) -> list[Arrays]:
        """Labelled batches of the held-out examples."""
        return list(evaluation_batches(self.held_out, self.batching, self.seed))

    def validation_batches(self) -> list[Arrays]:
        """Labelled batches of the validation examples, of targets with every step forced: their loss is then that of
        the right answers, whatever a decoder would write itself.
        """
        if not self.validation:
            return []
        return list(evaluation_batches(self.validation, self.batching, self.seed, forced=True))

    def with_validation(self) -> Task:
        """The task with a share of ``VALIDATION`` of its training examples held out, drawn from the seed.

        Its vocabularies and its baseline are those of all training examples.

        Raises
        ------
        InputError
            If there are too few, or no position of what is held out counts.
        """
        if len(self.training) < 2:
            raise InputError(
                f"--patience needs two training examples at least, to hold some out; got {len(self.training)}"
            )
        training, validation = split(self.training, VALIDATION, self.seed)
        task = replace(self, training=training, validation=validation)
        if not any(counted(self.spec, batch).any() for batch in task.validation_batches()):
            raise InputError(
                f"--patience needs validation examples with a label that counts; none of {len(validation)} has one"
            )
        return task

    def largest(self) -> Arrays:
        """The batch of the first epoch that asks most of an implementation: ragged if one is, with the most steps."""

        def demand(batch: Arrays) -> tuple[bool, int]:
            steps = sizes(batch)[1]
            return bool((batch.get("lengths", steps) < np.int64(steps)).any()), steps

        return max(self.epoch(0), key=demand)

    def fingerprint(self) -> str:
        """SHA-256 of the model, its first weights and vocabularies, the first epoch's batches and those held out."""
        digest = hashlib.sha256(json.dumps([model_as_json(self.spec), self.vocabularies], sort_keys=True).encode())
        digest.update(as_bytes(self.weights, {}))
        if self.allowed is not None:
            digest.update(self.allowed.tobytes())
        for batch in [*self.epoch(0), *self.evaluation(), *self.validation_batches()]:
            digest.update(as_bytes({name: np.asarray(value) for name, value in batch.items()}, {}))
        return digest.hexdigest()

    def asked(self, batch: Batch) -> Arrays:
        """What a network is asked for the answers to a labelled batch."""
        return unlabelled(batch) | ({} if self.allowed is None else {ALLOWED: self.allowed})

    def max_steps(self) -> int:
        """How long a decoder's answers to the held-out examples may get."""
        return max(batch["targets"].shape[1] for batch in self.evaluation())


def unlabelled(batch: Batch) -> Arrays:
    """What of a batch is there at prediction."""
    return {name: value for name, value in batch.items() if name in ("x", "tokens", "lengths")}


def right_answers(spec: Model, batch: Batch, answer: np.ndarray) -> tuple[int, int]:
    """How many counted positions of a labelled batch an answer has right, and how many there are.

    ``answer`` is the labels of ``predict``, or the tokens of ``decode`` (batch, max_steps), which are compared place
    by place.
    """
    right = labels(spec, batch)
    if spec.decodes:
        width = right.shape[1]
        answer = np.pad(answer, ((0, 0), (0, max(0, width - answer.shape[1]))))[:, :width]
    where = counted(spec, batch)
    return int(((answer == right) & where).sum()), int(where.sum())
