"""Cases that tests share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from common.case import Case
from common.cases.builtin import CELLS, SIZES
from common.cases.seeded import Shape, make_case
from common.specification import Specification
from common.training import Training, telling_rate


def a_case(
    cell: str = "lstm",
    batch: int = 3,
    seq_len: int = 5,
    lengths: tuple[int, ...] | None = (5, 3, 1),
    with_states: bool = True,
    with_cotangents: bool = True,
    seed: int = 0,
    **changes: Any,
) -> Case:
    """A small case with unequal sizes, garbage in the padding, states and cotangents; ``cell`` is a name in
    ``CELLS``."""
    spec = Specification(**(SIZES | CELLS[cell] | changes))
    shape = Shape(batch, seq_len, lengths)
    return make_case(
        "a-case", spec, shape, seed=seed, with_states=with_states, with_cotangents=with_cotangents, source="a test"
    )


def a_training(case: Case, classes: int = 7, seed: int = 0, learning_rate: float | None = None) -> Training:
    """A head and labels for a case, garbage labels in the padding too; by default with its telling learning rate."""
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(classes, case.spec.output_size)), rng.normal(size=classes)
    labels = rng.integers(classes, size=(case.batch, case.seq_len))
    training = Training(weight, bias, labels, 1.0)
    return replace(training, learning_rate=telling_rate(case, training) if learning_rate is None else learning_rate)
