"""Made-up batches, and the small model cases by which every framework's models are verified."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from common.cases.builtin import CELLS, FORWARD
from common.models.batch import Batch, decoder_dropout_factors, dropout_factors
from common.models.crf.scores import PREFIX
from common.models.specification import (
    END,
    PADDING,
    START,
    Arrays,
    Model,
    Seq2Seq,
    SequenceModel,
    initialise,
)
from common.specification import Specification

GARBAGE_SCALE = 10.0
"""The standard deviation of what padding holds."""


@dataclass(frozen=True)
class BatchShape:
    """Sizes of a batch; ``target_len`` counts for an encoder–decoder alone. Not ``ragged``: all rows are full."""

    rows: int
    steps: int
    target_len: int = 1
    ragged: bool = True


def random_batch(
    spec: Model,
    shape: BatchShape,
    rng: np.random.Generator,
    training: bool = True,
    lengths: Sequence[int] | None = None,
) -> Batch:
    """A labelled batch: features from N(0, 1), uniform tokens and labels, ``lengths`` or lengths from 1 to full (one
    row is); some of the labels count.

    What lies past a length is garbage: features from N(0, 10²), any token, any label. With ``training`` it holds
    dropout's factors where the model has dropout.
    """
    batch: Arrays = {}
    drawn = _lengths(shape.rows, shape.steps, rng)
    if lengths is not None:
        drawn = np.array(lengths, np.int64)
    if shape.ragged or spec.decodes:
        batch["lengths"] = drawn if shape.ragged else np.full(shape.rows, shape.steps, np.int64)
    real = np.arange(shape.steps) < batch.get("lengths", np.full(shape.rows, shape.steps))[:, None]
    if spec.num_tokens is None:
        x = rng.normal(size=(*real.shape, spec.recurrent.input_size))
        batch["x"] = np.where(real[..., None], x, GARBAGE_SCALE * x)
    else:
        batch["tokens"] = rng.integers(spec.num_tokens, size=real.shape)
    if training:
        batch |= dropout_factors(spec, shape.rows, shape.steps, rng)
    if isinstance(spec, SequenceModel):
        positions = real if spec.readout == "steps" else np.ones(shape.rows, bool)
        batch["labels"] = rng.integers(spec.classes, size=positions.shape)
        if spec.head == "crf":  # whole rows
            return batch | {"counted": real & _some_of(np.ones(shape.rows, bool), rng)[:, None]}
        return batch | {"counted": _some_of(positions, rng)}
    batch |= _random_targets(spec, shape, rng)
    if training:
        batch |= decoder_dropout_factors(spec, shape.rows, shape.target_len, rng)
    return batch


def _some_of(positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """About 7 in 10 of the positions, the first for certain, and of several the last for certain not."""
    counted = positions & (rng.random(positions.shape) < 0.7)
    places = np.flatnonzero(positions)
    counted.flat[places[-1]], counted.flat[places[0]] = False, True
    return counted


def _lengths(rows: int, steps: int, rng: np.random.Generator) -> np.ndarray:
    """Drawn lengths, of which one is full."""
    lengths = rng.integers(1, steps + 1, size=rows)
    lengths[rng.integers(rows)] = steps
    return lengths


def _random_targets(spec: Seq2Seq, shape: BatchShape, rng: np.random.Generator) -> Arrays:
    """Drawn targets with their lengths, and which of their steps are forced."""
    lengths = _lengths(shape.rows, shape.target_len, rng)
    targets = rng.integers(START, spec.target_size, size=(shape.rows, shape.target_len))
    steps = np.arange(shape.target_len)
    targets = np.where(steps < lengths[:, None], targets, PADDING)
    targets[np.arange(shape.rows), lengths - 1] = END
    return {"targets": targets, "target_lengths": lengths, "forced": rng.random(shape.target_len) < 0.5}


@dataclass(frozen=True)
class ModelCase:
    """A model with weights and a labelled batch, all float64 or int64.

    ``answered``: its labels are the answers that it gives where it is computed rightly, and nothing else is checked.
    """

    name: str
    spec: Model
    weights: Arrays
    batch: Batch
    answered: bool = False

    def allowed(self) -> np.ndarray | None:
        """What paths through a CRF's labels may do in a second prediction (``common.models.crf.scores``), about half
        of it, drawn from the name; None without a CRF.
        """
        if not isinstance(self.spec, SequenceModel) or self.spec.head != "crf":
            return None
        allowed = _rng(f"{self.name} allowed").random((self.spec.classes + 2, self.spec.classes)) < 0.5
        allowed[:, -1] = True  # so that there is a path through every row
        return allowed


def model_cases() -> list[ModelCase]:
    """The built-in model cases: every kind of model in small, unequal sizes, drawn from a seed that is the CRC-32 of
    its name. Decoders are forced in some steps and choose for themselves in others.
    """
    features, tokens = BatchShape(4, 6), BatchShape(5, 7)
    pairs = BatchShape(4, 6, target_len=5)
    return [
        _case("pipeline", _sequence("rnn_tanh", 3), BatchShape(4, 6, ragged=False)),
        _case("relu", _sequence("rnn_relu", 3, hidden=(9,)), features),
        _case("tagger", _sequence("lstm", 4, num_embeddings=11, num_layers=2, dropout=0.4), tokens),
        _case("tagger-frozen", _sequence("gru", 4, num_embeddings=11, frozen_embedding=True), tokens),
        _case("tagger-mul", _sequence("gru_before", 4, num_embeddings=11, num_layers=2, merge="mul"), tokens),
        _case("classifier", _sequence("gru", 3, readout="final", num_layers=2), features),
        _case("classifier-tokens", _sequence("lstm", 4, num_embeddings=11, readout="final"), tokens),
        _case("masked-tokens", _sequence("lstm", 4, num_embeddings=11, classes=11), tokens),
        _next_token_case("language"),
        _next_token_case("language-forward", **FORWARD),
        _case("g2pm", _sequence("lstm", 4, num_embeddings=11, hidden=(9, 8)), tokens),
        _case("tagger-crf", _sequence("lstm", 4, num_embeddings=11, head="crf"), tokens),
        _case("pipeline-crf", _sequence("gru", 3, head="crf", hidden=(9,)), BatchShape(4, 6, ragged=False)),
        _case("tagger-forward", _sequence("lstm", 4, num_embeddings=11, num_layers=2, dropout=0.4, **FORWARD), tokens),
        _case("classifier-forward", _sequence("gru", 3, readout="final", num_layers=2, **FORWARD), features),
        _case("translator-forward", _seq2seq(num_layers=2, attention_size=6, **FORWARD), pairs),
        _case("translator", _seq2seq(num_layers=2, decoder_dropout=0.4), pairs),
        _case("translator-attention", _seq2seq(num_layers=3, attention_size=6, dropout=0.4), pairs),
        _case("translator-bidirectional", _seq2seq(decoder="bidirectional"), pairs),
        _case(
            "translator-bidirectional-attention",
            _seq2seq(num_layers=2, decoder="bidirectional", attention_size=6, decoder_dropout=0.4),
            pairs,
        ),
    ]


def _rng(name: str) -> np.random.Generator:
    """The random numbers of a name."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def _case(name: str, spec: Model, shape: BatchShape) -> ModelCase:
    """A case of a model, its weights and its batch drawn from its name; of a CRF scores and logits are so large
    that both decide what is the best path.
    """
    rng = _rng(name)
    weights = initialise(spec, rng)
    if spec.head == "crf":
        large = [key for key in weights if key.startswith(PREFIX) or (key.startswith("head.") and "weight" in key)]
        weights |= {key: 8 * weights[key] for key in large}
    return ModelCase(name, spec, weights, random_batch(spec, shape, rng))


def _next_token_case(name: str, **rest: Any) -> ModelCase:
    """A case whose labels are the next tokens, the last of each row the end token."""
    case = _case(name, _sequence("gru", 4, num_embeddings=11, classes=11, **rest), BatchShape(5, 7))
    tokens, lengths = case.batch["tokens"], case.batch["lengths"]
    labels = np.roll(tokens, -1, axis=1)  # (batch, seq_len)
    labels[np.arange(len(labels)), lengths - 1] = END
    real = np.arange(labels.shape[1]) < lengths[:, None]
    return replace(case, batch={**case.batch, "labels": labels, "counted": real})


def _rnn(
    cell: str, input_size: int, num_layers: int = 1, merge: str | None = "concat", num_directions: int = 2
) -> Specification:
    """A bidirectional RNN of five units."""
    sizes = {"input_size": input_size, "hidden_size": 5, "num_layers": num_layers, "bias": True}
    return Specification.model_validate(sizes | CELLS[cell] | {"merge": merge, "num_directions": num_directions})


def _sequence(
    cell: str,
    input_size: int,
    num_layers: int = 1,
    merge: str | None = "concat",
    num_directions: int = 2,
    classes: int = 7,
    **rest: Any,
) -> SequenceModel:
    """A sequence model around such an RNN."""
    rnn = _rnn(cell, input_size, num_layers, merge, num_directions)
    return SequenceModel(rnn=rnn, classes=classes, **({"readout": "steps"} | rest))


def _seq2seq(
    num_layers: int = 1,
    attention_size: int | None = None,
    merge: str | None = "concat",
    num_directions: int = 2,
    **rest: Any,
) -> Seq2Seq:
    """An encoder–decoder with small vocabularies."""
    return Seq2Seq(
        source_size=12,
        target_size=10,
        embedding_size=4,
        encoder=_rnn("gru", 4, num_layers, merge, num_directions),
        attention=attention_size is not None,
        attention_size=attention_size,
        **rest,
    )
