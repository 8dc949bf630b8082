"""Cases that tests share."""

from __future__ import annotations

from typing import Any

from common.builtin import CELLS, SIZES
from common.case import Case
from common.making import Shape, make_case
from common.specification import Specification


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
