"""Making cases: seeded random inputs, weights and cotangents for a specification."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.case import Case, result_shapes
from common.errors import InputError
from common.memory import check_room, numbers_in
from common.specification import Specification
from common.weights import count, initialise

GARBAGE_SCALE = 10.0
"""The standard deviation of what padding holds."""
COPIES = 2
"""How many copies of a case's numbers there are while its file is made."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a case's inputs; ``lengths`` None means that every row is full and that no lengths are given."""

    batch: int
    seq_len: int
    lengths: tuple[int, ...] | None = None

    def check(self) -> None:
        """Raise an ``InputError`` when the lengths do not fit."""
        if self.batch < 1 or self.seq_len < 1:
            raise InputError(f"batch and seq_len must be at least 1; got {self.batch} and {self.seq_len}")
        if self.lengths is None:
            return
        if len(self.lengths) != self.batch:
            raise InputError(f"lengths must have one number for each of the {self.batch} rows; got {len(self.lengths)}")
        for length in self.lengths:
            if not 0 <= length <= self.seq_len:
                raise InputError(f"lengths must lie between 0 and {self.seq_len}; got {length}")


def make_case(
    name: str,
    spec: Specification,
    shape: Shape,
    *,
    seed: int,
    with_states: bool,
    with_cotangents: bool,
    source: str,
) -> Case:
    """A case with inputs, states and cotangents from N(0, 1), and weights as ``initialise`` draws them.

    What lies past a length is garbage from N(0, 10²).

    Raises
    ------
    InputError
        If the lengths do not fit, or the case does not fit into memory.
    """
    shape.check()
    results = result_shapes(spec, shape.batch, shape.seq_len)
    check_room(count(spec) + numbers_in(results.values()), COPIES, f"the case {name}")
    rng = np.random.default_rng(seed)
    weights = initialise(spec, rng)
    x = rng.normal(size=(shape.batch, shape.seq_len, spec.input_size))
    lengths = None if shape.lengths is None else np.array(shape.lengths, np.int64)
    state = (spec.num_layers * spec.num_directions, shape.batch, spec.state_size)
    h_0, c_0 = rng.normal(size=state), rng.normal(size=state)
    names = [result for result in results if not result.startswith("grad.")]
    cotangents = {result: rng.normal(size=results[result]) for result in names}
    for direction, units in enumerate(spec.hidden_sizes):
        for array in (h_0, c_0, *(cotangents[name] for name in cotangents if name != "output")):
            array[direction :: spec.num_directions, :, units:] = 0
    case = Case(
        name=name,
        source=source,
        spec=spec,
        x=x,
        weights=weights,
        lengths=lengths,
        h_0=h_0 if with_states else None,
        c_0=c_0 if with_states and spec.cell == "lstm" else None,
        cotangents=cotangents if with_cotangents else {},
    )
    return case.with_padding(rng, GARBAGE_SCALE)
