"""The case that a converted layer is run on: ragged, with garbage in the padding and given states."""

from __future__ import annotations

import numpy as np

from common.case import Case
from common.cases.seeded import GARBAGE_SCALE
from common.checkpoints.contents import RecurrentLayer

LENGTHS = (5, 3, 1)
"""Steps of each row."""
SEED = 18
"""The seed of the inputs and states; the padding's is one more."""


def case_of(layer: RecurrentLayer, name: str = "converted") -> Case:
    """A case of a layer's specification and weights."""
    spec = layer.kind.specification()
    random = np.random.default_rng(SEED)
    x = random.normal(size=(len(LENGTHS), max(LENGTHS), spec.input_size))
    h_0, c_0 = random.normal(size=(2, spec.num_layers * spec.num_directions, len(LENGTHS), spec.state_size))
    for state in (h_0, c_0):
        for direction, units in enumerate(spec.hidden_sizes):
            state[direction :: spec.num_directions, :, units:] = 0
    weights = {key: value.astype(np.float64) for key, value in layer.weights.items()}
    initial = (h_0, c_0 if spec.cell == "lstm" else None)
    case = Case(name, "converted", spec, x, weights, np.array(LENGTHS), *initial)
    return case.with_padding(np.random.default_rng(SEED + 1), GARBAGE_SCALE)
