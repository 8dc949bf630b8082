"""Every known mistake. Tests demand that the built-in cases catch all; ``birnn verify`` names those that explain a
failure.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from common.case import Case
from common.judging.mistakes.cells import cell_mistakes
from common.judging.mistakes.gradients import gradient_mistakes
from common.judging.mistakes.merging import merging_mistakes
from common.judging.mistakes.mistake import Mistake
from common.judging.mistakes.padding import padding_mistakes
from common.judging.mistakes.states import state_mistakes
from common.judging.mistakes.weights import weight_mistakes
from common.judging.tf32 import TF32, TF32Truncated
from common.judging.yardstick import run_reference
from common.reference import Arrays, Reference
from common.specification import Specification


def mistakes(spec: Specification) -> list[Mistake]:
    """Every mistake that concerns a cell; ``applies`` then says whether it concerns a case."""
    return [
        *weight_mistakes(spec),
        *cell_mistakes(spec),
        *state_mistakes(),
        *padding_mistakes(),
        *merging_mistakes(),
        *gradient_mistakes(),
        *_arithmetic_mistakes(),
    ]


def _arithmetic_mistakes() -> Iterator[Mistake]:
    """Mistakes in the numbers' width alone: float32 for float64, and TF32's products for float32's."""
    yield Mistake(
        "float32 arithmetic in a float64 lane",
        lambda _, dtype: dtype == "float64",
        lambda case, _: run_reference(case, np.float32),
        arithmetic=True,
    )
    for name, kind in (("rounding", TF32), ("truncation", TF32Truncated)):
        yield Mistake(
            f"TF32-like {name} in a float32 lane",
            lambda _, dtype: dtype == "float32",
            partial(_in_float32, kind),
            arithmetic=True,
        )


def _in_float32(kind: type[Reference], case: Case, dtype: str) -> Arrays:
    """What a case gives in float32 with products of another kind, whichever ``dtype`` is asked for."""
    return run_reference(case, np.float32, kind)
