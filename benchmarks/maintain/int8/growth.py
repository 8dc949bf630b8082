"""How the error of a layer in int8 grows over the steps of a row, against float64 without quantization."""

from __future__ import annotations

import numpy as np

from benchmarks.maintain.int8.record import DYNAMIC, KERNELS, Grown
from common.quantization.dynamic import DynamicReference
from common.quantization.kernels import rounded
from common.reference import Arrays, Reference
from common.specification import Cell, Specification
from common.weights import initialise

PARTS: tuple[tuple[Cell, float], ...] = (
    ("rnn_tanh", 1.0),
    ("rnn_relu", 1.0),
    ("gru", 1.0),
    ("lstm", 1.0),
    ("rnn_tanh", 3.0),
    ("gru", 3.0),
    ("lstm", 3.0),
)
"""The cells whose error is measured, and what their drawn weights are multiplied with: with 1 a state is forgotten
within a few steps, with 3 it is kept, and that of rnn_relu grows until no float32 holds it."""
STEPS = 500
"""Steps of each row."""
TOLD = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500)
"""The steps after which the error is told."""
ROWS, INPUTS, UNITS = 16, 32, 64
"""Rows of the batch, features, and units."""


def growth_of(cell: Cell, factor: float, *, steps: int = STEPS) -> list[Grown]:
    """The error of a layer of a cell, with its kernels in int8 alone and with dynamic products."""
    spec = Specification(
        cell=cell, input_size=INPUTS, hidden_size=UNITS, num_layers=1, bias=True, merge=None, num_directions=1
    )
    rng = np.random.default_rng(0)
    weights = {name: factor * value for name, value in initialise(spec, rng).items()}
    x = rng.normal(size=(ROWS, steps, INPUTS))
    exact = _output(Reference(spec, weights, np.float64), x)
    in_int8: Arrays = rounded(weights)
    kinds = {KERNELS: Reference, DYNAMIC: DynamicReference}
    told = [step for step in TOLD if step <= steps]
    grown = []
    for way, kind in kinds.items():
        apart = _output(kind(spec, in_int8, np.float64), x) - exact
        scale = np.sqrt((exact**2).mean(axis=(0, 2)))  # (steps,)
        errors = np.sqrt((apart**2).mean(axis=(0, 2))) / scale
        largest = np.abs(apart).max(axis=(0, 2)) / scale
        at = [step - 1 for step in told]
        grown.append(
            Grown(
                cell=cell,
                way=way,
                factor=factor,
                steps=told,
                errors=errors[at].tolist(),
                largest=largest[at].tolist(),
            )
        )
    return grown


def _output(layer: Reference, x: np.ndarray) -> np.ndarray:
    """The outputs of a layer from zero states, (batch, seq_len, hidden_size)."""
    zeros = np.zeros((1, len(x), UNITS))
    return layer.forward(x, None, zeros, zeros)["output"]
