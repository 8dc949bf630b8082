"""A model to stream, and its answers worked out a row and a step at a time, with nothing padded, by the equations."""

from __future__ import annotations

from typing import Any

import numpy as np

from common.cells import State
from common.models.batch import Batch
from common.models.specification import Arrays, SequenceModel, initialise, rnn_weights
from common.models.streaming import Streaming
from common.reference import FORWARD, REVERSE, Reference
from common.specification import Specification
from common.weights import of_direction

LENGTHS = (9, 4, 1, 7, 8)


def a_tagger(**rnn: Any) -> SequenceModel:
    """Weights of it are large, so that a state matters for many steps."""
    sizes = {"cell": "lstm", "input_size": 3, "hidden_size": 4, "num_layers": 1, "bias": True, "merge": "concat"}
    spec = Specification.model_validate(sizes | rnn)
    return SequenceModel(rnn=spec, num_embeddings=11, readout="steps", hidden=(6,), classes=5)


def weights_and_batch(spec: SequenceModel, seed: int = 0) -> tuple[Arrays, Arrays]:
    """Float64 weights, and an unlabelled batch with other tokens in the padding."""
    rng = np.random.default_rng(seed)
    weights = {name: 2 * value for name, value in initialise(spec, rng).items()}
    tokens = rng.integers(0, 11, (len(LENGTHS), max(LENGTHS)))
    return weights, {"tokens": tokens, "lengths": np.array(LENGTHS)}


def expected_logits(spec: SequenceModel, weights: Arrays, batch: Batch, streaming: Streaming) -> np.ndarray:
    """(batch, seq_len, classes), 0 past a length."""
    rows, seq_len = batch["tokens"].shape
    logits = np.zeros((rows, seq_len, spec.classes))
    for row, length in enumerate(batch["lengths"]):
        x = weights["embedding"][batch["tokens"][row, :length]]
        logits[row, :length] = _of_row(spec, weights, x, streaming)
    return logits


def _of_row(spec: SequenceModel, weights: Arrays, x: np.ndarray, streaming: Streaming) -> np.ndarray:
    rnn, of_rnn = spec.rnn, rnn_weights(spec, weights)
    reference = Reference(rnn, of_rnn, np.float64)
    carried = {layer: _nothing(rnn, FORWARD) for layer in range(rnn.num_layers)}
    answers = []
    for start in range(0, len(x), streaming.chunk):
        here = x[start : start + streaming.chunk + streaming.look_ahead]
        for layer in range(rnn.num_layers):
            cells = [reference.cell(of_direction(rnn, of_rnn, layer, each)) for each in range(rnn.num_directions)]
            forward, state = [], carried[layer]
            for step, value in enumerate(here):
                state, _ = cells[FORWARD].forward(value[None], state)
                forward.append(state.h)
                if step == streaming.chunk - 1:
                    carried[layer] = state
            if rnn.num_directions == 1:
                here = np.concatenate(forward)
                continue
            reverse: list[np.ndarray] = []
            state = _nothing(rnn, REVERSE)
            for value in here[::-1]:
                state, _ = cells[REVERSE].forward(value[None], state)
                reverse.insert(0, state.h)
            here = reference.merge(layer, np.concatenate(forward), np.concatenate(reverse))
        hidden = np.maximum(here @ weights["head.0.weight"].T + weights["head.0.bias"], 0)
        answers.append((hidden @ weights["head.1.weight"].T + weights["head.1.bias"])[: streaming.chunk])
    return np.concatenate(answers)


def _nothing(rnn: Specification, direction: int) -> State:
    zeros = np.zeros((1, rnn.hidden_sizes[direction]))
    return State(zeros, zeros)
