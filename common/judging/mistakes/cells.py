"""Mistakes inside a cell: another activation, or another place for the reset gate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from common.cells import Cell
from common.judging.mistakes.mistake import Mistake, always, inside
from common.reference import Reference
from common.specification import Specification
from common.weights import DirectionWeights

HARD_SIGMOIDS = {"x/6 + 1/2": 1 / 6, "0.2·x + 1/2": 0.2}
"""Slopes of the two piecewise linear functions of that name, both cut off at 0 and 1: max(0, min(1, x/6 + 1/2)) in
Keras 3 (keras.activations.hard_sigmoid), torch.nn.Hardsigmoid and jax.nn.hard_sigmoid; max(0, min(1, 0.2·x + 1/2)) in
Keras 1 and 2, where it was the default recurrent activation until 2.3, and in ONNX's HardSigmoid (alpha 0.2)."""


def cell_mistakes(spec: Specification) -> Iterator[Mistake]:
    """Every mistake inside a cell."""
    if spec.cell in ("gru", "lstm"):
        for formula, slope in HARD_SIGMOIDS.items():
            yield inside(f"hard sigmoid ({formula}) for sigmoid", _hard_sigmoid(slope), always, each_direction=True)
    if spec.cell == "gru":
        name = (
            "reset before the recurrent product for after"
            if spec.reset_after
            else "reset after the recurrent product for before"
        )
        yield inside(name, _with_cell({"reset_after": not spec.reset_after}), always, each_direction=True)
    for cell, other in (("rnn_relu", "tanh for relu"), ("rnn_tanh", "relu for tanh")):
        if spec.cell == cell:
            wrong = "rnn_tanh" if cell == "rnn_relu" else "rnn_relu"
            yield inside(other, _with_cell({"cell": wrong}), always, each_direction=True)


def _with_cell(changes: Mapping[str, Any]) -> type[Reference]:
    """A reference that takes another cell for the specification's."""

    class OtherCell(Reference):
        def cell(self, weights: DirectionWeights) -> Cell:
            wrong = self.spec.model_copy(update=changes)
            return Reference(wrong, {}, self.dtype, self.kink).cell(weights)

    return OtherCell


def _hard_sigmoid(slope: float) -> type[Reference]:
    """A reference whose gates are max(0, min(1, ``slope``·a + 1/2)), with the gradient of that, in place of the
    sigmoid.
    """

    def hard_sigmoid(a: np.ndarray) -> np.ndarray:
        return np.clip(a.dtype.type(slope) * a + a.dtype.type(0.5), 0, 1)

    def hard_sigmoid_slope(y: np.ndarray) -> np.ndarray:
        return np.where((y > 0) & (y < 1), y.dtype.type(slope), y.dtype.type(0))

    class HardSigmoid(Reference):
        def cell(self, weights: DirectionWeights) -> Cell:
            return replace(super().cell(weights), sigmoid=hard_sigmoid, sigmoid_slope=hard_sigmoid_slope)

    return HardSigmoid
